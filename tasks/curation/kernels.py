"""The loops over bytes and rows, compiled by numba where the input is large.

Every function here is plain Python on numpy arrays; `tasks.compiled.compiled` returns it compiled. Integers wrap modulo
2⁶⁴ and 2³², which `fingerprint` reproduces with numpy bit by bit for small inputs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

TOKEN_BASE = np.uint64(0x9E3779B97F4A7C15)
TEXT_BASE = np.uint64(0xC2B2AE3D27D4EB4F)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_C1, _C2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_ONE, _ZERO, _S32 = np.uint64(1), np.uint64(0), np.uint64(32)
BREAK, WORD, ALONE, SPACE = 0, 1, 2, 3
"""Classes of bytes: ends a word, belongs to one, starts a three-byte character that is a word by itself, white."""


def byte_classes() -> NDArray[np.uint8]:
    """Return the class of each of the 256 bytes of UTF-8.

    ASCII letters, digits and the underscore make words, and so does everything above ASCII; but each character of
    U+3000 to U+DFFF (Chinese, Japanese, Korean; three bytes, first 0xE3 to 0xED) is a word by itself, since those
    languages set no spaces.
    """
    classes = np.full(256, BREAK, dtype=np.uint8)
    for first, last in ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), (0x5F, 0x5F), (0x80, 0xFF)):
        classes[first : last + 1] = WORD
    classes[0xE3 : 0xED + 1] = ALONE
    for byte in (9, 10, 11, 12, 13, 32):
        classes[byte] = SPACE
    return classes


def hash_rows(  # noqa: C901  one loop over bytes that a compiler takes whole
    data: NDArray[np.uint8], offsets: I64, classes: NDArray[np.uint8], exact: U64, shingles: U32, counts: I64
) -> int:
    """Hash n texts: one exact hash each, and the 32-bit hashes of their word 3-grams.

    Args:
        data: UTF-8 bytes of all texts.
        offsets: n + 1 starts in `data`.
        classes: `byte_classes()`.
        exact: n hashes, written here: over the bytes in lower case with white space collapsed.
        shingles: Written here row after row; must have room for a shingle every byte.
        counts: n counts of shingles, written here. A text of one or two words has one shingle, of no word none.

    Returns:
        How many shingles were written in all.
    """
    out = 0
    for row in range(len(offsets) - 1):
        text_hash, text_power, space = _ZERO, _ONE, False
        token, power, alone, begun = _ZERO, _ONE, 0, out
        first, second, words = _ZERO, _ZERO, 0
        position, end = offsets[row], offsets[row + 1]
        while position <= end:
            byte, kind = _ZERO, BREAK
            if position < end:
                byte = np.uint64(data[position])
                kind = classes[data[position]]
                if byte >= np.uint64(65) and byte <= np.uint64(90):
                    byte += np.uint64(32)
                if kind != SPACE or not space:
                    text_hash += (np.uint64(33) if kind == SPACE else byte + _ONE) * text_power
                    text_power *= TEXT_BASE
                space = kind == SPACE
            ends = kind != WORD or alone == 1
            if alone > 0:
                alone -= 1
            if ends and power != _ONE:
                token ^= token >> _S30
                token *= _M1
                token ^= token >> _S27
                token *= _M2
                token ^= token >> _S31
                words += 1
                if words >= 3:
                    mixed = (first * _C1 + second) * _C2 + token
                    mixed ^= mixed >> _S31
                    mixed *= _M1
                    shingles[out] = np.uint32(mixed >> _S32)
                    out += 1
                first, second = second, token
                token, power = _ZERO, _ONE
            if kind in (WORD, ALONE):
                token += (byte + _ONE) * power
                power *= TOKEN_BASE
                if kind == ALONE:
                    alone = 3
            position += 1
        if words == 1 or words == 2:
            mixed = (first * _C1 + second) * _C2
            mixed ^= mixed >> _S31
            mixed *= _M1
            shingles[out] = np.uint32(mixed >> _S32)
            out += 1
        exact[row] = text_hash
        counts[row] = out - begun
    return out


def min_hash(shingles: U32, counts: I64, multipliers: U32, addends: U32, signature: U32) -> None:
    """MinHash: `signature[row, p]` = min over the row's shingles of `multipliers[p] · s + addends[p]`."""
    start = 0
    for row in range(len(counts)):
        line = signature[row]
        line[:] = np.uint32(0xFFFFFFFF)
        for position in range(start, start + counts[row]):
            shingle = shingles[position]
            for p in range(len(multipliers)):
                value = np.uint32(multipliers[p] * shingle + addends[p])
                line[p] = min(line[p], value)
        start += counts[row]


def shared_shingles(left: U32, left_offsets: I64, right: U32, right_offsets: I64, common: I64, union: I64) -> None:
    """Count the shingles that n pairs of sets share, and those that either has; repeated shingles count once."""
    for pair in range(len(common)):
        a, b = left_offsets[pair], left_offsets[pair + 1]
        c, d = right_offsets[pair], right_offsets[pair + 1]
        size = 4
        while size < 2 * (b - a + d - c):
            size *= 2
        keys = np.zeros(size, dtype=np.uint32)
        state = np.zeros(size, dtype=np.uint8)
        both, either = 0, 0
        for side in range(2):
            values, start, stop = (left, a, b) if side == 0 else (right, c, d)
            for position in range(start, stop):
                value = values[position]
                slot = (np.int64(value) * 40503) & (size - 1)
                while state[slot] != 0 and keys[slot] != value:
                    slot = (slot + 1) & (size - 1)
                if state[slot] == 0:
                    keys[slot] = value
                    state[slot] = 1 + side
                    either += 1
                elif side == 1 and state[slot] == 1:
                    state[slot] = 3
                    both += 1
        common[pair], union[pair] = both, either


def union_pairs(parent: I64, left: I64, right: I64) -> None:
    """Unite `left[i]` with `right[i]` in a forest in which a root is the smallest member of its tree."""
    for i in range(len(left)):
        a, b = int(left[i]), int(right[i])
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b


def flatten(parent: I64) -> None:
    """Make every node point at its root, for a forest in which parents are smaller than their children."""
    for node in range(len(parent)):
        parent[node] = parent[parent[node]]


def join_rows(  # noqa: C901  one loop over rows that a compiler takes whole
    parent: I64, side: NDArray[np.int8], links: I64, order: I64, left_out: NDArray[np.bool_]
) -> None:
    """Join rows that share a key into groups, one after the other; leave out a row that would join two sides.

    Args:
        parent: Forest over keys, every node its own root; changed. Roots are the smallest nodes of their trees.
        side: A side for each key or −1, kept for the roots; changed.
        links: (rows, k) keys of each row, −1 for none.
        order: Rows in the order in which they come.
        left_out: A mark for each row, written here.
    """
    for i in range(len(order)):
        row = order[i]
        found, clash, root = -1, False, -1
        for k in range(links.shape[1]):
            node = links[row, k]
            if node < 0:
                continue
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            if side[node] >= 0:
                clash = clash or (found >= 0 and found != side[node])
                found = side[node]
            if root < 0 or node < root:
                root = node
        left_out[row] = clash
        if clash or root < 0:
            continue
        for k in range(links.shape[1]):
            node = links[row, k]
            if node < 0:
                continue
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            parent[node] = root
        side[root] = found


def deal_groups(
    order: I64, starts: I64, strata: I64, target: NDArray[np.float64], count: NDArray[np.float64], out: NDArray[np.int8]
) -> None:
    """Deal groups to sides, each to the side whose distance from the target it reduces most.

    The distance is Σ (count − target)² / target over the cells of the strata and, with ten times the weight, of all.

    Args:
        order: Groups in the order in which they are dealt.
        starts: (groups + 1,) starts of each group's rows in `strata`.
        strata: Stratum of each row, rows of a group together.
        target: (strata + 1, sides) wanted numbers of rows; the last line is the whole.
        count: Like `target`: rows there are already; changed.
        out: Side of each group, written here.
    """
    whole = target.shape[0] - 1
    for i in range(len(order)):
        group = order[i]
        size = starts[group + 1] - starts[group]
        best, best_cost = 0, np.inf
        for s in range(target.shape[1]):
            if target[whole, s] <= 0.0:
                continue
            cost = 10.0 * size * (2.0 * (count[whole, s] - target[whole, s]) + size) / target[whole, s]
            for row in range(starts[group], starts[group + 1]):
                line = strata[row]
                cost += (2.0 * (count[line, s] - target[line, s]) + 1.0) / target[line, s]
            if cost < best_cost - 1e-9:
                best, best_cost = s, cost
        out[group] = best
        count[whole, best] += size
        for row in range(starts[group], starts[group + 1]):
            count[strata[row], best] += 1.0
