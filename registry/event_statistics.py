"""Figures of the log: by model version and day, and what is in it twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from registry.event_blocks import read_columns
from registry.event_queries import TRACES, Query
from registry.event_traces import joined, one_of

if TYPE_CHECKING:
    import sqlalchemy as sa

DAY = 86_400_000_000
Floats = NDArray[np.float64]


class VersionDay(NamedTuple):
    """The traces of one model version on one day (UTC). A figure that nothing is known of is None."""

    agent: str | None
    model_version: str | None
    day: str
    traces: int
    scored: int
    """How many have a quality."""
    quality: float | None
    """Their mean, 0 to 100."""
    failed: int
    error_rate: float
    feedback: int
    """How many have feedback."""
    negative: int
    """How many whose last feedback is negative."""
    negative_rate: float | None
    """Of those with feedback."""
    latency_p50: float | None
    """Milliseconds, as are the next two."""
    latency_p95: float | None
    latency_p99: float | None
    tokens_in: float
    tokens_out: float
    cost: float


class Twins(NamedTuple):
    """Traces that say the same: their texts differ in case and space at most."""

    first: int
    """Offset of the one that is kept."""
    again: list[int]
    """Offsets of the others."""


def statistics(engine: sa.Engine, where: Query) -> list[VersionDay]:
    """Return the figures of the traces that are wanted, by day, agent and model version."""
    table = joined(engine, where, ("agent", "model_version"))
    if table.num_rows == 0:
        return []
    day = table["time"].cast(pa.int64()).to_numpy() // DAY
    agent, agents = _codes(table["agent"])
    version, versions = _codes(table["model_version"])
    first_day = int(day.min())
    group = ((day - first_day) * len(agents) + agent) * len(versions) + version
    keys, code = _distinct(group)
    found = _figures(table, code, len(keys))
    days = []
    for place, key in enumerate(keys.tolist()):
        rest, of_version = divmod(key, len(versions))
        number, of_agent = divmod(rest, len(agents))
        date = datetime.fromtimestamp((number + first_day) * 86_400, UTC).date().isoformat()
        days.append(VersionDay(agents[of_agent], versions[of_version], date, **_row(found, place)))
    return sorted(days, key=lambda each: (each.day, each.agent or "", each.model_version or ""))


def _distinct(group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the values there are and the place of each row's among them; by counting, where that is not too long."""
    if int(group.max()) > 1 << 22:
        return np.unique(group, return_inverse=True)
    there = np.bincount(group) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[group]


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str | None]]:
    """Return a column of dictionaries as codes and their names; the last is None, for what has no name."""
    if not column.num_chunks:
        return np.zeros(0, np.int64), [None]
    names: list[str | None] = column.chunk(0).dictionary.to_pylist()
    codes = [pc.fill_null(chunk.indices, len(names)).to_numpy() for chunk in column.chunks]
    return np.concatenate(codes).astype(np.int64), [*names, None]


def _figures(table: pa.Table, code: NDArray[np.int64], groups: int) -> dict[str, Any]:
    quality, latency = (_numbers(table[name]) for name in ("quality", "latency_ms"))
    judged = pc.is_valid(table["negative"]).to_numpy(zero_copy_only=False)
    negative = pc.fill_null(table["negative"], False).to_numpy(zero_copy_only=False)
    failed = table["failed"].to_numpy(zero_copy_only=False)
    known = np.isfinite(quality)

    def count(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(code[mask], minlength=groups)

    def total(values: Floats) -> Floats:
        return np.bincount(code, weights=np.where(np.isfinite(values), values, 0.0), minlength=groups).astype(
            np.float64
        )

    return {
        "count": np.bincount(code, minlength=groups),
        "scored": count(known),
        "quality": total(quality),
        "failed": count(failed),
        "feedback": count(judged),
        "negative": count(negative),
        "latency": _percentiles(latency, code, groups),
        **{name: total(_numbers(table[name])) for name in ("tokens_in", "tokens_out", "cost")},
    }


def _numbers(column: pa.ChunkedArray) -> Floats:
    numbers: Floats = pc.fill_null(column, np.nan).to_numpy()
    return numbers


def _percentiles(values: Floats, code: NDArray[np.int64], groups: int) -> list[tuple[float | None, ...]]:
    """Return p50, p95 and p99 of the finite values of each group."""
    finite = np.isfinite(values)
    if not finite.any():
        return [(None, None, None)] * groups
    values, code = values[finite], code[finite]
    if groups < 1 << 16:
        code = code.astype(np.uint16)  # numpy sorts these by radix
    ordered = values[np.argsort(code, kind="stable")]
    ends = np.cumsum(np.bincount(code, minlength=groups))
    parts = np.split(ordered, ends[:-1])
    return [tuple(np.percentile(part, (50, 95, 99)).tolist()) if len(part) else (None, None, None) for part in parts]


def _row(found: dict[str, Any], place: int) -> dict[str, Any]:
    count, scored, judged = (int(found[name][place]) for name in ("count", "scored", "feedback"))
    failed, negative = int(found["failed"][place]), int(found["negative"][place])
    p50, p95, p99 = found["latency"][place]
    return {
        "traces": count,
        "scored": scored,
        "quality": float(found["quality"][place]) / scored if scored else None,
        "failed": failed,
        "error_rate": failed / count,
        "feedback": judged,
        "negative": negative,
        "negative_rate": negative / judged if judged else None,
        "latency_p50": p50,
        "latency_p95": p95,
        "latency_p99": p99,
        **{name: float(found[name][place]) for name in ("tokens_in", "tokens_out", "cost")},
    }


def duplicates(engine: sa.Engine, where: Query) -> list[Twins]:
    """Return the traces in a window of offsets that say what an earlier one of the window said."""
    table = read_columns(engine, ["offset", "content", "shadow", "type"], after=where.after, upto=where.upto)
    mask = pc.and_(one_of(table["type"], TRACES), pc.greater(table["offset"], where.after))
    if where.shadow is not None:
        mask = pc.and_(mask, pc.equal(table["shadow"], where.shadow))
    if where.upto is not None:
        mask = pc.and_(mask, pc.less_equal(table["offset"], where.upto))
    table = table.filter(pc.and_(mask, pc.is_valid(table["content"])))
    content, offset = table["content"].to_numpy(), table["offset"].to_numpy()
    order = np.argsort(content, kind="stable")
    first = np.flatnonzero(np.diff(content[order], prepend=content[order][:1] - 1))
    sizes = np.diff(first, append=len(order))
    several = np.flatnonzero(sizes > 1)
    found = [offset[order[first[each] : first[each] + sizes[each]]].tolist() for each in several]
    return sorted(Twins(same[0], same[1:]) for same in found)
