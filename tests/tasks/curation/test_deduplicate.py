"""The best of each set of duplicates stays, on a table in memory as in a dataset."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from tasks.curation.deduplicate import deduplicate
from tasks.curation.policy import CurationPolicy


def _messages(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([json.dumps([{"role": "assistant", "content": text}]) for text in texts])])


def test_of_exact_and_near_duplicates_the_best_stays() -> None:
    words = [f"word{number}" for number in range(40)]
    one, near = " ".join(words), " ".join([*words[:-1], "other"])  # 38 shingles each, 37 shared: 37 / 39 = 0.95
    found = deduplicate(
        _messages(one, near, one.upper(), "quite another"), np.array([0.5, 0.9, 0.7, 0.1]), CurationPolicy()
    )
    assert found.kept.tolist() == [False, True, False, True]
    assert (found.exact_duplicates, found.near_duplicates) == (1, 1)


def test_the_threshold_is_the_policys() -> None:
    words = [f"word{number}" for number in range(40)]
    column = _messages(" ".join(words), " ".join([*words[:-1], "other"]))
    strict = CurationPolicy(near_duplicate_jaccard=0.97)
    assert deduplicate(column, np.array([0.5, 0.9]), strict).kept.all()
