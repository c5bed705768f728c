"""One pass over all bytes of a column: which texts could hold what a pattern looks for at all.

A regular expression costs more than a nanosecond a byte, and there are thirty. So a small loop first notes for each
text the words and the forms in it (`Form`), and a pattern is tried only on texts that have what all its matches have.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


class Form(enum.IntFlag):
    """What the loop sees by counting; words have bits of their own, from `FIRST_WORD` on."""

    SEVEN = 1
    """Seven digits with at most five other characters between two, no letters, and not one date alone."""
    NINE = 2
    """Nine of them."""
    CODE = 4
    """A run of six letters and digits at least, four of them digits, with a capital at its end or dashed to it; or two
    capitals and six digits."""
    RUN = 8
    """A run of sixteen letters and digits, not all of them small letters."""
    TOKEN = 16
    """The same of 23, with `_` and `-`."""
    HUMPS = 32
    """Two capitals within a word of eight characters, each after a small letter or a digit."""
    PAIRS = 64
    """Four runs of two, with little between them."""
    DOTS = 128
    """Two dots within what has no blank."""
    COLONS = 256
    """Three colons so, or two side by side."""
    ACCOUNT = 512
    """A run that begins with two letters and two digits."""
    BEYOND = 1024
    """A character beyond ASCII."""
    SPREAD = 2048
    """Five letters or digits in a row that stand alone."""
    STARS = 4096
    """Asterisks within a word."""


FIRST_WORD = 13
"""The bit of the first group of words."""
DIGIT, LOWER, UPPER, JOINER, SIGN, DOT, COLON, BACKSLASH, OTHER, FOREIGN = range(10)


def byte_kinds() -> U8:
    """Return the kind of each of the 256 bytes of UTF-8."""
    kinds = np.full(256, OTHER, dtype=np.uint8)
    for kind, bytes_ in (
        (DIGIT, b"0123456789"), (LOWER, bytes(range(97, 123))), (UPPER, bytes(range(65, 91))), (JOINER, b"_-"),
        (SIGN, b"+/"), (DOT, b"."), (COLON, b":"), (BACKSLASH, b"\\"), (FOREIGN, bytes(range(128, 256))),
    ):  # fmt: skip
        kinds[list(bytes_)] = kind
    return kinds


class Automaton(NamedTuple):
    """Finds many words at once (Aho and Corasick, 1975): the next state by state and symbol, and what a state tells."""

    symbols: U8
    """[256] symbol of each byte; 0 for bytes of no word."""
    steps: U32
    """[states << shift], flat: the next state, shifted."""
    tells: I64
    """[states] bits of the groups whose words end here."""
    shift: int
    """Bits of a symbol."""
    first: int
    """The first state that tells anything, shifted; all later ones do."""


def automaton(groups: Mapping[int, Sequence[bytes]], fold: U8) -> Automaton:
    """Build the automaton of groups of words.

    Args:
        groups: Words by the bit that tells that one of them is there; words of folded bytes.
        fold: [256] the byte that each byte counts as.
    """
    used = sorted({byte for words in groups.values() for word in words for byte in word})
    symbol = np.zeros(256, dtype=np.uint8)
    symbol[used] = np.arange(1, len(used) + 1)
    shift = len(used).bit_length()
    width = 1 << shift
    nodes, tells = [[0] * width], [0]
    for bit, words in groups.items():
        for word in words:
            node = 0
            for byte in word:
                if not nodes[node][symbol[byte]]:
                    nodes[node][symbol[byte]] = len(nodes)
                    nodes.append([0] * width)
                    tells.append(0)
                node = nodes[node][symbol[byte]]
            tells[node] |= bit
    steps, told = np.array(nodes, dtype=np.uint32), np.array(tells, dtype=np.int64)
    _close(steps, told)
    order = np.argsort(told != 0, kind="stable")
    place = np.argsort(order).astype(np.uint32)
    first = int(np.count_nonzero(told == 0)) << shift
    return Automaton(
        symbol[fold], (place[steps[order]] << np.uint32(shift)).ravel().astype(np.uint32), told[order], shift, first
    )


def _close(steps: U32, tells: I64) -> None:
    """Make a tree of words an automaton: what leads nowhere goes where the longest shorter end of it would go."""
    fails = np.zeros(len(steps), dtype=np.uint32)
    queue = [int(node) for node in steps[0] if node]
    for node in queue:  # grows, level by level
        fail = fails[node]
        tells[node] |= tells[fail]
        children = np.flatnonzero(steps[node])
        fails[steps[node][children]] = steps[fail][children]
        queue += steps[node][children].tolist()
        steps[node] = np.where(steps[node] > 0, steps[node], steps[fail])


def scan_words(
    data: U8, offsets: I64,
    signs: U8, sign_steps: U32, sign_tells: I64, sign_shift: int, sign_first: int,
    words: U8, word_steps: U32, word_tells: I64, word_shift: int, word_first: int,
    seen: I64,
) -> None:  # fmt: skip
    """Write for each of n texts which groups of words are in it.

    Args:
        data: Bytes of all texts, JSON or plain.
        offsets: n + 1 starts in `data`.
        signs: Symbols of the `Automaton` that reads the bytes as they stand, with its other fields.
        sign_steps: See above.
        sign_tells: See above.
        sign_shift: See above.
        sign_first: See above.
        words: The same of the automaton that reads an escaped line break as a blank.
        word_steps: See above.
        word_tells: See above.
        word_shift: See above.
        word_first: See above.
        seen: n bits, written here.
    """
    for row in range(len(offsets) - 1):
        found, before = 0, 32
        sign, word = sign_steps[0], word_steps[words[32]]  # unsigned: no index is checked for being negative
        for place in range(offsets[row], offsets[row + 1] + 1):
            byte = data[place] if place < offsets[row + 1] else 32
            sign = sign_steps[sign + signs[byte]]
            if before == 92 and (byte == 110 or byte == 114 or byte == 116):  # the end of an escaped \n, \r, \t
                byte = 32
            word = word_steps[word + words[byte]]
            before = byte
            if sign >= sign_first:
                found |= sign_tells[sign >> sign_shift]
            if word >= word_first:
                found |= word_tells[word >> word_shift]
        seen[row] |= found


def scan_runs(data: U8, offsets: I64, kinds: U8, seen: I64) -> None:  # noqa: C901  one loop that a compiler takes whole
    """Write for each of n texts which forms of runs of letters and digits are in it.

    Args:
        data: Bytes of all texts.
        offsets: n + 1 starts in `data`.
        kinds: `byte_kinds()`.
        seen: n bits of `Form`, written here.
    """
    for row in range(len(offsets) - 1):
        found = loose = groups = gap = run = digits = capitals = pairs = alone = 0
        before, earlier, led = 8, 8, False
        for place in range(offsets[row], offsets[row + 1] + 1):
            byte = data[place] if place < offsets[row + 1] else 32
            kind = kinds[byte]
            if before == 7 and (byte == 110 or byte == 114 or byte == 116):
                kind = 8
            if kind <= 2:
                if run == 0:
                    led = before == 3 and earlier == 2
                run += 1
                if kind == 0:
                    digits += 1
                    loose += 1
                    gap = 0
                    found |= 512 if run == 4 and digits == 2 and before == 0 else 0
                elif loose > 0:
                    if loose >= 7 and (loose != 8 or groups != 0x42 or digits != 2):
                        found |= 1 if loose < 9 else 3
                    loose = groups = 0
                if kind == 2:
                    capitals += 1
            else:
                gap += 1 if kind != 9 else 0
                if run > 0:
                    groups = ((groups << 4) | min(run, 15)) & 0xFFF
                    pairs = pairs + 1 if run == 2 else 0
                    alone = alone + 1 if run == 1 else 0
                    found |= 64 if pairs >= 4 else 0
                    found |= 2048 if alone >= 5 else 0
                    whole = (digits == 8 and kind == 3) or (digits == 6 and capitals == 2)
                    if run >= 6 and digits >= 4 and (before == 2 or led or (run == 8 and whole)):
                        found |= 4
                    found |= 8 if run >= 16 and digits + capitals > 0 else 0
                    run = digits = capitals = 0
                elif gap > 2:
                    pairs = 0
                    alone = 0 if gap > 5 else alone
                if loose >= 7 and (loose != 8 or groups != 0x422):  # 2026-11-21 is none
                    found |= 1 if loose < 9 else 3
                if gap > 5:
                    loose = groups = 0
            earlier = before
            before = kind
        seen[row] |= found


def scan_tokens(data: U8, offsets: I64, kinds: U8, hexadecimal: NDArray[np.bool_], seen: I64) -> None:  # noqa: C901
    """Write for each of n texts which forms of words with signs in them are in it.

    Args:
        data: Bytes of all texts.
        offsets: n + 1 starts in `data`.
        kinds: `byte_kinds()`.
        hexadecimal: [256] which bytes are hexadecimal digits.
        seen: n bits of `Form`, written here.
    """
    for row in range(len(offsets) - 1):
        found = token = length = odd = humps = dots = colons = stars = 0
        before = 8
        for place in range(offsets[row], offsets[row + 1] + 1):
            byte = data[place] if place < offsets[row + 1] else 32
            kind = kinds[byte]
            if before == 7 and (byte == 110 or byte == 114 or byte == 116):
                kind = 8
            length += 1
            if kind <= 3:
                token += 1
                if kind != 1:
                    odd = odd | 1 if kind < 3 else odd
                    humps += 1 if kind == 2 and before <= 1 else 0
                if stars > 0 and kind < 3:
                    found |= 4096
                    stars = 0
            else:
                if token >= 23 and odd > 0:
                    found |= 16
                if kind != 4:
                    found |= 32 if humps >= 2 and length > 8 else 0
                    humps = length = 0
                token = odd = 0
                if kind == 5:
                    dots += 1 if before <= 2 else 0
                    found |= 128 if dots >= 2 else 0
                elif kind == 6:
                    colons += 1
                    after = data[min(place + 1, len(data) - 1)]
                    if colons >= 3 or (before == 6 and (hexadecimal[data[place - 2]] or hexadecimal[after])):
                        found |= 256
                elif kind >= 7:
                    stars = 1 if byte == 42 and (before <= 3 or before == 5 or stars > 0) else 0
                    dots = colons = 0
                    found |= 1024 if kind == 9 else 0
            before = kind
        seen[row] |= found
