"""The scales of feedback: what people and metrics say about a trace, as a quality between 0 and 100."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Literal

Scale = Literal["boolean", "stars", "fraction", "percent", "up", "down"]
MAX_DOUBLE = sys.float_info.max
Value = bool | int | float | str | None

KINDS: dict[str, Scale] = {
    **dict.fromkeys(("boolean", "bool", "boolean_metric", "success", "correct", "helpful", "resolved"), "boolean"),
    **dict.fromkeys(("accepted", "thumbs", "thumb", "thumbs_up_down", "like", "vote", "reaction"), "boolean"),
    **dict.fromkeys(("stars", "star", "star_rating", "rating", "likert"), "stars"),
    **dict.fromkeys(("answer_f1", "f1", "exact_match", "accuracy", "score", "reward"), "fraction"),
    **dict.fromkeys(("float_metric", "fraction"), "fraction"),
    **dict.fromkeys(("percent", "percentage", "score_100", "quality_score", "csat"), "percent"),
    "thumbs_up": "up",
    "thumbs_down": "down",
}
"""Kind of feedback (lower case, `-` as `_`) to the scale of its value. A boolean value is understood for every kind.

boolean: true/false, a word of `WORDS`, 1/0 or 1/-1 → 100/0. stars: 1 to 5 → 0, 25, …, 100. fraction: 0 to 1, × 100.
percent: 0 to 100 as it is. up, down: the kind is the judgement; a false value turns it around. A kind that is not here:
a word of `WORDS`, but no number, as its scale is not known.
"""

GOOD = ("up", "thumbs_up", "thumbs up", "positive", "good", "yes", "true", "like", "liked", "👍", "+1", "1")
BAD = ("down", "thumbs_down", "thumbs down", "negative", "bad", "no", "false", "dislike", "disliked", "👎", "-1", "0")
WORDS: dict[str, float] = {**dict.fromkeys(GOOD, 100.0), **dict.fromkeys(BAD, 0.0)}
"""Words that are a boolean judgement."""

NOTES = ("score_out_of_range", "score_not_finite", "feedback_without_score")


def in_range(value: float | None, top: float, notes: Counter[str]) -> float | None:
    """Return `value` if it lies in [0, top], else None, counted in `notes`."""
    if value is None or 0.0 <= value <= top:
        return value
    notes["score_out_of_range" if -MAX_DOUBLE <= value <= MAX_DOUBLE else "score_not_finite"] += 1
    return None


def feedback_score(kind: str | None, value: Value, notes: Counter[str]) -> float | None:
    """Return feedback as quality in [0, 100], or None, counted in `notes`, where it says no number.

    >>> feedback_score("stars", 4, Counter())
    75.0
    """
    scale = KINDS.get((kind or "").strip().lower().replace("-", "_"))
    if scale in ("up", "down"):
        turned = (_judgement(value) if value is not None else 100.0) == 0.0
        return 100.0 if (scale == "up") != turned else 0.0
    if isinstance(value, bool):
        return 100.0 if value else 0.0
    if scale == "boolean" or (scale is None and isinstance(value, str)):
        score = _judgement(value)
    else:
        score = _number(scale, value, notes)
    if score is None:
        notes["feedback_without_score"] += 1
    return score


def _judgement(value: Value) -> float | None:
    """Return 100 or 0 for a value that means yes or no, else None."""
    if isinstance(value, str):
        return WORDS.get(value.strip().lower())
    return (100.0 if value == 1 else 0.0) if value in (1, 0, -1) else None


def _number(scale: Scale | None, value: Value, notes: Counter[str]) -> float | None:
    if value is None or scale is None or isinstance(value, str):
        return None
    if scale == "stars":
        stars = in_range(value - 1, 4.0, notes)
        return None if stars is None else stars * 25.0
    top = 1.0 if scale == "fraction" else 100.0
    score = in_range(value, top, notes)
    return None if score is None else score / top * 100.0
