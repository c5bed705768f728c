"""From scores and feedback to quality."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.extraction.event import Data, Feedback
from tasks.extraction.scores import feedback_score, inline_quality


@pytest.mark.parametrize(
    ("kind", "value", "quality"),
    [
        ("boolean_metric", True, 100), ("boolean_metric", False, 0), ("boolean", 1, 100), ("boolean", 0, 0),
        ("thumbs", "up", 100), ("thumbs", "down", 0), ("thumbs", 1, 100), ("thumbs", -1, 0), ("thumbs", "👎", 0),
        ("thumbs_up", True, 100), ("thumbs_up", None, 100), ("thumbs_up", False, 0), ("thumbs_down", 1, 0),
        ("thumbs-down", None, 0), ("thumbs_down", False, 100),
        ("stars", 1, 0), ("stars", 2, 25), ("stars", 3, 50), ("stars", 4, 75), ("stars", 5, 100), ("Rating", 4.5, 87.5),
        ("answer_f1", 0, 0), ("answer_f1", 0.8, 80), ("answer_f1", 1.0, 100), ("score", 0.25, 25),
        ("percent", 64, 64), ("unheard of", True, 100), ("unheard of", "positive", 100), (None, False, 0),
    ],
)  # fmt: skip
def test_feedback_is_quality_by_the_scale_of_its_kind(kind, value, quality):
    notes: Counter[str] = Counter()
    assert feedback_score(kind, value, notes) == pytest.approx(quality)
    assert not notes


@pytest.mark.parametrize(
    ("kind", "value", "note"),
    [
        ("stars", 0, "score_out_of_range"), ("stars", 6, "score_out_of_range"),
        ("answer_f1", 1.5, "score_out_of_range"),
        ("percent", -1, "score_out_of_range"), ("percent", float("inf"), "score_not_finite"),
        ("percent", float("nan"), "score_not_finite"), ("stars", 10**400, "score_not_finite"),
        ("comment", "It was all right, I guess", None), ("unheard of", 0.7, None), ("stars", "5", None),
        ("stars", None, None), ("boolean", 7, None), (None, None, None),
    ],
)  # fmt: skip
def test_feedback_without_a_usable_number_is_missing_and_counted(kind, value, note):
    notes: Counter[str] = Counter()
    assert feedback_score(kind, value, notes) is None
    assert notes == Counter({"feedback_without_score": 1} | ({note: 1} if note else {}))


def test_quality_is_the_score_of_the_event_else_its_feedback():
    stars = Feedback("stars", 3)
    notes: Counter[str] = Counter()
    assert inline_quality(Data(quality_score=90.0, feedback=stars), notes) == 90.0
    assert inline_quality(Data(feedback=stars), notes) == 50.0
    assert inline_quality(Data(feedback=[stars, Feedback("thumbs", "up")]), notes) == 75.0  # (50 + 100) / 2
    assert inline_quality(Data(), notes) is None
    assert not notes
    assert inline_quality(Data(quality_score=170.0, feedback=stars), notes) == 50.0
    assert notes == {"score_out_of_range": 1}
