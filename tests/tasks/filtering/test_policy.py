"""The filtering's settings: the defaults of the design, and what contradicts itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.filtering.policy import FilteringPolicy


def test_the_defaults_are_the_designs():
    policy = FilteringPolicy()
    assert policy.weights == (0.60, 0.20, 0.10, 0.10)
    assert (policy.quality_threshold, policy.confidence_threshold, policy.outlier_threshold) == (70.0, 0.6, 0.15)
    assert policy.outlier_minimum == 100


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quality_weight": 0.7}, "must sum to 1, not 1.1"),
        ({"quality_threshold": 101}, "less than or equal to 100"),
        ({"confidence_threshold": 60}, "less than or equal to 1"),
        ({"outlier_threshold": -0.1}, "greater than or equal to 0"),
        ({"outlier_minimum": 3}, "greater than or equal to 10"),
        ({"treshold": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused(changes, says):
    with pytest.raises(ValidationError, match=says):
        FilteringPolicy(**changes)


def test_weights_may_be_shared_out_otherwise():
    tenths = FilteringPolicy(
        quality_weight=0.1, confidence_weight=0.2, diversity_weight=0.3, informativeness_weight=0.4
    )
    assert tenths.weights == (0.1, 0.2, 0.3, 0.4)  # their sum is not quite 1 in doubles, which is no contradiction
