"""What the commands of the event log print for people."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from flows.show import console, number, plain, table

MESSAGE = 300
"""Letters of what an event says; a line of the terminal shows fewer."""


def show_import(summary: dict[str, Any]) -> None:
    """Print what became of the lines of an import."""
    out = console()
    lost = ", ".join(f"{count:,} {code}" for code, count in summary["by_reason"].items())
    out.print(
        f"{summary['appended']:,} events appended, {summary['duplicate']:,} there already or given twice, "
        f"{summary['rejected']:,} rejected{f' ({lost})' if lost else ''}; the log's last offset is {summary['head']:,}",
        soft_wrap=True,
    )
    for each in summary["rejects"]:
        out.print(plain(f"  {each['file']} line {each['line']}: {each['code']}, {each['reason']}"), soft_wrap=True)
    if more := summary["rejected"] - len(summary["rejects"]):
        out.print(f"  and {more:,} more")


def show_statistics(summary: dict[str, Any], *, by_day: bool = False) -> None:
    """Print a line for each model version, or for each day of each."""
    out = console()
    numbers = ("traces", "quality", "failed", "negative", "p95 ms" if by_day else "worst p95 ms", "tokens")
    made = table("agent/version", *(("day",) if by_day else ()), *numbers, right=numbers)
    for column in made.columns[1:]:
        column.no_wrap = True  # names fold where the terminal is narrow, numbers never
    before = None
    for row in _by_version(summary["days"]) if by_day else summary["versions"]:
        name = _name(row)
        tokens = row["tokens_in"] + row["tokens_out"]
        made.add_row(
            "" if name == before else plain(name), *((row["day"],) if by_day else ()), number(row["traces"]),
            _rounded(row["quality"], 1), _share(row["error_rate"]), _share(row["negative_rate"]),
            _rounded(row["latency_p95" if by_day else "worst_latency_p95"]), number(round(tokens)) if tokens else "–",
        )  # fmt: skip
        before = name
    if summary["days"]:
        out.print(made)
        out.print()
    first, last = (end(day["day"] for day in summary["days"]) if summary["days"] else None for end in (min, max))
    found = f"{summary['traces']:,} traces from {first} to {last} (UTC)" if first else "no trace is like that"
    out.print(f"{found}; the log's last offset is {summary['head']:,}", soft_wrap=True)


def _by_version(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(days, key=lambda day: (_name(day), day["day"]))


def _name(said: dict[str, Any]) -> str:
    return "/".join(str(said[part]) for part in ("agent", "model_version") if said.get(part)) or "–"


def show_query(summary: dict[str, Any]) -> None:
    """Print each event: what and when on one line, what it says below it."""
    out = console()
    if not summary["events"]:
        out.print("no event is like that")
        return
    out.print("offset  time              type                 trace", style="bold")
    for each in summary["events"]:
        event = each["event"]
        data = event.get("data") if isinstance(event.get("data"), dict) else {}
        when = str(event.get("time") or "–")[:16].replace("T", " ")
        trace = plain(str(data.get("trace_id") or "–"))
        out.print(f"{each['offset']:6,}  {plain(when):16}  {plain(event['type']):19}  {trace}", soft_wrap=True)
        said = plain(f"        {_of(data)}: {_said(data)}".replace("–: ", "", 1))
        out.print(Text.from_markup(said, style="bright_black"), no_wrap=True, overflow="ellipsis")


def _of(data: dict[str, Any]) -> str:
    """Return who did it: an agent and its version, or who gave the feedback of which kind."""
    who = [str(data[name]) for name in ("user", "kind") if data.get(name)] if "kind" in data else []
    return ", ".join(who) or _name(data)


def _said(data: dict[str, Any]) -> str:
    """Return the beginning of what an event says."""
    said = data.get("output", data.get("value"))
    return (said if isinstance(said, str) else json.dumps(data if said is None else said, ensure_ascii=False))[:MESSAGE]


def show_feedback(summary: dict[str, Any]) -> None:
    """Print what was recorded."""
    out = console()
    trace = plain(summary["trace"])
    out.print(f"recorded for {trace}: {plain(summary['kind'])}, quality {summary['score']:.0f} of 100", soft_wrap=True)
    if not summary["trace_known"]:
        out.print(f"no trace {trace} is in the log yet; the feedback will be joined when it arrives", soft_wrap=True)


def _rounded(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
