"""Limits on the share of a dataset that a source or a domain may have: which rows stay (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Limit(NamedTuple):
    """No group may have more than a share of all rows."""

    kind: str
    """`source` or `domain`: why a row is left out."""
    group: I64
    """(n,) group of each row from 0 on; −1 for rows that the limit does not hold for."""
    share: float


class Kept(NamedTuple):
    """What stays of n rows."""

    keep: Mask
    kind: NDArray[np.int64]
    """(n,) place of the limit that a row is left out for; −1 for rows that stay."""


def within(limits: Sequence[Limit], fixed: Mask, order: I64) -> Kept:
    """Leave out as few rows as all limits allow.

    Of a group that is too large the first rows in `order` stay. The limits are applied in turn until none is broken:
    what one leaves out makes the shares of the others larger.

    Args:
        limits: All that must hold. One with fewer than two groups limits nothing.
        fixed: (n,) rows that stay whatever their share: the parent version's. They count.
        order: (n,) the rows, those that are kept rather than others first.
    """
    keep = np.ones(len(fixed), dtype=bool)
    kind = np.full(len(fixed), -1, dtype=np.int64)
    changed = True
    while changed:
        changed = False
        for place, limit in enumerate(limits):
            out = keep & ~_within(limit, keep, fixed, order)
            kind[out] = place
            keep &= ~out
            changed |= bool(out.any())
    return Kept(keep, kind)


def _within(limit: Limit, keep: Mask, fixed: Mask, order: I64) -> Mask:
    """Return which of the kept rows one limit lets stay."""
    rows = np.flatnonzero(keep)
    group = limit.group[rows] + 1  # group 0 is what the limit does not hold for
    total = np.bincount(group)
    several = np.count_nonzero(total)
    if several < 2:
        return keep
    unlimited = np.zeros(len(total), dtype=bool)
    unlimited[0] = True
    least = np.bincount(group[fixed[rows]], minlength=len(total))
    # With k groups nothing less than 1/k each is possible.
    share = limit.share if total[0] else max(limit.share, 1.0 / several)
    quota = quotas(total, least, np.where(unlimited, 1.0, share))
    chosen = order[keep[order]]
    place = limit.group[chosen] + 1
    free = ~fixed[chosen]
    stays = fixed & keep
    stays[chosen[free]] = _rank(place[free]) < (quota - least)[place[free]]
    return stays


def quotas(total: I64, least: I64, share: NDArray[np.float64]) -> I64:
    """Return how many rows each group may keep: the most that its share of what all keep allows.

    The number T of all rows is the largest with T = Σ max(least, min(total, ⌊share · T⌋)); going down from Σ total
    finds it, as the right side never rises when T falls.

    Args:
        total: (k,) rows of each group.
        least: (k,) rows that it keeps at least.
        share: (k,) largest share of each group.
    """
    quota = total
    while True:
        fewer = np.maximum(least, np.minimum(total, np.floor(share * quota.sum() + 1e-9).astype(np.int64)))
        if np.array_equal(fewer, quota):
            return quota
        quota = fewer


def _rank(group: I64) -> I64:
    """Return how many rows of the same group stand before each row."""
    by_group = np.argsort(group, kind="stable")
    sorted_group = group[by_group]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]]) if len(group) else np.zeros(0, np.int64)
    rank = np.arange(len(group))
    rank -= np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    result = np.empty(len(group), dtype=np.int64)
    result[by_group] = rank
    return result
