"""Requests → one row a unit: what a unit did in a fixed time after its first request.

Requests of one unit are not independent, so they are counted once, as the unit's mean. The window of a unit opens with
its first request in the experiment and closes a fixed time later, whatever it does: nobody can choose when to look at
it. Units are in the order of their first request, which is the order in which they close.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MICROSECONDS_AN_HOUR = 3_600_000_000
MILLION = 1_000_000.0


class Units(NamedTuple):
    """The closed units of an experiment, in the order in which they closed: columns of shape (n,), NaN for unknown."""

    arm: NDArray[np.int8]
    opened: NDArray[np.int64]
    """First request, microseconds since 1970."""
    quality: Floats
    """Mean quality of the scored requests, 0–1."""
    failed: Floats
    """Share of the requests that failed."""
    negative: Floats
    """Share of negative feedback among the requests that got any."""
    latency: Floats
    """Milliseconds of the first request that says it."""
    cost: Floats
    """Mean cost of a request."""
    tokens: Floats
    """Mean tokens of a request, in and out."""

    def take(self, chosen: NDArray[np.bool_]) -> Units:
        """Return some of the units."""
        return Units._make(column[chosen] for column in self)

    def of(self, arm: int) -> Units:
        """Return the units of an arm."""
        return self.take(self.arm == arm)


class Exposure(NamedTuple):
    """How the units are spread over the arms, whether closed or not."""

    arms: NDArray[np.int64]
    """Units of each arm, shape (arms,)."""
    both: int
    """Units that were seen in more than one arm, and are left out."""
    open: int
    """Units whose window is not over."""


def by_unit(
    traces: pa.Table,
    arms: Sequence[str],
    now: datetime,
    window_hours: float,
    prices: tuple[float, float] = (0.0, 0.0),
) -> tuple[Units, Exposure]:
    """Return the closed units, and how many there are in all.

    Args:
        traces: One row a request, as the event log gives them. Rows without unit or of another arm are passed over.
        arms: Names of the arms, the control first.
        now: What is closed depends on it.
        window_hours: How long a unit's window is. 0: its first request alone.
        prices: Of a million tokens, in and out, for requests that say no cost.
    """
    rows = _rows(traces, arms)
    if not len(rows.arm):
        nothing = np.zeros(0)
        empty = Units(nothing.astype(np.int8), nothing.astype(np.int64), *(nothing,) * 6)
        return empty, Exposure(np.zeros(len(arms), dtype=np.int64), 0, 0)
    _, first, who = np.unique(rows.unit, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # the number of a unit is its place by first request
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    who, first = number[who], first[order]
    arm, opened = rows.arm[first], rows.time[first]
    one_arm = np.bincount(who, rows.arm != arm[who], len(first)) == 0
    window = np.int64(window_hours * MICROSECONDS_AN_HOUR)
    closed = opened + window <= np.int64(now.timestamp() * MILLION)
    within = rows.time <= opened[who] + window
    if window == 0:
        within = np.zeros(len(who), dtype=np.bool_)
        within[first] = True
    units = Units(arm, opened, *_columns(traces, rows.position[within], who[within], len(first), prices))
    counts = np.bincount(arm[one_arm], minlength=len(arms))
    return units.take(closed & one_arm), Exposure(counts, int((~one_arm).sum()), int((~closed & one_arm).sum()))


class _Rows(NamedTuple):
    """The rows that count, in the order of time; `position` is that in the table."""

    position: NDArray[np.int64]
    unit: NDArray[np.int64]
    arm: NDArray[np.int8]
    time: NDArray[np.int64]


def _rows(traces: pa.Table, arms: Sequence[str]) -> _Rows:
    arm = pc.fill_null(pc.index_in(traces["arm"], value_set=pa.array(arms, pa.string())), -1)
    arm = arm.to_numpy().astype(np.int8)
    counts = (arm >= 0) & traces["unit"].is_valid().to_numpy()
    units = traces["unit"].combine_chunks().dictionary_encode()
    units = units.combine_chunks() if isinstance(units, pa.ChunkedArray) else units
    unit = pc.fill_null(units.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    time = traces["time"].cast(pa.timestamp("us", traces["time"].type.tz)).cast(pa.int64()).to_numpy()
    position = np.flatnonzero(counts)
    order = np.lexsort((traces["offset"].to_numpy()[position], time[position]))
    position = position[order]
    return _Rows(position, unit[position], arm[position], time[position])


def _columns(
    traces: pa.Table, position: NDArray[np.int64], who: NDArray[np.int64], count: int, prices: tuple[float, float]
) -> tuple[Floats, ...]:
    """Return quality, failed, negative, latency, cost and tokens of each of `count` units from their rows."""

    def column(name: str) -> Floats:
        values = pc.cast(traces[name], pa.float64()).to_numpy()
        return np.asarray(values[position], dtype=np.float64)

    def mean(values: Floats) -> Floats:
        known = ~np.isnan(values)
        sizes = np.bincount(who[known], minlength=count)
        sums = np.bincount(who[known], values[known], count)
        return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)

    latency, tokens_in, tokens_out = column("latency_ms"), column("tokens_in"), column("tokens_out")
    first = np.full(count, np.nan)
    timed = np.flatnonzero(~np.isnan(latency))[::-1]  # the first is written last
    first[who[timed]] = latency[timed]
    priced = (np.nan_to_num(tokens_in) * prices[0] + np.nan_to_num(tokens_out) * prices[1]) / MILLION
    priced[np.isnan(tokens_in) & np.isnan(tokens_out)] = np.nan
    cost = column("cost")
    quality = np.clip(column("quality") / 100.0, 0.0, 1.0)
    return (
        mean(quality),
        mean(column("failed")),
        mean(column("negative")),
        first,
        mean(np.where(np.isnan(cost), priced, cost)),
        mean(np.nan_to_num(tokens_in) + np.nan_to_num(tokens_out)),
    )
