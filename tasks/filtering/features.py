"""What an example's text is like, in numbers: how varied, how much it says, how it is built.

Words are runs of letters and digits in lower case; every Chinese, Japanese or Korean character is a word of its own.
All features look at what the assistant says and calls, except `context`.
"""

from __future__ import annotations

import itertools
import re

import msgspec
import numpy as np
import pyarrow as pa

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


def features(examples: pa.Table) -> pa.Table:
    """Return the features of each example, schema `FEATURES`, from its column `messages`; zeros for `[]`."""
    rows = [_row(text) for chunk in examples["messages"].chunks for text in _texts(chunk)]
    numbers = np.array(rows, dtype=np.float64).reshape(-1, 7)
    words, distinct, content, turns, calls, size, symbols = numbers.T
    with np.errstate(divide="ignore", invalid="ignore"):
        diversity = np.where(words > 1, np.log(np.maximum(distinct, 1)) / np.log(words), words)
    columns = {
        "diversity": diversity,
        "informativeness": 1.0 - np.exp(-content / INFORMATION_SCALE),
        "words": np.log1p(words),
        "turns": np.log1p(turns),
        "calls": np.log1p(calls),
        "context": np.log1p(size),
        "symbols": symbols,
    }
    return pa.table([pa.array(columns[field.name].astype(np.float32)) for field in FEATURES], schema=FEATURES)


def _texts(chunk: pa.Array) -> list[memoryview]:
    """Return the texts of a chunk as views of its buffer, without copying them."""
    ends = np.frombuffer(chunk.buffers()[1], dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
    data = memoryview(chunk.buffers()[2] or b"")
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def _row(text: memoryview) -> tuple[float, ...]:
    """Return words, distinct words, distinct content words, turns, calls, bytes, share of symbols."""
    said: list[str] = []
    turns = calls = 0
    for message in _decode(text):
        if message.role == "assistant":
            turns += 1
            if message.content:
                said.append(message.content)
            for call in message.tool_calls:
                calls += 1
                said += (call.function.name, call.function.arguments)
    if not said:
        return (0.0,) * 7
    whole = " ".join(said)
    if not whole.isascii():
        whole = _ALONE.sub(r" \1 ", whole.lower())
    raw = whole.encode()
    spaced = raw.translate(_LOWER)
    words = spaced.split()
    distinct = set(words)
    symbols = (spaced.count(b" ") - raw.count(b" ") - raw.count(b"\n")) / len(raw)
    return len(words), len(distinct), len(distinct - STOP_WORDS), turns, calls, len(text), symbols
