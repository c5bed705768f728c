"""What an example's text is like, in numbers: how varied, how much it says, how it is built.

Words are runs of letters and digits in lower case; every Chinese, Japanese or Korean character is a word of its own.
All features look at what the assistant says and calls, except `context`.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.filtering.kernels import count_words, word_hash

INFORMATION_SCALE = 25.0
"""Distinct content words at which informativeness reaches 1 − 1/e = 0.63."""

FEATURES = pa.schema(
    [
        ("diversity", pa.float32()),
        ("informativeness", pa.float32()),
        ("words", pa.float32()),
        ("turns", pa.float32()),
        ("calls", pa.float32()),
        ("context", pa.float32()),
        ("symbols", pa.float32()),
    ]
)
"""One row an example.

diversity: ln(distinct words) / ln(words) (Herdan's C), in [0, 1]; 1 for one word, 0 for none.
informativeness: 1 − exp(−distinct content words / 25), in [0, 1); content words are all but `STOP_WORDS`.
words, turns, calls: ln(1 + words), ln(1 + assistant turns), ln(1 + tool calls).
context: ln(1 + bytes) of the whole conversation as JSON. symbols: share of bytes in no word and no white space.
"""

_FUNCTION_WORDS = b"""
    a about after all also am an and any are as at be because been before being but by can could did do does doing
    for from had has have having he her here him his how i if in into is it its just me more most my no not now of on
    only or other our out over own s same she should so some such t than that the their them then there these they
    this those through to too under up us very was we were what when where which while who will with would you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English, as UTF-8."""


COMPILE_FROM_BYTES = 4_000_000
"""Below it Python is faster than importing numba. Both count alike."""


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct, gc=False):
    function: _Function


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | None = None
    tool_calls: list[_Call] = []


_decode = msgspec.json.Decoder(list[_Message]).decode
_WORD_BYTES = bytes(byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum())
_LOWER = bytes(byte if byte in _WORD_BYTES else 32 for byte in range(256)).lower()
"""Table that turns text into words with blanks between: ASCII letters to lower case, other ASCII to blanks."""
_ALONE = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])")


class Said(NamedTuple):
    """What the assistants of n examples say."""

    texts: pa.Array
    """(n,) `large_string`: contents, names and arguments of calls, with blanks between."""
    turns: NDArray[np.int64]
    """(n,) assistant messages; 0 where nothing is said."""
    calls: NDArray[np.int64]
    """(n,) tool calls; 0 where nothing is said."""


def features(examples: pa.Table, compile_from: int = COMPILE_FROM_BYTES) -> pa.Table:
    """Return the features of each example, schema `FEATURES`; zeros where the assistant says nothing.

    Args:
        examples: Rows with `messages` (JSON). What the assistant says is read from it, unless the columns `said`,
            `answers` and `calls` of the extraction are there.
        compile_from: Bytes from which on words are counted by compiled code; the result does not depend on it.
    """
    said = _said(examples)
    words, distinct, content, symbols = _word_counts(_words_apart(said.texts), compile_from)
    size = np.where(said.turns > 0, pc.binary_length(examples["messages"]).to_numpy(), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        diversity = np.where(words > 1, np.log(np.maximum(distinct, 1)) / np.log(words), words)
    columns = {
        "diversity": diversity,
        "informativeness": 1.0 - np.exp(-content / INFORMATION_SCALE),
        "words": np.log1p(words),
        "turns": np.log1p(said.turns),
        "calls": np.log1p(said.calls),
        "context": np.log1p(size),
        "symbols": symbols,
    }
    return pa.table([pa.array(columns[field.name].astype(np.float32)) for field in FEATURES], schema=FEATURES)


def _said(examples: pa.Table) -> Said:
    """Return what the assistants say: as the extraction noted it, else read from the messages."""
    if "said" in examples.column_names:
        turns, calls = (examples[name].to_numpy().astype(np.int64) for name in ("answers", "calls"))
        return Said(examples["said"].combine_chunks(), turns, calls)
    rows = [_read(text) for text in examples["messages"].to_pylist()]
    texts, turns, calls = zip(*rows, strict=True) if rows else ((), (), ())
    return Said(pa.array(texts, pa.large_string()), np.array(turns, dtype=np.int64), np.array(calls, dtype=np.int64))


def _read(messages: str) -> tuple[str, int, int]:
    """Return what the assistant says in one conversation, its messages and its calls."""
    answers = [message for message in _decode(messages) if message.role == "assistant"]
    said = []
    for message in answers:
        if message.content:
            said.append(message.content)
        for call in message.tool_calls:
            said += (call.function.name, call.function.arguments)
    calls = sum(len(message.tool_calls) for message in answers)
    return (" ".join(said), len(answers), calls) if said else ("", 0, 0)


def _words_apart(texts: pa.Array) -> pa.Array:
    """Return texts beyond ASCII in lower case and with blanks around the characters that are words of their own."""
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if plain.all():
        return texts
    rows = np.flatnonzero(~plain)
    apart = [_ALONE.sub(r" \1 ", text.lower()) for text in texts.take(pa.array(rows)).to_pylist()]
    place = np.arange(len(texts))
    place[rows] = len(texts) + np.arange(len(rows))
    return pa.concat_arrays([texts, pa.array(apart, texts.type)]).take(pa.array(place))


def _word_counts(texts: pa.Array, compile_from: int) -> NDArray[np.float64]:
    """Return (4, n): words, distinct words, distinct content words, share of symbols."""
    counts = np.zeros((4, len(texts)))
    ends = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2] or b""
    if (len(texts) and ends[-1] - ends[0] >= compile_from) or "numba" in sys.modules:
        compiled(count_words)(np.frombuffer(data, dtype=np.uint8), ends, _TABLE, _stop_slots(), counts)
    else:
        for row, (start, end) in enumerate(itertools.pairwise(ends.tolist())):
            counts[:, row] = _count(bytes(data[start:end]))
    return counts


def _count(raw: bytes) -> tuple[float, ...]:
    """Return words, distinct words, distinct content words, share of symbols."""
    if not raw:
        return (0.0,) * 4
    spaced = raw.translate(_LOWER)
    words = spaced.split()
    distinct = set(words)
    symbols = (spaced.count(b" ") - raw.count(b" ") - raw.count(b"\n")) / len(raw)
    return len(words), len(distinct), len(distinct - STOP_WORDS), symbols


_TABLE = np.frombuffer(_LOWER, dtype=np.uint8)


@functools.cache
def _stop_slots() -> NDArray[np.uint64]:
    """Return a hash table of the function words: each at its hash modulo the size, or in the next free slot."""
    slots = np.zeros(512, dtype=np.uint64)
    for word in sorted(STOP_WORDS):
        value = word_hash(word)
        place = value % len(slots)
        while slots[place]:
            place = (place + 1) % len(slots)
        slots[place] = value
    return slots
