"""64-bit keys of texts: what duplicates, joins and groups are found by, as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def text_keys(texts: Iterable[str | None]) -> Keys:
    """Return one key a text: the first 8 bytes of BLAKE2b, or 0 for None and the empty text.

    Two of n different texts share a key with probability n² / 2⁶⁵: below 10⁻⁶ for four million.
    """
    digests = [blake2b(text.encode(), digest_size=8).digest() if text else _NONE for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64, copy=False)


def repeated_keys(texts: Sequence[str | None]) -> Keys:
    """Return the same as `text_keys`, quickly where few texts are distinct."""
    distinct = list(dict.fromkeys(texts))
    keys = dict(zip(distinct, text_keys(distinct).tolist(), strict=True))
    return np.array([keys[text] for text in texts], dtype=np.uint64)


def pair_keys(first: Keys, second: Keys) -> Keys:
    """Return the key of each pair of keys, in which the order counts; 0 where `first` is 0."""
    return np.where(first == 0, np.uint64(0), first * _ODD ^ second)


def event_keys(sources: Sequence[str], ids: Sequence[str]) -> Keys:
    """Return the key of each event's identity: (source, id)."""
    return pair_keys(text_keys(ids), repeated_keys(sources))


def among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Tell which keys are among the known ones. np.isin hashes, which takes several times as long."""
    if not len(keys) or not len(known):
        return np.zeros(len(keys), dtype=bool)
    ordered = np.sort(known)
    found: NDArray[np.bool_] = ordered[np.searchsorted(ordered[:-1], keys)] == keys
    return found


def normalised(text: str) -> str:
    """Return `text` in lower case with single blanks: the form in which two prompts are the same prompt."""
    return " ".join(text.lower().split())


_NONE = bytes(8)
_ODD = np.uint64(0x9E3779B97F4A7C15)
