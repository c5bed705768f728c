"""Find exact and near-duplicates among n examples, from numbers alone.

Candidates come from LSH bands, one band in memory at a time, and are verified on the true sets of shingles. Crowded
buckets (many conversations that share a long text) stay linear: see `candidates`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.curation import kernels
from tasks.curation.kernels import I64, U32, U64

COMPILE_FROM_ROWS = 10_000
CROWD = 64
"""A bucket of more rows is crowded, and is divided by 16 further bits of minima before pairs are made."""
WINDOW = 16
"""In a bucket each row is paired with so many next ones in the order of all the bits of its key."""


class Pairs(NamedTuple):
    """n pairs of rows, `left[i] < right[i]`, sorted and distinct."""

    left: I64
    right: I64


def candidates(keys: U64) -> Pairs:
    """Pair the rows that fall into one bucket of one band.

    A bucket of up to `WINDOW` + 1 rows gives all its pairs. Larger ones give at most `WINDOW` pairs a row, between
    neighbours in the order of four further minima, so that similar rows stand together. A bucket of more than `CROWD`
    rows is first divided by two of these minima: the cost grows linearly however many conversations share a text, and
    as every band divides by other minima, near-duplicates still meet (0.997 at Jaccard 0.8 over the 25 bands).

    Args:
        keys: (n,) keys of one band (`fingerprint.Fingerprints.bands`); 0 takes no part.
    """
    order = _argsort(keys)
    order = order[np.searchsorted(keys[order], 1) :]
    ordered = keys[order]
    bucket = ordered >> np.uint64(32)
    _, lengths = _runs(bucket)
    crowded = np.repeat(lengths > CROWD, lengths)
    bucket = np.where(crowded, ordered >> np.uint64(16), bucket << np.uint64(16))
    left: list[I64] = []
    right: list[I64] = []
    for distance in range(1, WINDOW + 1):
        same = np.flatnonzero(bucket[distance:] == bucket[:-distance]) if distance < len(bucket) else bucket[:0]
        if not len(same):
            break
        left.append(order[same.astype(np.int64)])
        right.append(order[same.astype(np.int64) + distance])
    return distinct(np.concatenate(left), np.concatenate(right)) if left else Pairs(*_no_rows())


def _argsort(keys: U64) -> I64:
    """Sort as `np.argsort(kind="stable")` does, several times faster where few keys are repeated."""
    order = np.argsort(keys)  # vectorised, but what it does with equal keys depends on the machine
    ordered = keys[order]
    equal = ordered[1:] == ordered[:-1]
    repeated = np.r_[False, equal] | np.r_[equal, False]
    if len(order) and repeated.any():
        rows = order[repeated]
        order[repeated] = rows[np.lexsort((rows, keys[rows]))]
    return order


def distinct(left: I64, right: I64) -> Pairs:
    """Sort pairs and drop repeated ones; the smaller row comes first."""
    packed = (np.minimum(left, right).astype(np.uint64) << np.uint64(32)) | np.maximum(left, right).astype(np.uint64)
    packed = distinct_values(packed)
    return Pairs((packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64))


def distinct_values(values: U64) -> U64:
    """Return the distinct values in order. np.unique hashes before it sorts, which takes a hundred times as long."""
    ordered = np.sort(values)
    return ordered[np.r_[True, ordered[1:] != ordered[:-1]]] if len(ordered) else ordered


def _no_rows() -> tuple[I64, I64]:
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)


def _runs(labels: U64) -> tuple[I64, I64]:
    """Return starts and lengths of runs of equal labels."""
    if not len(labels):
        return _no_rows()
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    return starts, np.diff(np.r_[starts, len(labels)])


def jaccard(left: list[U32], right: list[U32]) -> NDArray[np.float64]:
    """Return the Jaccard similarity |A ∩ B| / |A ∪ B| of n pairs of sets; two empty sets have 0."""
    common, union = np.zeros(len(left), dtype=np.int64), np.zeros(len(left), dtype=np.int64)
    if len(left) < COMPILE_FROM_ROWS // 10:
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            one, other = set(a.tolist()), set(b.tolist())
            common[i], union[i] = len(one & other), len(one | other)
    else:
        compiled(kernels.shared_shingles)(*_flat(left), *_flat(right), common, union)
    return np.divide(common, union, out=np.zeros(len(left)), where=union > 0)


def _flat(sets: list[U32]) -> tuple[U32, I64]:
    offsets = np.zeros(len(sets) + 1, dtype=np.int64)
    np.cumsum([len(values) for values in sets], out=offsets[1:])
    return np.concatenate(sets), offsets


def components(rows: int, pairs: Pairs) -> I64:
    """Return the component of each of n rows under `pairs`, named by its smallest row."""
    parent = np.arange(rows, dtype=np.int64)
    big = len(pairs.left) >= COMPILE_FROM_ROWS
    (compiled(kernels.union_pairs) if big else kernels.union_pairs)(parent, pairs.left, pairs.right)
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    return parent


def keep_best(
    labels: NDArray[np.int64] | U64, fixed: NDArray[np.bool_], composite: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Choose what is kept of each cluster: every fixed member, else the one member of highest composite.

    Args:
        labels: (n,) the cluster of each row. Rows are in the order of their content, which breaks ties: the first wins.
        fixed: (n,) rows that are in the parent version; they are never dropped, and new ones beside them always are.
        composite: (n,) scores.

    Returns:
        (n,) True for the rows that are kept.
    """
    order = np.lexsort((np.arange(len(labels)), -composite, ~fixed, labels))
    ordered = labels[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(ordered) else np.zeros(0, dtype=bool)
    kept = fixed.copy()
    kept[order[first]] = True
    return kept
