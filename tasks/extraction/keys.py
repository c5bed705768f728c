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


def event_keys(sources: Sequence[str], ids: Sequence[str]) -> Keys:
    """Return the key of each event's identity, (source, id); length-prefixed, so that no two pairs run together."""
    return text_keys([f"{len(source)}:{source}{ident}" for source, ident in zip(sources, ids, strict=True)])


def normalised(text: str) -> str:
    """Return `text` in lower case with single blanks: the form in which two prompts are the same prompt."""
    return " ".join(text.lower().split())


_NONE = bytes(8)
