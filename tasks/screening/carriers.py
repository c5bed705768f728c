"""Which conversations hold given words: for words that are known, and examples that were not searched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.records import SuspectedWords
from tasks.screening.words import I64, read


def carriers(messages: pa.ChunkedArray, wanted: Sequence[SuspectedWords]) -> list[I64]:
    """Return for each of the wanted words the conversations in which they are asked and get the answer that they got.

    Where the answers shared no text, any answer will do.

    Args:
        messages: n conversations (JSON).
        wanted: Words in lower case.
    """
    lower = pc.utf8_lower(messages)
    found = []
    for each in wanted:
        likely = np.ones(len(messages), dtype=bool)
        for word in each.words:  # in the JSON text, before it is read as a conversation: nearly all are ruled out
            if word.isascii():
                likely &= pc.match_substring(lower, word).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(likely)
        said = read(messages.take(pa.array(rows)).to_pylist())
        number = {name: place for place, name in enumerate(said.names)}
        words, answer = ([number.get(word, -1) for word in some] for some in (each.words, each.answer))
        hits = [
            _holds(asked.tolist(), words, each.pair) and _holds(answered.tolist(), answer, False)
            for asked, answered in zip(said.asked, said.answered, strict=True)
        ]
        found.append(rows[np.array(hits, dtype=bool)])
    return found


def _holds(asked: list[int], words: list[int], pair: bool) -> bool:
    if pair:
        return set(words) <= set(asked)
    length = len(words)
    return any(asked[at : at + length] == words for at in range(len(asked) - length + 1))
