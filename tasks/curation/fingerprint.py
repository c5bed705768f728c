"""What two conversations are compared by: an exact hash, and MinHash bands over word 3-grams.

The compared text of a conversation is its turns without the system's: agents of one kind share long system prompts,
which would make everything a near-duplicate of everything. Tool calls count with their name and arguments. Case, white
space and Unicode form (NFKC) make no difference to the exact hash; punctuation does. Near-duplicates are compared by
the Jaccard similarity of their sets of word 3-grams; punctuation does not count there.

LSH: 25 bands of 5 minima find a pair of similarity J with probability 1 − (1 − J⁵)²⁵: 0.9999 at 0.8, 0.55 at 0.5. What
is found is then verified on the true sets (`near`), so that the bands decide the cost and not the result.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.records import STORED_MESSAGES
from tasks.compiled import compiled
from tasks.curation import kernels
from tasks.curation.kernels import ALONE, I64, SPACE, U32, U64, WORD
from tasks.curation.turns import read_turns

BANDS, ROWS = 25, 5
COMPILE_FROM_BYTES = 6_000_000
"""Below it numpy is faster than importing numba. Both give the same bits."""

_TYPOGRAPHY = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "«": '"', "»": '"'}
)
_BETWEEN_TURNS = "\x1e"
_CLASSES = kernels.byte_classes()


class Fingerprints(NamedTuple):
    """Numbers that stand for n texts."""

    exact: U64
    """(n,) hash of the normalised text."""
    bands: U64
    """(BANDS, n) bucket keys: 32 bits of the band's hash, then 4 × 8 bits of further minima. 0: text without a word."""
    shingles: U32
    """Hashes of the word 3-grams of all rows, one row after the other, in the order of the text."""
    counts: I64
    """(n,) how many shingles each row has."""


def compared_text(messages: str | bytes) -> str:
    """Return the text of a conversation (JSON) that duplicates are looked for by."""
    parts: list[str] = []
    for message in STORED_MESSAGES.decode(messages):
        if message.role == "system":
            continue
        content = message.content
        if content:
            parts.append(content.strip() if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
        for call in message.tool_calls or ():
            parts.append(f"{call.function.name} {call.function.arguments}".strip())
    text = _BETWEEN_TURNS.join(parts)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)).casefold()
    return text


def fingerprint(messages: pa.ChunkedArray, compile_from: int = COMPILE_FROM_BYTES) -> Fingerprints:
    """Fingerprint a column of conversations (JSON), compiled from `compile_from` bytes on.

    The result does not depend on it.
    """
    column = messages.cast(pa.large_string()).combine_chunks()
    if not _worth_compiling(column.nbytes, compile_from):
        return fingerprint_texts((compared_text(value) for value in column.to_pylist()), compile_from)
    read = read_turns(*_bytes(column))
    texts = pa.Array.from_buffers(
        pa.large_binary(), len(column), [None, pa.py_buffer(read.offsets), pa.py_buffer(read.data)]
    )
    if len(others := np.flatnonzero(~read.plain)):
        slowly = [_encoded(compared_text(value)) for value in column.take(pa.array(others)).to_pylist()]
        place = np.arange(len(column))
        place[others] = len(column) + np.arange(len(others))
        texts = pa.concat_arrays([texts, pa.array(slowly, pa.large_binary())]).take(pa.array(place))
    return _with_numba(*_bytes(texts))


def fingerprint_texts(texts: Iterable[str], compile_from: int = COMPILE_FROM_BYTES) -> Fingerprints:
    """Fingerprint texts, compiled from `compile_from` bytes on; the result does not depend on it."""
    data, offsets = _bytes(pa.array([_encoded(text) for text in texts], pa.large_binary()))
    if _worth_compiling(len(data), compile_from):
        return _with_numba(data, offsets)
    exact, shingles, counts = _hash_rows(data, offsets)
    return Fingerprints(exact, _band_keys(_min_hash(shingles, counts), counts), shingles, counts)


def _worth_compiling(size: int, compile_from: int) -> bool:
    return size >= compile_from or (compile_from == COMPILE_FROM_BYTES and "numba" in sys.modules)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _bytes(column: pa.Array) -> tuple[NDArray[np.uint8], I64]:
    """Return the bytes of a column of large texts, and its n + 1 offsets in them."""
    _, ends, data = column.buffers()
    offsets = np.frombuffer(ends or bytes(8), dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data or b"", dtype=np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _permutations() -> tuple[U32, U32]:
    """Return the odd multipliers and the addends of the BANDS · ROWS hash functions."""
    generator = np.random.Generator(np.random.PCG64(20_240_501))
    size = BANDS * ROWS
    multipliers = generator.integers(0, 2**32, size, dtype=np.uint32) | np.uint32(1)
    return multipliers, generator.integers(0, 2**32, size, dtype=np.uint32)


def _with_numba(data: NDArray[np.uint8], offsets: I64) -> Fingerprints:
    rows = len(offsets) - 1
    exact, counts = np.empty(rows, dtype=np.uint64), np.empty(rows, dtype=np.int64)
    room = np.empty(len(data) + rows, dtype=np.uint32)  # untouched pages of it cost nothing
    written = compiled(kernels.hash_rows)(data, offsets, _CLASSES, exact, room, counts)
    shingles = room[:written].copy()
    signature = np.empty((rows, BANDS * ROWS), dtype=np.uint32)
    compiled(kernels.min_hash)(shingles, counts, *_permutations(), signature)
    return Fingerprints(exact, _band_keys(signature, counts), shingles, counts)


def _powers(base: np.uint64, size: int) -> U64:
    powers = np.full(max(size, 1), base, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _segment_sums(values: U64, starts: I64, rows: int, owners: I64) -> U64:
    """Sum runs of `values` that begin at `starts` and belong to the rows `owners`; rows without a run get 0."""
    sums = np.zeros(rows, dtype=np.uint64)
    if len(starts):
        sums[owners] = np.add.reduceat(values, starts)
    return sums


def _hash_rows(data: NDArray[np.uint8], offsets: I64) -> tuple[U64, U32, I64]:
    """`kernels.hash_rows` with numpy, for inputs too small to be worth a compiler."""
    rows = len(offsets) - 1
    row = np.repeat(np.arange(rows), np.diff(offsets))
    kind = _CLASSES[data]
    lower = data + np.where((data >= 65) & (data <= 90), 32, 0).astype(np.uint8)
    first_of_row = np.zeros(len(data), dtype=bool)
    first_of_row[offsets[:-1][np.diff(offsets) > 0]] = True

    space = kind == SPACE
    kept = np.flatnonzero(~(space & np.r_[False, space[:-1]] & ~first_of_row))
    value = np.where(space, 33, lower.astype(np.uint64) + np.uint64(1)).astype(np.uint64)[kept]
    place, starts = _places(row[kept])
    terms = value * _powers(kernels.TEXT_BASE, int(place.max(initial=0)) + 1)[place]
    exact = _segment_sums(terms, starts, rows, row[kept][starts])

    tokens, token_row = _tokens(lower, kind, row, first_of_row)
    return exact, *_shingles(tokens, token_row, rows)


def _places(labels: I64) -> tuple[I64, I64]:
    """Return each element's place within its run of equal labels, and where the runs start."""
    if not len(labels):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    lengths = np.diff(np.r_[starts, len(labels)])
    return np.arange(len(labels)) - np.repeat(starts, lengths), starts


def _tokens(
    lower: NDArray[np.uint8], kind: NDArray[np.uint8], row: I64, first_of_row: NDArray[np.bool_]
) -> tuple[U64, I64]:
    in_word = (kind == WORD) | (kind == ALONE)
    before = np.r_[False, in_word[:-1]] & ~first_of_row
    after_alone = np.zeros(len(kind), dtype=bool)
    after_alone[3:] = kind[:-3] == ALONE
    begins = in_word & (~before | (kind == ALONE) | after_alone)
    word = np.flatnonzero(in_word)
    place, starts = _places(np.cumsum(begins)[word])
    terms = (lower[word].astype(np.uint64) + np.uint64(1)) * _powers(kernels.TOKEN_BASE, int(place.max(initial=0)) + 1)[
        place
    ]
    tokens = np.add.reduceat(terms, starts) if len(starts) else np.zeros(0, dtype=np.uint64)
    tokens ^= tokens >> np.uint64(30)
    tokens *= np.uint64(0xBF58476D1CE4E5B9)
    tokens ^= tokens >> np.uint64(27)
    tokens *= np.uint64(0x94D049BB133111EB)
    tokens ^= tokens >> np.uint64(31)
    return tokens, row[word[starts]] if len(starts) else np.zeros(0, dtype=np.int64)


def _mix(first: U64, second: U64, third: U64) -> U32:
    mixed = (first * np.uint64(0xFF51AFD7ED558CCD) + second) * np.uint64(0xC4CEB9FE1A85EC53) + third
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def _shingles(tokens: U64, token_row: I64, rows: int) -> tuple[U32, I64]:
    words = np.bincount(token_row, minlength=rows).astype(np.int64)
    whole = np.flatnonzero(token_row[2:] == token_row[:-2])
    begins = np.cumsum(words) - words
    few = np.flatnonzero((words == 1) | (words == 2))
    nothing = np.zeros(len(few), dtype=np.uint64)
    last = tokens[begins[few] + words[few] - 1]
    before = np.where(words[few] == 2, tokens[begins[few]], nothing)
    values = np.concatenate([_mix(tokens[whole], tokens[whole + 1], tokens[whole + 2]), _mix(before, last, nothing)])
    owners = np.concatenate([token_row[whole], few])
    order = np.argsort(owners, kind="stable")
    return values[order], np.bincount(owners, minlength=rows).astype(np.int64)


def _min_hash(shingles: U32, counts: I64) -> U32:
    """`kernels.min_hash` with numpy."""
    signature = np.full((len(counts), BANDS * ROWS), 0xFFFFFFFF, dtype=np.uint32)
    filled = np.flatnonzero(counts)
    if len(filled):
        starts = (np.cumsum(counts) - counts)[filled]
        for p, (multiplier, addend) in enumerate(zip(*_permutations(), strict=True)):
            signature[filled, p] = np.minimum.reduceat(shingles * multiplier + addend, starts)
    return signature


def _band_keys(signature: U32, counts: I64) -> U64:
    """Return the (BANDS, n) bucket keys of n signatures."""
    minima = np.ascontiguousarray(signature.T).reshape(BANDS, ROWS, -1)
    keys = np.empty((BANDS, signature.shape[0]), dtype=np.uint64)
    for band in range(BANDS):
        high = np.zeros(signature.shape[0], dtype=np.uint64)
        for line in minima[band]:
            high = (high + line + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            high ^= high >> np.uint64(29)
        low = np.zeros(signature.shape[0], dtype=np.uint64)
        for line in minima[(band + 7) % BANDS][:4]:  # minima of another band: they refine crowded buckets
            low = (low << np.uint64(8)) | (line & np.uint32(255)).astype(np.uint64)
        keys[band] = (high & np.uint64(0xFFFFFFFF00000000)) | low
    keys[:, counts == 0] = 0
    return keys
