"""The frozen base encoder: hashed n-grams of words and characters, projected by a seed to a few hundred dimensions.

A text becomes features (words, word pairs, character trigrams). Each feature is hashed to 64 bits, which name `HASHES`
coordinates and signs: a sparse seeded projection (Kane and Nelson 2014) that needs no table. Everything is a column
operation on the UTF-8 bytes, so the result depends on nothing but the bytes, the salt and the seed.

A word with digits in it (a reservation, a price, a date) is mostly known by its shape (`va5sgq` → `aa0aaa`): what an
agent should do next depends on there being an identifier, hardly ever on which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.records import Record

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]

HASHES = 2
"""Coordinates that one feature is projected to."""
WORD, EXACT, PAIR, TRIGRAM = 1.0, 0.5, 0.7, 0.25
"""Weights of a word, of the exact form of a word with digits, of two words in a row, of three bytes in a row."""
CHUNK_BYTES, CHUNK_TEXTS = 1 << 16, 64
"""How much is encoded at once: small enough for the working arrays to stay in the processor's cache."""
LONGEST = 64
"""Bytes of a word that are told apart by position."""


class Base(Record):
    """Which frozen base it is. Adapters can be compared, or continued, only on the same one."""

    name: str = "hashed-ngrams"
    version: int = 1
    seed: int = 7
    dimension: int = 512

    @property
    def title(self) -> str:
        """Name, version, dimension and seed in one word."""
        return f"{self.name}-v{self.version}-d{self.dimension}-s{self.seed}"


class Features(NamedTuple):
    """Features of one kind: the text that each belongs to, its hash, and their weight."""

    owners: NDArray[np.int64]
    hashes: Hashes
    weight: float


class Tables(NamedTuple):
    """Seeded constants of the hash: a number a byte, the same with digits and letters blurred, one a position."""

    byte: Hashes
    shape: Hashes
    position: Hashes


def _byte_classes() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint8]]:
    codes = np.arange(256, dtype=np.uint8)
    digit = (codes >= ord("0")) & (codes <= ord("9"))
    letter = (codes >= ord("a")) & (codes <= ord("z")) | (codes >= 128)
    shape = np.where(digit, ord("0"), np.where(letter, ord("a"), codes)).astype(np.uint8)
    return digit | letter | (codes == ord("_")), digit, shape


IS_WORD, IS_DIGIT, SHAPE = _byte_classes()
BLUR = np.where(IS_DIGIT, np.uint8(ord("0")), np.arange(256, dtype=np.uint8))


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values (the finaliser of splitmix64, Steele et al. 2014); arithmetic is modulo 2**64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def salt(name: str) -> np.uint64:
    """Return the 64-bit salt of a field name: the same word in two fields is two features."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def make_tables(seed: int) -> Tables:
    """Return the constants that the hash of base `seed` uses."""
    draw = np.random.Generator(np.random.PCG64(seed)).integers(0, 2**64, 256 + LONGEST, dtype=np.uint64)
    return Tables(draw[:256], draw[:256][SHAPE], draw[256:] | np.uint64(1))


class Encoder:
    """Encodes texts with one frozen base. Holds constants only: safe to share between threads."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.tables = make_tables(base.seed)

    def encode(self, texts: Sequence[str], salts: Hashes) -> Floats:
        """Return one row a text, shape (n, dimension), of length 1 (0 for a text without a feature).

        `salts` has shape (n,), or (1,) for one salt for all.
        """
        salts = np.broadcast_to(salts, (len(texts),))
        out = np.zeros((len(texts), self.base.dimension), dtype=np.float32)
        for start, raw in _chunks(texts):
            end = start + len(raw)
            out[start:end] = self._encode(raw, salts[start:end])
        return out

    def _encode(self, raw: list[bytes], salts: Hashes) -> Floats:
        data = np.frombuffer(b"\0" + b"\0".join(raw) + b"\0", dtype=np.uint8)
        lengths = np.fromiter(map(len, raw), dtype=np.int64, count=len(raw)) + 1
        field = np.repeat(np.arange(len(raw)), lengths)  # of every byte after the first, a text's separator included
        features = [*self._words(data, field), _trigrams(data, field)]
        owners = np.concatenate([kind.owners for kind in features])
        hashes = mix(np.concatenate([kind.hashes for kind in features]) ^ salts[owners])
        weights = np.concatenate([np.full(len(kind.owners), kind.weight) for kind in features])
        return _project(owners, hashes, weights, len(raw), self.base.dimension)

    def _words(self, data: NDArray[np.uint8], field: NDArray[np.int64]) -> list[Features]:
        inside = IS_WORD[data]
        starts = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
        if not len(starts):
            return []
        spans = np.diff(starts, append=len(data))
        position = np.minimum(np.arange(starts[0], len(data)) - np.repeat(starts, spans), LONGEST - 1)
        scale = self.tables.position[position] * inside[starts[0] :]
        tail, begins = data[starts[0] :], starts - starts[0]
        exact = np.add.reduceat(self.tables.byte[tail] * scale, begins)
        shapes = np.add.reduceat(self.tables.shape[tail] * scale, begins)
        numbers = np.logical_or.reduceat(IS_DIGIT[tail], begins)
        words = np.where(numbers, shapes + np.uint64(1), exact)
        owner = field[starts - 1]
        before = np.concatenate([[np.uint64(0)], words[:-1]])
        before[np.concatenate([[True], owner[1:] != owner[:-1]])] = 0
        pairs = mix(before) + words
        return [
            Features(owner, words, WORD),
            Features(owner[numbers], exact[numbers], EXACT),
            Features(owner, pairs, PAIR),
        ]


def _trigrams(data: NDArray[np.uint8], field: NDArray[np.int64]) -> Features:
    """Three bytes in a row, digits blurred, within one text."""
    wide = BLUR[data].astype(np.uint64)
    packed = wide[:-2] | wide[1:-1] << np.uint64(8) | wide[2:] << np.uint64(16)
    whole = (data[:-2] != 0) & (data[1:-1] != 0) & (data[2:] != 0)
    return Features(field[: len(packed)][whole], packed[whole] + np.uint64(1 << 40), TRIGRAM)


def _project(
    owners: NDArray[np.int64], hashes: Hashes, weights: NDArray[np.float64], rows: int, dimension: int
) -> Floats:
    """Add every feature with its signs to its coordinates, and bring each row to length 1."""
    flat = np.zeros(rows * dimension)
    for number in range(HASHES):
        bits = hashes >> np.uint64(24 * number)
        where = owners * dimension + (bits & np.uint64(dimension - 1)).astype(np.int64)
        signs = 1.0 - 2.0 * (bits >> np.uint64(20) & np.uint64(1)).astype(np.float64)
        flat += np.bincount(where, weights=weights * signs, minlength=len(flat))
    return unit(flat.reshape(rows, dimension).astype(np.float32))


def unit(rows: Floats) -> Floats:
    """Bring each row to length 1; a row of zeros stays."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    lengths[lengths == 0] = 1
    return rows / lengths


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, list[bytes]]]:
    start, size, raw = 0, 0, list[bytes]()
    for text in texts:
        raw.append(text.lower().replace("\0", " ").encode("utf-8", "replace"))
        size += len(raw[-1])
        if size >= CHUNK_BYTES or len(raw) >= CHUNK_TEXTS:
            yield start, raw
            start, size, raw = start + len(raw), 0, []
    if raw:
        yield start, raw
