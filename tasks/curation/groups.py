"""Group what must not straddle splits: examples of one subject, one session or one normalised prompt.

Groups are the connected components: a and b share a subject, b and c a prompt, so a, b and c are one group.
Near-duplicate clusters need no link of their own: one member of each is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.curation import kernels
from tasks.curation.cluster import COMPILE_FROM_ROWS
from tasks.curation.kernels import I64, U64

NO_SIDE = -1


class Groups(NamedTuple):
    """The group of each of n rows."""

    label: I64
    """(n,) the group, named by its first row; −1 for a row that is left out."""
    side: NDArray[np.int8]
    """(n,) the side on which the group is already, or `NO_SIDE`."""
    left_out: NDArray[np.bool_]
    """(n,) new rows that would have joined groups of two sides."""


def group(keys: list[U64], side: NDArray[np.int8]) -> Groups:
    """Group n rows by shared keys, and find what would join groups of two sides of the parent version.

    The parent's rows come first, then the new ones in their order. A new row that shares keys with two sides is left
    out, and then joins nothing; so which rows are left out depends on their order only where new rows form a bridge
    together.

    Args:
        keys: Arrays of (n,) keys, such as hashes of the subject; 0 means that the row has none.
        side: (n,) the side of rows of the parent version, `NO_SIDE` for new rows.
    """
    rows = len(side)
    nodes, links = rows, [np.arange(rows, dtype=np.int64)]
    for column in keys:
        values, inverse = np.unique(column, return_inverse=True)
        links.append(np.where(column == 0, -1, inverse.reshape(-1) + nodes))
        nodes += len(values)
    parent = np.arange(nodes, dtype=np.int64)
    sides = np.full(nodes, NO_SIDE, dtype=np.int8)
    sides[:rows] = side
    left_out = np.zeros(rows, dtype=bool)
    order = np.argsort(side == NO_SIDE, kind="stable")
    join = compiled(kernels.join_rows) if rows >= COMPILE_FROM_ROWS else kernels.join_rows
    join(parent, sides, np.stack(links, axis=1), order, left_out)
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    root = parent[:rows]
    # A parent version made under other rules may have a group on two sides: its rows stay where they are.
    wrong = left_out & (side != NO_SIDE)
    left_out &= side == NO_SIDE
    return Groups(np.where(left_out, -1, root), np.where(wrong, side, sides[root]).astype(np.int8), left_out)
