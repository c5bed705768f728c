"""ACCEPT, REVIEW or REJECT: the composite score by hand, each threshold at its edge, and every reason that holds."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from registry.errors import FilteringError
from registry.records import ExampleCounts, Reason
from tasks.filtering.decide import (
    ACCEPT,
    REASONS,
    REJECT,
    REVIEW,
    Decisions,
    check_accepted,
    composite_scores,
    decide,
    example_counts,
)
from tasks.filtering.features import FEATURES
from tasks.filtering.policy import FilteringPolicy

NAN = math.nan
POLICY = FilteringPolicy()


def plain_features(rows: int, diversity: float = 0.5, informativeness: float = 0.4) -> pa.Table:
    """Return features of examples that are all alike."""
    values = {"diversity": diversity, "informativeness": informativeness}
    return pa.table(
        [np.full(rows, values.get(field.name, 1.0), dtype=np.float32) for field in FEATURES], schema=FEATURES
    )


def decided(
    quality: list[float], confidence: list[float], flags: list[int] | None = None, policy: FilteringPolicy = POLICY
) -> Decisions:
    rows = len(quality)
    return decide(
        plain_features(rows), np.array(quality), np.array(confidence), np.array(flags or [0] * rows, dtype=np.uint32),
        policy, seed=0,
    )  # fmt: skip


def names(reasons: int) -> set[str]:
    return {name for bit, name in REASONS.items() if int(reasons) & bit}


@pytest.mark.parametrize(
    ("quality", "confidence", "composite"),
    [
        # 0.60 · 0.9 + 0.20 · 0.8 + 0.10 · 0.5 + 0.10 · 0.4 = 0.54 + 0.16 + 0.05 + 0.04 = 0.79
        (90.0, 0.8, 0.79),
        # no confidence: its 0.20 is shared among the rest, (0.54 + 0.05 + 0.04) / 0.80 = 0.7875
        (90.0, NAN, 0.7875),
        # no quality: (0.16 + 0.05 + 0.04) / 0.40 = 0.625
        (NAN, 0.8, 0.625),
        # neither: (0.05 + 0.04) / 0.20 = 0.45
        (NAN, NAN, 0.45),
        (0.0, 0.0, 0.09),
        (100.0, 1.0, 0.89),
    ],
)
def test_the_composite_score_by_hand(quality, confidence, composite):
    one = (np.array([value]) for value in (quality, confidence, 0.5, 0.4))
    assert composite_scores(*one, POLICY) == pytest.approx([composite])
    assert decided([quality], [confidence]).composite == pytest.approx([composite])


def test_other_weights_by_hand():
    policy = FilteringPolicy(
        quality_weight=0.25, confidence_weight=0.25, diversity_weight=0.5, informativeness_weight=0.0
    )
    # 0.25 · 0.8 + 0.25 · 0.4 + 0.5 · 0.5 + 0 · 0.4 = 0.20 + 0.10 + 0.25 = 0.55; without confidence 0.45 / 0.75 = 0.6
    assert decided([80.0, 80.0], [0.4, NAN], policy=policy).composite == pytest.approx([0.55, 0.6])


def test_with_only_the_missing_criterion_weighted_the_score_is_nought():
    policy = FilteringPolicy(quality_weight=1, confidence_weight=0, diversity_weight=0, informativeness_weight=0)
    found = decided([NAN], [0.9], policy=policy)
    assert found.composite.tolist() == [0.0]
    assert found.status.tolist() == [REVIEW]


@pytest.mark.parametrize(
    ("quality", "confidence", "flags", "status", "reasons"),
    [
        (70.0, 0.6, 0, ACCEPT, set()),  # at both thresholds
        (69.999, 0.9, 0, REJECT, {"low_quality"}),
        (90.0, 0.599, 0, REVIEW, {"low_confidence"}),
        (90.0, NAN, 0, ACCEPT, set()),  # confidence counts only where there is one
        (NAN, 1.0, 0, REVIEW, {"no_quality_signal"}),  # never accepted on its own, however good the rest
        (NAN, NAN, 0, REVIEW, {"no_quality_signal"}),
        (10.0, 0.1, 0, REJECT, {"low_quality", "low_confidence"}),
        (90.0, 0.9, Reason.CONFLICTING_SCORES, REVIEW, {"conflicting_scores"}),
        (10.0, 0.9, Reason.CONFLICTING_SCORES, REJECT, {"conflicting_scores", "low_quality"}),
        (100.0, 1.0, Reason.FAILED_TRACE, REJECT, {"failed_trace"}),
        (NAN, NAN, Reason.FAILED_TRACE | Reason.EMPTY_OUTPUT, REJECT, {"failed_trace", "empty_output"}),
        (100.0, 1.0, Reason.NO_ASSISTANT_TURN, REJECT, {"no_assistant_turn"}),
        (100.0, 1.0, Reason.NO_USER_TURN, REJECT, {"no_user_turn"}),
    ],
)
def test_thresholds_and_reasons(quality, confidence, flags, status, reasons):
    found = decided([quality], [confidence], [int(flags)])
    assert found.status.tolist() == [status]
    assert names(found.reasons[0]) == reasons


def test_what_is_dropped_is_not_scored():
    found = decided([90.0, 90.0], [0.8, 0.8], [int(Reason.FAILED_TRACE), 0])
    assert found.composite == pytest.approx([NAN, 0.79], nan_ok=True)


def test_the_thresholds_are_the_policys():
    policy = FilteringPolicy(quality_threshold=95, confidence_threshold=0.95)
    assert decided([94.0, 96.0, 96.0], [1.0, 0.9, 0.95], policy=policy).status.tolist() == [REJECT, REVIEW, ACCEPT]


def crowd(rows: int, strays: int) -> pa.Table:
    """Return features of rows from one cloud, the last `strays` of them far away from it and from one another."""
    generator = np.random.default_rng(5)
    cloud = generator.normal(0.5, 0.01, (rows, len(FEATURES)))
    cloud[rows - strays :] += np.arange(1, strays + 1)[:, None] * 3.0
    return pa.table([column.astype(np.float32) for column in cloud.T], schema=FEATURES)


def filtered(table: pa.Table, policy: FilteringPolicy = POLICY, flags: int = 0) -> Decisions:
    rows = table.num_rows
    return decide(table, np.full(rows, 90.0), np.full(rows, 0.9), np.full(rows, flags, dtype=np.uint32), policy, seed=0)


def test_outliers_are_looked_for_only_above_a_hundred_examples():
    assert not filtered(crowd(100, 8)).outlier.any()
    found = filtered(crowd(101, 8))
    assert found.status[-8:].tolist() == [REVIEW] * 8
    assert all(names(reasons) == {"outlier"} for reasons in found.reasons[-8:])
    assert (found.outlier[-8:] > 0.15).all()
    assert (found.status[:-8] == ACCEPT).mean() > 0.97


def test_examples_that_are_dropped_are_not_counted_among_the_hundred():
    flags = np.zeros(110, dtype=np.uint32)
    flags[:10] = int(Reason.FAILED_TRACE)
    found = decide(crowd(110, 8), np.full(110, 90.0), np.full(110, 0.9), flags, POLICY, seed=0)
    assert not found.outlier.any()


def test_the_outlier_threshold_is_the_policys():
    table = crowd(300, 10)
    found = filtered(table)
    for threshold in (0.0, 0.5, 1.0):
        status = filtered(table, FilteringPolicy(outlier_threshold=threshold)).status
        assert (status == REVIEW).tolist() == (found.outlier > threshold).tolist()


def test_the_counts_add_up_and_every_reason_is_counted():
    found = decided([90.0, 10.0, NAN, 10.0], [0.9, 0.9, 0.9, 0.1])
    assert example_counts(found) == ExampleCounts(
        extracted=4, accepted=1, review=1, rejected=2,
        by_reason={"low_confidence": 1, "low_quality": 2, "no_quality_signal": 1},
    )  # fmt: skip


def test_no_examples_are_decided_too():
    found = decided([], [])
    assert len(found.status) == 0
    assert example_counts(found) == ExampleCounts(extracted=0, accepted=0, review=0, rejected=0, by_reason={})


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"extracted": 0}, "E7101: nothing to learn from: the events hold no new trace"),
        ({"extracted": 3, "rejected": 3, "by_reason": {"failed_trace": 3}}, "E7102: .* all 3 traces failed"),
        ({"extracted": 3, "rejected": 3, "by_reason": {"failed_trace": 2, "low_quality": 1}},
         r"E7103: .* none of the 3 examples was accepted \(2 failed_trace, 1 low_quality\)"),
    ],
)  # fmt: skip
def test_nothing_to_learn_from_is_an_error_that_says_why(counts, message):
    empty = {"extracted": 0, "accepted": 0, "review": 0, "rejected": 0, "by_reason": {}}
    with pytest.raises(FilteringError, match=message):
        check_accepted(ExampleCounts(**(empty | counts)))
    check_accepted(ExampleCounts(**(empty | {"extracted": 4, "accepted": 1})))
