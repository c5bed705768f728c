"""Split groups 80/10/10 by examples, stratified by domain × difficulty.

First every group is dealt, the largest first, to the side that lacks most in the group's strata and over all
(`kernels.deal_groups`). Then a repair pass moves single groups, and swaps pairs where there are few, as long as that
brings the shares closer. Groups that have a side already keep it, and the others make up for them.

Tiny inputs cannot be split 80/10/10. One group goes to train. Of two the larger goes to train and the other to test.
From three on every side gets one group at least: a model that nothing examines is worth less than one that learned from
a few examples fewer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.curation import kernels
from tasks.curation.cluster import COMPILE_FROM_ROWS, distinct_values
from tasks.curation.groups import NO_SIDE
from tasks.curation.kernels import I64, U64

Float = NDArray[np.float64]
STRATUM_GROUPS = 30
"""Strata of fewer groups are too coarse to be held to their shares."""
REPAIR_GROUPS = 3000
"""The repair pass looks at so many groups, the smallest ones."""
SWAP_GROUPS = 150
REPAIR_STEPS = 300
TRAIN, VALIDATION, TEST = 0, 1, 2


class _Table(NamedTuple):
    """Groups as rows of counts."""

    sizes: Float
    """(groups, strata + 1) examples of each group in each stratum, and in all."""
    target: Float
    """(strata + 1, 3) wanted examples."""
    tolerance: Float
    """(strata + 1,) 1 / examples of a line, 0 for lines that are not held to their shares."""


def split(
    label: I64, side: NDArray[np.int8], strata: I64, shares: tuple[float, float, float], tie: U64
) -> NDArray[np.int8]:
    """Give each of n rows a side: 0 train, 1 validation, 2 test.

    Args:
        label: (n,) group of each row, any integers.
        side: (n,) side that the row's group has already, or `NO_SIDE`.
        strata: (n,) stratum of each row, 0 to the number of strata − 1.
        shares: Wanted shares of the examples.
        tie: (n,) seeded random numbers that decide between groups of one size; a group has its first row's.
    """
    if not len(label):
        return np.zeros(0, dtype=np.int8)
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    group_side = side[first].copy()
    order_of_rows = np.argsort(group, kind="stable")
    starts = np.r_[0, np.cumsum(np.bincount(group))]
    target = np.outer(np.r_[np.bincount(strata), len(label)], shares).astype(np.float64)
    free = np.flatnonzero(group_side == NO_SIDE)
    count = _counts(group_side[group], strata, len(target) - 1)
    dealing = free[np.lexsort((tie[first][free], -np.diff(starts)[free]))]
    deal = compiled(kernels.deal_groups) if len(label) >= COMPILE_FROM_ROWS else kernels.deal_groups
    deal(dealing, starts, strata[order_of_rows], target, count, group_side)
    _repair(group_side, free, group, strata, target)
    return group_side[group]


def _counts(side: NDArray[np.int8], strata: I64, lines: int) -> Float:
    """Return (lines + 1, 3) examples by stratum and side, and over all."""
    placed = side != NO_SIDE
    cells = np.bincount(strata[placed] * 3 + side[placed], minlength=lines * 3).reshape(lines, 3)
    return np.vstack([cells, cells.sum(axis=0)]).astype(np.float64)


def _repair(group_side: NDArray[np.int8], free: I64, group: I64, strata: I64, target: Float) -> None:
    """Improve `group_side` in place by moves and swaps of the smallest free groups."""
    sizes = np.bincount(group)
    lines = len(target) - 1
    movable = free[np.argsort(sizes[free], kind="stable")][:REPAIR_GROUPS]
    place = np.full(len(sizes), -1)
    place[movable] = np.arange(len(movable))
    inside = place[group] >= 0
    cells = np.bincount(place[group[inside]] * lines + strata[inside], minlength=len(movable) * lines)
    table = cells.reshape(len(movable), lines).astype(np.float64)
    pairs = distinct_values((group * lines + strata).astype(np.uint64)).astype(np.int64)
    in_stratum = np.bincount(pairs % lines, minlength=lines)
    held = np.r_[in_stratum >= STRATUM_GROUPS, True]
    examples = target.sum(axis=1)
    whole = _Table(
        np.hstack([table, table.sum(axis=1, keepdims=True)]),
        target,
        np.divide(1.0, examples, out=np.zeros(lines + 1), where=held & (examples > 0)),
    )
    count = _counts(group_side[group], strata, lines)
    needed = _needed_sides(len(sizes), target[-1])
    for _ in range(REPAIR_STEPS):
        moves = _best_move(whole, count, group_side[movable], needed)
        if moves is None and len(movable) <= SWAP_GROUPS:
            moves = _best_swap(whole, count, group_side[movable], needed)
        if moves is None:
            return
        for row, to in moves:
            count[:, group_side[movable[row]]] -= whole.sizes[row]
            count[:, to] += whole.sizes[row]
            group_side[movable[row]] = to


def _needed_sides(groups: int, whole_target: Float) -> list[int]:
    """Return the sides that must not be empty, given how many groups there are."""
    wanted = [side for side in (TRAIN, TEST, VALIDATION) if whole_target[side] > 0]
    return wanted[:groups]


def _distance(table: _Table, count: Float, needed: list[int]) -> Float:
    """Return how far counts are from what is wanted, for (..., strata + 1, 3) counts.

    An empty side that must not be empty counts most, then the shares over all, then held strata that are more than 2
    points off, then (count − target)² over everything.
    """
    off = np.abs(count - table.target) * table.tolerance[:, None]
    squares = ((count - table.target) ** 2).sum(axis=(-1, -2)) / table.target[-1].sum() ** 2
    empty = (count[..., -1, needed] == 0).sum(axis=-1)
    overall = off[..., -1, :].max(axis=-1) + off[..., -1, :].sum(axis=-1)
    strata = np.maximum(off[..., :-1, :] - 0.02, 0.0).sum(axis=(-1, -2))
    result: Float = 1e3 * empty + 1e2 * np.maximum(overall - 0.004, 0.0) + 10.0 * strata + overall + squares
    return result


def _best_move(table: _Table, count: Float, side: NDArray[np.int8], needed: list[int]) -> list[tuple[int, int]] | None:
    """Find the one group whose move to another side helps most."""
    if not len(side):
        return None
    best: list[tuple[int, int]] | None = None
    least = float(_distance(table, count, needed)) - 1e-9
    for to in range(3):
        if table.target[-1, to] <= 0:
            continue
        after = np.repeat(count[None], len(side), axis=0)
        rows = np.arange(len(side))
        after[rows, :, side] -= table.sizes
        after[:, :, to] += table.sizes
        distance = _distance(table, after, needed)
        row = int(distance.argmin())
        if distance[row] < least:
            least, best = float(distance[row]), [(row, to)]
    return best


def _best_swap(table: _Table, count: Float, side: NDArray[np.int8], needed: list[int]) -> list[tuple[int, int]] | None:
    """Find the two groups of different sides whose exchange helps most."""
    a, b = np.triu_indices(len(side), 1)
    different = side[a] != side[b]
    a, b = a[different], b[different]
    if not len(a):
        return None
    after = np.repeat(count[None], len(a), axis=0)
    rows = np.arange(len(a))
    change = table.sizes[b] - table.sizes[a]
    after[rows, :, side[a]] += change
    after[rows, :, side[b]] -= change
    distance = _distance(table, after, needed)
    best = int(distance.argmin())
    if distance[best] >= float(_distance(table, count, needed)) - 1e-9:
        return None
    return [(int(a[best]), int(side[b[best]])), (int(b[best]), int(side[a[best]]))]
