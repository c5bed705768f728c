"""Which examples a dataset version gets, and on which side: a pure function of numbers.

The rows are the parent version's, which are fixed, and the accepted new ones, all in the order of their content
(example_id), so that nothing depends on where or in which order they were read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.curation.cluster import Pairs, components, keep_best
from tasks.curation.groups import NO_SIDE, group
from tasks.curation.kernels import I64, U64
from tasks.curation.policy import CurationPolicy
from tasks.curation.split import split

KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE, JOINS_TWO_SIDES = 0, 1, 2, 3
FATES = ("kept", "exact_duplicate", "near_duplicate", "joins_two_sides")
"""What becomes of an accepted example, by code."""


class Rows(NamedTuple):
    """Facts of n rows, in the order of their content."""

    exact: U64
    composite: NDArray[np.float64]
    side: NDArray[np.int8]
    """The side in the parent version, `NO_SIDE` for new rows."""
    stratum: I64
    keys: tuple[U64, ...]
    """Hashes of subject, session and prompt."""
    id_key: U64

    def take(self, rows: I64) -> Rows:
        """Return the facts of some rows."""
        keys = tuple(key[rows] for key in self.keys)
        return Rows(
            self.exact[rows], self.composite[rows], self.side[rows], self.stratum[rows], keys, self.id_key[rows]
        )


class Plan(NamedTuple):
    """What becomes of n rows."""

    fate: NDArray[np.uint8]
    """Code in `FATES`."""
    side: NDArray[np.int8]
    """0 train, 1 validation, 2 test; `NO_SIDE` for rows that are not kept."""
    group: I64
    """The first row of the row's group; −1 for rows that are not kept."""


def drop_exact(rows: Rows) -> I64:
    """Return the rows that remain when of each normalised text the best is kept."""
    return np.flatnonzero(keep_best(rows.exact, rows.side != NO_SIDE, rows.composite))


def drop_near(rows: Rows, pairs: Pairs) -> I64:
    """Return the rows that remain when of each cluster of near-duplicate pairs the best is kept."""
    labels = components(len(rows.exact), pairs)
    return np.flatnonzero(keep_best(labels, rows.side != NO_SIDE, rows.composite))


def plan(rows: Rows, distinct: I64, remaining: I64, policy: CurationPolicy, seed: int) -> Plan:
    """Group and split what remained of the rows.

    Args:
        rows: All rows.
        distinct: Rows that are no exact duplicates.
        remaining: Rows of these that are no near-duplicates either.
        policy: The wanted shares.
        seed: Decides between groups of one size.
    """
    n = len(rows.exact)
    fate = np.full(n, EXACT_DUPLICATE, dtype=np.uint8)
    fate[distinct] = NEAR_DUPLICATE
    kept = rows.take(remaining)
    groups = group(list(kept.keys), kept.side)
    fate[remaining] = np.where(groups.left_out, JOINS_TWO_SIDES, KEPT)
    inside = np.flatnonzero(~groups.left_out)
    side = np.full(n, NO_SIDE, dtype=np.int8)
    label = np.full(n, -1, dtype=np.int64)
    tie = _mixed(kept.id_key[inside], seed)
    at = remaining[inside]
    side[at] = split(groups.label[inside], groups.side[inside], kept.stratum[inside], policy.shares, tie)
    label[at] = remaining[groups.label[inside]]
    # A row of the parent version stays where it was, whatever it would be joined with now.
    side[at] = np.where(rows.side[at] != NO_SIDE, rows.side[at], side[at])
    return Plan(fate, side, label)


def _mixed(keys: U64, seed: int) -> U64:
    """Return a random number for each key that only the key and the seed decide."""
    value = keys + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value ^= value >> np.uint64(shift)
        value *= np.uint64(factor)
    return value ^ (value >> np.uint64(31))
