"""What the commands print for people: one screen a command, from the same values that `--json` gives."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

COLOURS = {
    "PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "BLOCKED": "bright_black", "PENDING": "yellow",
    "DEPLOY": "green", "REVIEW": "yellow", "REJECT": "red",
    "promoted": "green", "pending_approval": "yellow", "staged": "yellow", "rejected": "red",
    "quarantined": "red", "unchanged": "cyan", "production": "green", "staging": "yellow", "quarantine": "red",
}  # fmt: skip
BARS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 34
WHOLE = frozenset({"version", "dataset", "digest", "parent"})
"""Columns that are never broken; the others fold where the terminal is narrow."""
LEAST = {"stage": 11, "split": 10, "models that saw it": 13}
"""How narrow a column may become: its longest word is never broken."""


def console() -> Console:
    """Return a console on standard output; rich itself leaves colours out when that is no terminal."""
    return Console(highlight=False, emoji=False)


def coloured(word: str) -> Text:
    """Return a status word in its colour."""
    return Text(word, style=COLOURS.get(word, ""))


def plain(text: str) -> str:
    """Return a text from outside as a table can show it: on one line, without markup and control characters."""
    return escape("".join(c if c.isprintable() else " " for c in text))


def standing(stage: str) -> str:
    """Return where a version is, as it is said in a sentence."""
    return stage if stage == "archived" else f"in {stage}"


def number(value: Any) -> str:
    """Return a number as a person reads it; an absent one as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(str(value))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the house's style; the columns named in `right` are flush right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in WHOLE,
            min_width=LEAST.get(column),
        )  # fmt: skip
    return made


def spark(values: list[float]) -> str:
    """Return a loss curve as one line of bars."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


# --- the main job --------------------------------------------------------------------------------------------------


def show_run(summary: dict[str, Any]) -> None:
    """Print a run: the funnel, the loss curve, the five stages, the gates, the verdict and where to look next."""
    out = console()
    unchanged = summary["decision"] == "unchanged"  # the rest was shown when it was learned, and may be true no more
    pages = (_verdict,) if unchanged else (_funnel, _training, _stages, _gates, _verdict)
    for part in (page(summary) for page in pages):
        if part is not None:
            out.print(part)
            out.print()


def _funnel(summary: dict[str, Any]) -> Group:
    events, examples, dataset = summary["events"], summary["examples"], summary["dataset"]
    rows: list[tuple[str, int, str]] = []
    if events:
        lost = [f"{events[k]:,} {k}" for k in ("rejected", "duplicate", "ignored") if events[k]]
        joined = events["by_reason"].get("joined_feedback", 0)
        lost += [f"{joined:,} joined to a trace"] if joined else []
        rows.append(("events read", events["read"], ", ".join(lost)))
    if examples:
        lost = [
            f"{examples[k]:,} {word}" for k, word in (("review", "to review"), ("rejected", "rejected")) if examples[k]
        ]
        rows += [("examples", examples["extracted"], ", ".join(lost)), ("accepted", examples["accepted"], "")]
    if dataset:
        splits = dataset["splits"]
        redacted = sum(dataset["redacted"].values())
        lost = [f"{dataset['exact_duplicates']:,} exact and {dataset['near_duplicates']:,} near duplicates out"]
        lost += [f"{redacted:,} personal values redacted"] if redacted else []
        if planted := dataset.get("suspected"):
            count = sum(group["examples"] for group in planted)
            lost.append(f"{count:,} that look planted wait for a review (see the report)")
        rows.append((f"dataset {dataset['name']}/{dataset['version']}", sum(splits.values()), ", ".join(lost)))
        rows += [(f"  {name}", splits[name], "") for name in ("train", "validation", "test")]
    most = max([count for _, count, _ in rows], default=1) or 1
    lines = table("Funnel", "", " ", right=("",))
    for label, count, note in rows:
        bar = "█" * max(round(count / most * BAR_WIDTH), 1 if count else 0)
        lines.add_row(plain(label), f"{count:,}", Text(bar, style="cyan"))
        if note:
            lines.add_row("", "", Text(note, style="bright_black"))
    return Group(lines)


def _training(summary: dict[str, Any]) -> Group | None:
    training = summary["training"]
    if not training:
        return None
    curve = training.get("curve") or []
    lines = [Text("Training", style="bold")]
    head = f"{training['backend']} {training['strategy']}, {training['state']} in {training['seconds']:.1f} s"
    lines.append(Text(head))
    for name, key in (("train", "train_loss"), ("validation", "validation_loss")):
        values = [point[key] for point in curve]
        if values:
            lines.append(Text(f"loss, {name:10s} {spark(values)}  {values[0]:.3f} → {values[-1]:.3f}"))
    if training.get("score") is not None:
        base, score = training["base_score"], training["score"]
        lines.append(Text(f"token-F1 of the next turn on validation: frozen base {base:.3f} → adapter {score:.3f}"))
    return Group(*lines)


def _stages(summary: dict[str, Any]) -> Group | None:
    validation = summary["validation"]
    if not validation:
        return None
    rows = table("Validation", "", "why")
    for stage in validation["stages"]:
        name = stage["name"] + ("" if stage["critical"] else " (not critical)")
        rows.add_row(name, coloured(stage["status"]), plain("; ".join(stage["reasons"][:2])))
    head = Text.assemble("against ", validation["baseline"], ": ", coloured(validation["recommendation"]))
    return Group(rows, head, *_readiness(summary["readiness"]))


def _readiness(readiness: dict[str, float] | None) -> list[Text]:
    if not readiness:
        return []
    parts = ", ".join(
        f"{name} {readiness[name]:.2f}" for name in ("accuracy", "confidence", "consistency", "robustness")
    )
    return [Text(f"readiness {readiness['score']:.3f} ({parts})")]


def _gates(summary: dict[str, Any]) -> Group | None:
    if not summary["gates"]:
        return None
    rows = table("Gates", "", "why")
    for gate in summary["gates"]:
        rows.add_row(plain(gate["name"]), coloured(gate["status"]), plain(gate["reason"]))
    return Group(rows)


def _verdict(summary: dict[str, Any]) -> Panel:
    decision, model = summary["decision"], summary["model"]
    lines = [Text.assemble("Verdict: ", Text(str(decision), style=f"bold {COLOURS.get(str(decision), '')}"))]
    if model:
        aliases = ", ".join(f"@{alias}" for alias in model["aliases"])
        lines.append(
            Text(
                f"{model['name']}/{model['version']} is {standing(model['stage'])}"
                + (f" ({aliases})" if aliases else "")
            )
        )
    lines += [Text(line) for line in _next(summary)]
    return Panel(Group(*lines), expand=False, border_style=COLOURS.get(str(decision), ""))


def _next(summary: dict[str, Any]) -> list[str]:
    """Say where to look next."""
    lines = []
    model, home = summary["model"], summary["home"]
    if summary["decision"] == "unchanged":
        lines.append("these events were learned before under this policy; nothing was trained")
    where = "" if home == ".ratchet" else f" --home {shlex.quote(home)}"
    if model and _waits(summary):
        lines.append(f"approve it:   ratchet approve {model['name']} {model['version']} --by YOU{where}")
    if model and "champion" in model["aliases"]:
        lines.append(f"ask it:       ratchet predict {model['name']}@champion{where}")
    if summary["report"]:
        lines.append(f"the report:   {summary['report']}")
    if model:
        lines.append(f"its history:  ratchet history {model['name']}{where}")
    return lines


def _waits(summary: dict[str, Any]) -> bool:
    """Tell whether a version waits for a person alone; `unchanged` says nothing of it, so its gates are asked."""
    if summary["decision"] != "unchanged":
        return bool(summary["decision"] == "pending_approval")
    return summary["model"]["stage"] == "staging" and all(gate["status"] != "FAIL" for gate in summary["gates"])


# --- the other commands --------------------------------------------------------------------------------------------


def show_decision(summary: dict[str, Any]) -> None:
    """Print what an approval led to."""
    out = console()
    gates = _gates(summary)
    if gates is not None:
        out.print(gates)
    out.print(
        Text.assemble(
            f"{summary['model']}/{summary['version']}: ", coloured(summary["decision"]), f"; {summary['reason']}"
        )
    )


def show_rollback(summary: dict[str, Any]) -> None:
    """Print what a rollback did."""
    console().print(
        f"{summary['model']}@champion is version {summary['version']} again; version {summary['replaced']} is archived"
    )


def show_release(summary: dict[str, Any]) -> None:
    """Print what a release did."""
    console().print(f"{summary['model']}/{summary['version']} is out of quarantine, in {summary['stage']}")


def show_history(summary: dict[str, Any]) -> None:
    """Print a model's history, oldest first: what happened on one line, and why below it."""
    out = console()
    out.print("  #  time              version  what        stage                     by", style="bold")
    for line in summary["history"]:
        before, after = line["before"] or "–", line["after"] or "–"
        stage = after if before == after else f"{before} → {after}"
        when = line["time"][:16].replace("T", " ")
        head = (
            f"{line['sequence']:3}  {when}  {line['version']:7}  {line['action']:10}  {stage:24}  {plain(line['by'])}"
        )
        out.print(head, soft_wrap=True)
        if line["reason"]:
            out.print(Padding(Text.from_markup(plain(line["reason"]), style="bright_black"), (0, 0, 0, 5)))


def show_model(summary: dict[str, Any]) -> None:
    """Print a version, or a table of a model's versions."""
    out = console()
    if "versions" in summary:
        rows = table("version", "stage", "aliases", "dataset", "recommendation", "readiness", right=("readiness",))
        for each in summary["versions"]:
            rows.add_row(
                each["version"], coloured(each["stage"]), ", ".join(each["aliases"]), each["dataset"] or "–",
                coloured(each["recommendation"] or "–"), number(each["readiness"]),
            )  # fmt: skip
        out.print(rows)
        return
    behind = summary["lineage"]
    known = {key: number(value) for key, value in summary.items() if not isinstance(value, dict | list)}
    known["aliases"] = ", ".join(summary["aliases"]) or "–"
    known["dataset chain"] = " ← ".join(behind["datasets"]) or "–"
    known["events behind it"] = number(behind["event_count"])
    for key, value in known.items():
        out.print(f"{key.replace('_', ' '):16}  {value}", soft_wrap=True)  # a digest is copied whole
    for event in summary["events"]:
        out.print(f"  {plain(event['source'])}  {plain(event['id'])}", soft_wrap=True)
    if behind["event_count"] > len(summary["events"]):
        out.print(f"  … and {behind['event_count'] - len(summary['events']):,} more (--events N)")


def show_lineage(summary: dict[str, Any]) -> None:
    """Print which versions saw an event."""
    rows = table("event", "dataset", "split", "models that saw it")
    for each in summary["datasets"]:
        models = ", ".join(f"{m['name']}/{m['version']} ({m['stage']})" for m in each["models"]) or "–"
        rows.add_row(plain(f"{each['source']}#{each['id']}"), each["dataset"], each["split"], models)
    console().print(rows)


def show_datasets(summary: dict[str, Any]) -> None:
    """Print the dataset versions."""
    if not summary["datasets"]:
        console().print("there is no dataset yet: run `ratchet learn` first")
        return
    rows = table("dataset", "train", "validation", "test", "parent", "digest", right=("train", "validation", "test"))
    for each in summary["datasets"]:
        splits, sizes = each["splits"] or {}, ("train", "validation", "test")
        rows.add_row(
            f"{each['name']}/{each['version']}", *(f"{splits[name]:,}" if name in splits else "?" for name in sizes),
            each["parent"] or "–", "damaged" if each["damaged"] else each["digest"][:12],
        )  # fmt: skip
    console().print(rows)
    for each in filter(None, (row["damaged"] for row in summary["datasets"])):
        console().print(plain(each), soft_wrap=True)


def show_stats(summary: dict[str, Any]) -> None:
    """Print the operators' counters."""
    rows = table("counter", "value", right=("value",))
    for key, value in summary.items():
        for label, each in value.items() if isinstance(value, dict) else [("", value)]:
            rows.add_row(f"{key.replace('_', ' ')} {label.replace('_', ' ')}".strip(), number(each))
    console().print(rows)
    console().print("events and examples are those of completed runs; what a run that failed had read is not in them")


def show_policy(values: dict[str, Any]) -> None:
    """Print a policy as YAML that can be saved and edited."""
    import yaml

    console().print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), markup=False, soft_wrap=True, end="")
