"""Which examples a dataset version gets, and on which side: a pure function of numbers.

The rows are the parent version's, which are fixed, and the accepted new ones, all in the order of their content
(example_id), so that nothing depends on where or in which order they were read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.errors import CurationError
from registry.records import SPLITS
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
    tie = mixed(kept.id_key[inside], seed)
    at = remaining[inside]
    side[at] = split(groups.label[inside], groups.side[inside], kept.stratum[inside], policy.shares, tie)
    label[at] = remaining[groups.label[inside]]
    # A row of the parent version stays where it was, whatever it would be joined with now.
    side[at] = np.where(rows.side[at] != NO_SIDE, rows.side[at], side[at])
    return Plan(fate, side, label)


def check_splits(side: NDArray[np.int8], group: NDArray[Any], policy: CurationPolicy, name: str) -> None:
    """Refuse a dataset in which a split would be empty.

    Args:
        side: (n,) the side of each row, `NO_SIDE` for rows that are not kept.
        group: (n,) the group of each row, any numbers.
        policy: The wanted shares.
        name: Name of the dataset.

    Raises:
        CurationError: E7213 a split would be empty; it says why.
    """
    kept = np.flatnonzero(side != NO_SIDE)
    rows = np.bincount(side[kept], minlength=len(SPLITS)).tolist()
    empty = [split for split, count in zip(SPLITS, rows, strict=True) if not count]
    if not empty:
        return
    splits = f"{' and '.join(empty)} split{'s' if len(empty) > 1 else ''}"
    what = f"the {splits} of dataset {name} would be empty"
    if unwanted := [split for split, share in zip(SPLITS, policy.shares, strict=True) if split in empty and not share]:
        settings = " and ".join(f"curation.{split}_share" for split in unwanted)
        raise CurationError("E7213", f"{what}: the policy asks for that", f"set {settings} above 0")
    sizes = np.unique(group[kept], return_counts=True)[1]
    if sizes.max() > 1 and 2 * sizes.max() > len(kept):
        why = (
            f"{sizes.max()} of {len(kept)} examples hang together in one group, as they share a customer (subject), "
            "a session or a first message"
        )
    else:
        why = f"there {'is 1 example' if len(kept) == 1 else f'are {len(kept)} examples'} in all"
    todo = "give events of more customers or tasks: a group stays on one side of the split"
    raise CurationError("E7213", f"{what}: {why}", todo)


def mixed(keys: U64, seed: int) -> U64:
    """Return a random number for each key that only the key and the seed decide."""
    value = keys + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value ^= value >> np.uint64(shift)
        value *= np.uint64(factor)
    return value ^ (value >> np.uint64(31))
