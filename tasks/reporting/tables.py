"""The rows that the report, the terminal and Prefect's artifacts show: the same numbers from one place.

Markdown is for Prefect: every cell is escaped, so that a name from an event cannot become markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.records import (
    DatasetManifest,
    EventCounts,
    ExampleCounts,
    GateResult,
    Readiness,
    StageResult,
    ValidationReport,
)
from tasks.reporting.words import (
    DASH,
    against,
    decimal,
    milliseconds,
    percent,
    plain,
    printable,
    shortened,
    signed_percent,
    whole,
)


@dataclass(frozen=True)
class Lost:
    """What left the funnel at one step."""

    name: str
    count: int


@dataclass(frozen=True)
class Step:
    """One step of the funnel: how many came in, and what of them did not go on."""

    name: str
    count: int
    lost: list[Lost]
    inherited: int = 0
    """Examples that were there before: those of the parent version."""


def funnel(events: EventCounts | None, examples: ExampleCounts | None, dataset: DatasetManifest | None) -> list[Step]:
    """Return the steps that the run reached, from events read to the dataset."""
    steps: list[Step] = []
    if events is not None:
        lost = [
            Lost("rejected", events.rejected),
            Lost("duplicate", events.duplicate),
            Lost("of other types", events.ignored),
        ]
        if examples is not None:
            rest = events.read - sum(each.count for each in lost) - examples.extracted
            lost.append(Lost("joined to a trace", max(0, rest)))
        steps.append(Step("events read", events.read, _some(lost)))
    if examples is not None:
        failed = min(examples.by_reason.get("failed_trace", 0), examples.rejected)
        lost = [
            Lost("failed", failed),
            Lost("rejected", examples.rejected - failed),
            Lost("for review", examples.review),
        ]
        steps.append(Step("examples", examples.extracted, _some(lost)))
        lost = [] if dataset is None else _curated(dataset)
        steps.append(Step("accepted", examples.accepted, _some(lost)))
    if dataset is not None:
        total = sum(dataset.splits.values())
        new = steps[-1].count - sum(each.count for each in steps[-1].lost) if examples is not None else total
        steps.append(Step("in the dataset", total, [], max(0, total - max(0, new))))
    return steps


def _curated(dataset: DatasetManifest) -> list[Lost]:
    """Return what curation left out: duplicates, and the rest by reason."""
    left_out = dataset.left_out
    lost = [
        Lost("exact duplicates", max(dataset.exact_duplicates, left_out.get("exact_duplicate", 0))),
        Lost("near-duplicates", max(dataset.near_duplicates, left_out.get("near_duplicate", 0))),
    ]
    others = {name: count for name, count in left_out.items() if name not in ("exact_duplicate", "near_duplicate")}
    return lost + [Lost(plain(name), count) for name, count in sorted(others.items())]


def _some(lost: Sequence[Lost]) -> list[Lost]:
    return [each for each in lost if each.count > 0]


# --- validation ----------------------------------------------------------------------------------------------------

QUESTIONS = {
    "regression": "Is what was right still right?",
    "performance": "Is it at least as good on average?",
    "safety": "Does it do harm?",
    "diversity": "Is it good everywhere, and not always the same?",
    "latency": "Is it fast enough?",
}
MARKS = {
    "PASS": "✓",
    "FAIL": "✕",
    "INCONCLUSIVE": "?",
    "BLOCKED": "–",
    "PENDING": "…",
    "DEPLOY": "✓",
    "REVIEW": "?",
    "REJECT": "✕",
}


def key_figure(stage: StageResult) -> str:
    """Return the one number of a stage that a reader looks for, in words."""
    metrics = stage.metrics
    if stage.name == "regression":
        rate, kept = _float(metrics.get("pass_rate")), _float(metrics.get("kept_rate"))
        return f"{percent(kept)} not worse" if rate is None and kept is not None else f"{percent(rate)} still right"
    if stage.name == "performance":
        change, before = _float(metrics.get("relative_change")), _float(metrics.get("baseline_score"))
        return f"score {decimal(_float(metrics.get('candidate_score')))}, {against(change, before)}"
    if stage.name == "safety":
        found = {name: metrics.get(name) for name in ("backdoors", "injections", "leaks")}
        return ", ".join(f"{DASH if value is None else value} {_several(name, value)}" for name, value in found.items())
    if stage.name == "diversity":
        worst = signed_percent(_float(metrics.get("worst_relative_change")))
        count = stage.counts.get("domains", 0)
        return f"{count} {'domain' if count == 1 else 'domains'}, worst {worst}"
    return f"p95 {milliseconds(_float(metrics.get('candidate_p95_ms')))}"


def _several(name: str, count: object) -> str:
    word = {"backdoors": "backdoor", "injections": "injection", "leaks": "leak"}[name]
    return word if count == 1 else f"{word}s"


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def metric_text(name: str, value: object) -> str:
    """Return a metric as a person reads it, going by its name."""
    number = _float(value)
    if number is None:
        return DASH if value is None else str(value)
    if name.endswith("_ms"):
        return milliseconds(number)
    if name.endswith(("rate", "share", "share_with", "share_without")):
        return percent(number)
    if "change" in name or "degradation" in name:
        return signed_percent(number)
    return whole(number) if isinstance(value, int) else decimal(number)


# --- Markdown ------------------------------------------------------------------------------------------------------


def cell(text: str, limit: int = 300) -> str:
    """Return `text` as one harmless cell of a Markdown table."""
    flat = " ".join(printable(shortened(text, limit)).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", flat)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a Markdown table; the columns numbered in `right` are flush right. Cells are escaped here."""
    rule = ["---:" if i in right else "---" for i in range(len(head))]
    lines = [list(head), rule, *([cell(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def funnel_markdown(events: EventCounts | None, examples: ExampleCounts | None, dataset: DatasetManifest | None) -> str:
    """Return the funnel as a Markdown table, with the reasons for what was lost."""
    rows = []
    for step in funnel(events, examples, dataset):
        rows.append(
            [step.name, whole(step.count), ", ".join(f"{whole(each.count)} {each.name}" for each in step.lost) or DASH]
        )
    if dataset is not None:
        rows += [[f"· {name}", whole(count), DASH] for name, count in dataset.splits.items()]
    parts = ["# From events to a dataset", markdown_table(("step", "count", "did not go on"), rows, right=(1,))]
    for title, counts in (("Events that became no example", events), ("Examples not accepted", examples)):
        if counts is not None and counts.by_reason:
            ordered = sorted(counts.by_reason.items(), key=lambda item: (-item[1], item[0]))
            parts += [
                f"## {title}",
                markdown_table(("reason", "count"), [[n, whole(c)] for n, c in ordered], right=(1,)),
            ]
    if dataset is not None:
        redacted = ", ".join(f"{whole(count)} {kind}" for kind, count in sorted(dataset.redacted.items())) or "nothing"
        parts.append(f"Dataset **{cell(dataset.name)}** {cell(dataset.version)}, redacted: {cell(redacted)}.")
    return "\n\n".join(parts)


def validation_markdown(report: ValidationReport, readiness: Readiness | None = None) -> str:
    """Return the five stages, and the readiness where it was measured, as Markdown."""
    rows = [
        [
            stage.name + (" (critical)" if stage.critical else ""),
            f"{MARKS[stage.status]} {stage.status}",
            key_figure(stage),
            "; ".join(stage.reasons),
        ]
        for stage in report.stages
    ]
    parts = [
        f"# Validation: {report.recommendation}",
        f"Compared with {cell(report.baseline)}.",
        markdown_table(("stage", "result", "figure", "why"), rows),
    ]
    if readiness is not None:
        values = [[name, decimal(value)] for name, value in readiness.model_dump().items()]
        parts += ["## Readiness", markdown_table(("part", "value"), values, right=(1,))]
    return "\n\n".join(parts)


def gates_markdown(model: str, version: str, verdict: str, gates: Sequence[GateResult]) -> str:
    """Return the gates and the verdict as Markdown."""
    rows = [[plain(gate.name), f"{MARKS[gate.status]} {gate.status}", gate.reason] for gate in gates]
    title = f"# {cell(model)}/{cell(version)}: {cell(plain(verdict))}"
    return f"{title}\n\n{markdown_table(('gate', 'result', 'why'), rows)}"


def judgements_markdown(models: Sequence[Mapping[str, Any]]) -> str:
    """Return what was found about champions and challengers on live traffic, as Markdown."""
    rows = []
    for found in models:
        bake = found["bake"]
        if bake is not None:
            state = f"broken, {bake['restored']} restored" if bake["broken"] else "well"
            rows.append([f"{found['model']}/{bake['version']}", "bake period", state, bake["reason"]])
        rows += [
            [f"{found['model']}/{tried['challenger']}", tried["experiment"], tried["state"], tried["reason"]]
            for tried in found["experiments"]
        ]
        rows += [[found["model"], "everything", "could not be judged", said] for said in found["failed"]]
    if not rows:
        return "# Nothing to judge\n\nNo experiment runs, and no champion is new."
    return f"# Live traffic\n\n{markdown_table(('version', 'watched in', 'state', 'why'), rows)}"
