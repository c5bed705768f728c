"""What the commands of the event log do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flows.settings import Settings
from flows.stores import open_stores
from registry.errors import ExtractionError, listed
from registry.event_rows import new_id
from registry.home import now
from registry.scores import KINDS, feedback_score

if TYPE_CHECKING:
    from pathlib import Path

    from registry.event_queries import Query
    from tasks.extraction.inputs import Input

LINES = 4_096
"""Events that are written at once."""
SHOWN = 20
"""How many refused lines are told one by one."""
SOURCE = "ratchet/cli"
SUMS = ("traces", "scored", "failed", "feedback", "negative", "tokens_in", "tokens_out", "cost")
"""Figures that days are added up in."""
YES = "true or false, up or down, yes or no, 1 or 0"
TAKES: dict[str, str] = {
    "boolean": YES, "up": YES, "down": YES,
    "stars": "a number from 1 to 5", "fraction": "a number from 0 to 1", "percent": "a number from 0 to 100",
}  # fmt: skip


def import_events(settings: Settings, files: Sequence[str]) -> dict[str, Any]:
    """Append the events of files to the log; what is there already, and what is no event, is counted.

    Raises:
        ExtractionError: E7001 what cannot be read, E7036 not one line is an event.
    """
    from tasks.extraction.inputs import discard, find_inputs

    stores = open_stores(settings)
    inputs = find_inputs(list(files), scratch=stores.home.scratch)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    refused: list[dict[str, Any]] = []
    try:
        for item in inputs:
            for numbers, lines in _blocks(item):
                done = stores.events.append(lines)
                counts.update(read=len(lines), appended=done.appended, duplicate=done.duplicate)
                reasons.update(each.code for each in done.rejected)
                refused += [
                    {"file": item.name, "line": numbers[each.position], "code": each.code, "reason": each.reason}
                    for each in done.rejected[: SHOWN - len(refused)]
                ]
    finally:
        discard(inputs)
    if counts["appended"]:
        stores.events.make_blocks()
    rejected = reasons.total()
    if rejected and rejected == counts["read"]:
        shown = listed([f"{each['file']} line {each['line']}: {each['reason']}" for each in refused[:3]])
        what = f"none of {rejected:,} lines is an event: {shown}"
        raise ExtractionError("E7036", what, "give JSON Lines of CloudEvents, one event a line")
    return {
        **{name: counts[name] for name in ("read", "appended", "duplicate")},
        "rejected": rejected,
        "by_reason": dict(sorted(reasons.items())),
        "rejects": refused,
        "head": stores.events.head(),
    }


def _blocks(item: Input) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yield the lines of a file that are not blank, some megabytes at a time, with their numbers."""
    from registry.event_reading import MAX_BYTES
    from tasks.extraction.inputs import Partition, Piece
    from tasks.extraction.lines import read_blocks

    whole = Partition(0, (Piece(item.path, item.name, 0, item.size, item.codec),))
    for block in read_blocks(whole, MAX_BYTES):
        numbered = [(block.first_line + n, line) for n, line in enumerate(block.data.split(b"\n")) if line.strip()]
        yield [number for number, _ in numbered], [line for _, line in numbered]


def log_statistics(settings: Settings, where: Query) -> dict[str, Any]:
    """Return the figures of the log by model version, and by model version and day."""
    log = open_stores(settings).events
    days = [day._asdict() for day in log.statistics(where)]
    return {
        "log_id": log.log_id,
        "head": log.head(),
        "traces": sum(day["traces"] for day in days),
        "versions": over_days(days),
        "days": days,
    }


def over_days(days: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up the days of each model version (pure); of the percentiles of latency the worst day's stay."""
    several: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for day in days:
        several.setdefault((day["agent"] or "", day["model_version"] or ""), []).append(day)
    return [_summed(several[name]) for name in sorted(several)]


def _summed(days: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total = {name: sum(day[name] for day in days) for name in SUMS}
    scored, feedback = total["scored"], total["feedback"]
    quality = sum(day["quality"] * day["scored"] for day in days if day["scored"])
    latencies = [day["latency_p95"] for day in days if day["latency_p95"] is not None]
    return {
        "agent": days[0]["agent"],
        "model_version": days[0]["model_version"],
        "first_day": days[0]["day"],
        "last_day": days[-1]["day"],
        **total,
        "quality": quality / scored if scored else None,
        "error_rate": total["failed"] / total["traces"],
        "negative_rate": total["negative"] / feedback if feedback else None,
        "worst_latency_p95": max(latencies, default=None),
    }


def log_query(
    settings: Settings, where: Query, limit: int | None, *, newest_first: bool, unique: bool
) -> dict[str, Any]:
    """Return events; with `unique`, without those that say what an earlier one of the window says."""
    log = open_stores(settings).events
    again = {offset for twins in log.deduplicate(where) for offset in twins.again} if unique else frozenset()
    wanted = None if unique else limit
    found = [each for each in log.query(where, limit=wanted, newest_first=newest_first) if each.offset not in again]
    return {"events": [{"offset": each.offset, "event": each.event} for each in found[:limit]]}


def write_query(settings: Settings, where: Query, out: Path | None) -> int:
    """Write the events as JSON lines, as they came; return how many. Memory is bounded, whatever their number.

    Raises:
        CurationError: E7271 the file cannot be written.
        ExtractionError: E7033 a time is none.
    """
    from flows.export import target

    written = 0
    log = open_stores(settings).events
    with target(out) as stream:
        for batch in log.arrow(where, ["body"], batch_rows=LINES):
            stream.writelines(f"{body}\n" for body in batch.column(0).to_pylist())
            written += batch.num_rows
    return written


def record_feedback(settings: Settings, trace: str, kind: str, value: str, user: str) -> dict[str, Any]:
    """Append what somebody says about a trace. It may come before its trace.

    Raises:
        ExtractionError: E7037 it says nothing about quality.
    """
    from registry.event_queries import Query

    said = _value(value)
    score = feedback_score(kind, said, Counter())
    if score is None:
        what = f"feedback {kind[:60]!r} of {value[:60]!r} says nothing about quality"
        raise ExtractionError("E7037", what, _takes(kind))
    log = open_stores(settings).events
    event = {
        "specversion": "1.0", "id": new_id(), "source": SOURCE, "type": "feedback.recorded", "time": now(),
        "data": {"trace_id": trace, "kind": kind, "value": said, "user": user},
    }  # fmt: skip
    known = bool(log.query(Query(trace_ids=[trace], types=["execution.completed", "planning.completed"]), limit=1))
    done = log.append([event])
    if done.rejected:
        raise ExtractionError("E7037", f"it cannot be recorded: {done.rejected[0].reason}", "correct it")
    return {
        "trace": trace, "kind": kind, "value": said, "user": user, "score": score, "trace_known": known,
        "offset": done.head,
    }  # fmt: skip


def _takes(kind: str) -> str:
    """Say which values a kind takes; of an unknown kind, which kinds there are."""
    scale = KINDS.get(kind.strip().lower().replace("-", "_"))
    if scale is None:
        return "give --kind thumbs, resolved, stars, score or percent; docs/event-log.md names them all"
    return f"{kind} takes {TAKES[scale]}"


def _value(text: str) -> bool | int | float | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
