"""What the commands of the event log print for people."""

from __future__ import annotations

import json
from typing import Any

from flows.show import console, number, plain, table

MESSAGE = 60


def show_import(summary: dict[str, Any]) -> None:
    """Print what became of the lines of an import."""
    out = console()
    lost = ", ".join(f"{count:,} {code}" for code, count in summary["by_reason"].items())
    out.print(
        f"{summary['appended']:,} events appended, {summary['duplicate']:,} there already, "
        f"{summary['rejected']:,} rejected{f' ({lost})' if lost else ''}; the log's last offset is {summary['head']:,}"
    )
    for each in summary["rejects"]:
        out.print(plain(f"  {each['file']} line {each['line']}: {each['code']}, {each['reason']}"), soft_wrap=True)
    if more := summary["rejected"] - len(summary["rejects"]):
        out.print(f"  and {more:,} more")


def show_statistics(summary: dict[str, Any]) -> None:
    """Print a line for each model version and day."""
    out = console()
    columns = ("day", "agent", "version", "traces", "quality", "failed", "negative", "p50/95/99 ms", "tokens")
    made = table(*columns, right=columns[3:])
    for place, column in enumerate(made.columns):
        column.no_wrap = place not in (1, 2)  # names fold where the terminal is narrow, numbers never
    for day in summary["days"]:
        tokens = day["tokens_in"] + day["tokens_out"]
        latencies = [_rounded(day[f"latency_{name}"]) for name in ("p50", "p95", "p99")]
        made.add_row(
            day["day"], plain(day["agent"] or "–"), plain(day["model_version"] or "–"), number(day["traces"]),
            _rounded(day["quality"], 1), _share(day["error_rate"]), _share(day["negative_rate"]),
            "–" if latencies[0] == "–" else "/".join(latencies),
            number(round(tokens)) if tokens else "–",
        )  # fmt: skip
    if summary["days"]:
        out.print(made)
        out.print()
    out.print(f"{summary['traces']:,} traces; the log's last offset is {summary['head']:,}")


def show_query(summary: dict[str, Any]) -> None:
    """Print a line for each event."""
    made = table("offset", "time", "type", "of", "trace", "says", right=("offset",))
    for column in made.columns[:3]:
        column.no_wrap = True
    for each in summary["events"]:
        event = each["event"]
        data = event.get("data") if isinstance(event.get("data"), dict) else {}
        agent, version = (str(data.get(name) or "") for name in ("agent", "model_version"))
        words = (str(event.get("time") or "–")[:19], event["type"], f"{agent}/{version}".strip("/"))
        said = data.get("output", data.get("value"))
        text = said if isinstance(said, str) else "" if said is None else json.dumps(said)
        made.add_row(
            number(each["offset"]), *(plain(str(word or "–")) for word in words),
            plain(str(data.get("trace_id") or "–")), plain(text[:MESSAGE]),
        )  # fmt: skip
    out = console()
    if summary["events"]:
        out.print(made)
    else:
        out.print("no event is like that")


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
