"""The texts of many conversations at once, by compiled loops: the fast way to `fingerprint.compared_text`.

It understands plain conversations: ASCII, nothing but the fields of `FIELDS`, each of them a text and in its usual
order. So they are stored, and nearly all are plain; the others are marked, for a slower reader.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.curation.kernels import I64

Bytes = NDArray[np.uint8]
Marks = NDArray[np.bool_]

FIELDS = (
    (b"role", 2), (b"content", 2), (b"name", 5), (b"arguments", 5),
    (b"tool_calls", 2), (b"tool_call_id", 2), (b"id", 4), (b"type", 4), (b"function", 4), (b"system", 0),
)  # fmt: skip
"""Fields of a conversation and how many brackets are open around each; then the role whose messages are left out."""
ROLE, CONTENT, NAME, ARGUMENTS, TOOL_CALLS, TOOL_CALL_ID, SYSTEM = 0, 1, 2, 3, 4, 5, 9
NONE = -1
LONGEST, DEEPEST, SYSTEM_SIZE = 12, 5, 6
QUOTE, BACKSLASH, COLON, BLANK, NULL, BETWEEN = (np.uint8(byte) for byte in b'"\\: n\x1e')


class Texts(NamedTuple):
    """What n conversations say."""

    data: Bytes
    """The texts, one after the other."""
    offsets: I64
    """(n + 1,) where each starts in `data`."""
    plain: Marks
    """(n,) False for conversations that were not understood: their text is not to be used."""


def read_turns(data: Bytes, offsets: I64) -> Texts:
    """Read n conversations.

    Args:
        data: Their JSON, one after the other.
        offsets: (n + 1,) where each starts in `data`.
    """
    rows, size = len(offsets) - 1, int(offsets[-1] - offsets[0])
    plain, counts = np.ones(rows, dtype=bool), np.zeros(rows, dtype=np.int64)
    spans = np.empty(
        (size // 8 + 1, 3), dtype=np.int64
    )  # a field and its text take more bytes; untouched pages are free
    used = compiled(find_fields)(data, offsets, *_fields(), spans, counts, plain)
    text, starts = np.empty(size, dtype=np.uint8), np.zeros(rows + 1, dtype=np.int64)
    written = compiled(write_texts)(data, spans[:used], counts, *_characters(), text, starts, plain)
    return Texts(text[:written], starts, plain)


def _fields() -> tuple[Bytes, I64]:
    """Return the names of the fields, padded, and the field of each size and depth: they are all different."""
    names = np.zeros((len(FIELDS), LONGEST), dtype=np.uint8)
    places = np.full((LONGEST + 1, DEEPEST + 1), NONE, dtype=np.int64)
    for row, (name, depth) in enumerate(FIELDS):
        names[row, : len(name)] = np.frombuffer(name, dtype=np.uint8)
        places[len(name), depth] = row
    return names, places


def _characters() -> tuple[Bytes, Marks]:
    """Return what each byte behind a backslash stands for, 0 if unknown; and which bytes `str.strip` strips."""
    escapes = np.zeros(256, dtype=np.uint8)
    for sign, meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
        escapes[sign] = meaning
    return escapes, np.array([byte < 0x80 and chr(byte).isspace() for byte in range(256)])


def find_fields(  # noqa: C901  one loop over bytes that a compiler takes whole
    data: Bytes, offsets: I64, names: Bytes, places: I64, spans: I64, counts: I64, plain: Marks
) -> int:
    """Find what is to be compared: write (field, start, end) to `spans`, and how many of a row there are to `counts`.

    Returns how many spans there are in all.
    """
    used = 0
    for row in range(len(offsets) - 1):
        position, end, depth, first = offsets[row], offsets[row + 1], 0, used
        field, last, system = NONE, NONE, False
        while position < end and plain[row]:
            byte = data[position]
            if byte != QUOTE:
                depth += (byte == 91) + (byte == 123) - (byte == 93) - (byte == 125)  # [ { ] }
                if byte == 123 and depth == 2:
                    plain[row] = last != NAME
                    last = NONE
                position += 1
                continue
            start = position + 1
            position = start
            escaped = True
            while escaped:  # by signs behind the next quote: twice as fast as looking at every byte for a backslash
                while position < end and data[position] != QUOTE:
                    position += 1
                before = position - 1
                while before >= start and data[before] == BACKSLASH:
                    before -= 1
                escaped = (position - before) % 2 == 0 and position < end
                position += escaped
            stop = position
            position += 1
            while position < end and data[position] == BLANK:
                position += 1
            if position >= end or data[position] != COLON:
                if field == ROLE:
                    system = stop - start == SYSTEM_SIZE
                    for k in range(SYSTEM_SIZE):
                        system = system and names[SYSTEM, k] == data[start + k]
                elif field >= CONTENT and field <= ARGUMENTS and not system:
                    spans[used, 0], spans[used, 1], spans[used, 2] = field, start, stop
                    used += 1
                continue
            field = places[stop - start, depth] if stop - start <= LONGEST and 0 <= depth <= DEEPEST else NONE
            for k in range(stop - start if field != NONE else 0):
                field = field if names[field, k] == data[start + k] else NONE
            position += 1
            while position < end and data[position] == BLANK:
                position += 1
            value = data[position] if position < end else BLANK
            wrong = field == NONE or (field == ROLE) != (last == NONE) or (field == ARGUMENTS) != (last == NAME)
            wrong = wrong or (field == CONTENT and last != ROLE and last != TOOL_CALL_ID)
            wrong = wrong or (field <= ARGUMENTS and value != QUOTE and not (field == CONTENT and value == NULL))
            plain[row] = not wrong
            last = field
        plain[row] = plain[row] and last != NAME
        counts[row] = used - first
    return used


def write_texts(  # noqa: C901  one loop over bytes that a compiler takes whole
    data: Bytes, spans: I64, counts: I64, escapes: Bytes, white: Marks, text: Bytes, starts: I64, plain: Marks
) -> int:
    """Write the texts that `find_fields` found, row after row, and where each row's start; return how many bytes.

    Escapes are resolved. White space around a content, and around a name with its arguments, is left out.
    """
    out, span = 0, 0
    for row in range(len(counts)):
        starts[row] = out
        parts, begun = 0, out
        for _ in range(counts[row]):
            field, position, stop = spans[span, 0], spans[span, 1], spans[span, 2]
            span += 1
            if field == CONTENT and position == stop:
                continue
            if field == ARGUMENTS:
                if out > begun:
                    text[out] = BLANK
                    out += 1
            else:
                if parts > 0:
                    text[out] = BETWEEN
                    out += 1
                parts, begun = parts + 1, out
            known = True
            while position < stop:
                byte = data[position]
                if byte == BACKSLASH:
                    position += 1
                    byte = escapes[data[position]]
                position += 1
                known = known and byte > 0 and byte < 0x80
                if out == begun and white[byte]:
                    continue
                text[out] = byte
                out += 1
            plain[row] = plain[row] and known
            if field != NAME:
                while out > begun and white[text[out - 1]]:
                    out -= 1
    starts[len(counts)] = out
    return out
