"""The loops over examples, compiled by numba where there are many. Every function is plain Python on numpy arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]

BASE, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
BLANK = np.uint8(32)


def path_sums(
    features: Floats, feature: Integers, threshold: Floats, length: Floats, depth: int, total: Floats
) -> None:
    """Add up the path lengths of (n, f) features over all trees of a forest into `total`, shape (n,).

    The other arguments are those of `tasks.filtering.forest.Forest`. Tree after tree for some rows at a time: a tree
    and these rows stay in the fastest cache, and the ways of the rows do not wait for each other.
    """
    at_once = 256
    nodes = np.zeros(at_once, dtype=np.int64)
    for first in range(0, features.shape[0], at_once):
        last = min(first + at_once, features.shape[0])
        total[first:last] = 0.0
        for tree in range(feature.shape[0]):
            kinds, limits = feature[tree], threshold[tree]
            nodes[:] = 0
            for _ in range(depth):
                for row in range(first, last):
                    node = nodes[row - first]
                    nodes[row - first] = 2 * node + 1 + (features[row, kinds[node]] > limits[node])
            for row in range(first, last):
                total[row] += length[tree, nodes[row - first] - (2**depth - 1)]


def word_hash(word: bytes) -> int:
    """Return the 64-bit hash by which `count_words` knows a word."""
    value = 0
    for byte in word:
        value = (value + byte + 1) * int(BASE) % 2**64
        value ^= value >> int(SHIFT)
    return value


def count_words(data: Bytes, ends: Integers, table: Bytes, stops: Hashes, counts: Floats) -> None:  # noqa: C901
    """Count the words of n texts: `tasks.filtering.features._count` of each, in one loop that a compiler takes whole.

    Args:
        data: Bytes of all texts.
        ends: n + 1 borders of the texts in `data`.
        table: What a byte becomes: letters and digits in lower case, all else a blank.
        stops: Hash table of the function words; a power of two in size.
        counts: (4, n): words, distinct words, distinct content words, share of symbols; written here.
    """
    room = 16
    for row in range(len(ends) - 1):
        room = max(room, int(ends[row + 1] - ends[row]))
    slots, owner = np.zeros(2 * room, dtype=np.uint64), np.zeros(2 * room, dtype=np.int64)
    for row in range(len(ends) - 1):
        start, end = ends[row], ends[row + 1]
        size = 16  # a table of twice the possible words: a word and its blank are two bytes
        while size < end - start:
            size *= 2
        size = min(size, 2 * room)
        words = distinct = content = symbols = 0
        value, inside = np.uint64(0), False
        for position in range(start, end + 1):
            byte = table[data[position]] if position < end else BLANK
            if byte != BLANK:
                value = (value + np.uint64(byte) + np.uint64(1)) * BASE
                value ^= value >> SHIFT
                inside = True
                continue
            if position < end and data[position] != 32 and data[position] != 10:
                symbols += 1
            if not inside:
                continue
            words += 1
            slot = np.int64(value % np.uint64(size))
            while owner[slot] == row + 1 and slots[slot] != value:
                slot = np.int64((slot + 1) % size)
            if owner[slot] != row + 1:
                slots[slot], owner[slot] = value, row + 1
                distinct += 1
                stop = np.int64(value % np.uint64(len(stops)))
                while stops[stop] != 0 and stops[stop] != value:
                    stop = np.int64((stop + 1) % len(stops))
                content += stops[stop] == 0
            value, inside = np.uint64(0), False
        counts[0, row], counts[1, row], counts[2, row] = words, distinct, content
        counts[3, row] = symbols / (end - start) if end > start else 0.0
