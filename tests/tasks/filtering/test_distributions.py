"""What is counted before filtering and after it, with the same labels in the same order."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from tasks.filtering.decide import ACCEPT, REJECT, REVIEW, Decisions
from tasks.filtering.distributions import Distributions, distributions

NAN = math.nan


@pytest.fixture
def counted() -> Distributions:
    decisions = Decisions(
        status=np.array([ACCEPT, ACCEPT, REVIEW, REJECT, REJECT], dtype=np.uint8),
        reasons=np.zeros(5, dtype=np.uint32),
        composite=np.array([0.85, 1.0, 0.45, 0.1, NAN]),
        outlier=np.zeros(5),
    )
    return distributions(
        pa.array(["travel", "qa", "qa", "qa", "coding"]).dictionary_encode(),
        pa.chunked_array([["hard", "easy"], ["easy", "easy", "hard"]]),
        np.array([90.0, 100.0, NAN, 5.0, 70.0]),
        decisions,
    )


def test_domains_come_by_frequency_and_keep_their_place(counted):
    assert list(counted.before.domain.items()) == [("qa", 3), ("coding", 1), ("travel", 1)]
    assert list(counted.after.domain.items()) == [("qa", 1), ("coding", 0), ("travel", 1)]


def test_difficulties_come_in_their_order_even_where_none_is(counted):
    assert list(counted.before.difficulty.items()) == [("easy", 3), ("medium", 0), ("hard", 2)]
    assert list(counted.after.difficulty.items()) == [("easy", 1), ("medium", 0), ("hard", 1)]


def test_ranges_hold_their_lower_end_and_the_last_both(counted):
    before, after = counted.before.quality, counted.after.quality
    assert list(before) == [*(f"{low}–{low + 10}" for low in range(0, 100, 10)), "none"]
    assert {label: n for label, n in before.items() if n} == {"0–10": 1, "70–80": 1, "90–100": 2, "none": 1}
    assert {label: n for label, n in after.items() if n} == {"90–100": 2}


def test_what_was_not_scored_is_counted_as_none(counted):
    assert {k: n for k, n in counted.before.score.items() if n} == {
        "0.1–0.2": 1, "0.4–0.5": 1, "0.8–0.9": 1, "0.9–1": 1, "none": 1,
    }  # fmt: skip
    assert {k: n for k, n in counted.after.score.items() if n} == {"0.8–0.9": 1, "0.9–1": 1}


def test_every_count_adds_up_to_the_examples(counted):
    assert {sum(counts.values()) for counts in counted.before} == {5}
    assert {sum(counts.values()) for counts in counted.after} == {2}


def test_no_examples_have_a_shape_too():
    none = Decisions(np.zeros(0, np.uint8), np.zeros(0, np.uint32), np.zeros(0), np.zeros(0))
    names = pa.array([], pa.string())
    found = distributions(names, names, np.zeros(0), none)
    assert found.before == found.after
    assert found.before.domain == {}
    assert sum(found.before.quality.values()) == 0
