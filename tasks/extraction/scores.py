"""What an event says about the quality of its trace."""

from __future__ import annotations

from collections import Counter

from registry.scores import feedback_score, in_range
from tasks.extraction.event import Data


def inline_quality(data: Data, notes: Counter[str]) -> float | None:
    """Return the quality that an event says of its own trace: `quality_score`, else the mean of its feedback."""
    score = in_range(data.quality_score, 100.0, notes)
    if score is not None or data.feedback is None:
        return score
    several = data.feedback if isinstance(data.feedback, list) else [data.feedback]
    scores = [score for item in several if (score := feedback_score(item.kind, item.value, notes)) is not None]
    return sum(scores) / len(scores) if scores else None


def recorded_score(data: Data, notes: Counter[str]) -> float | None:
    """Return the quality that a `feedback.recorded` event says."""
    return feedback_score(data.kind, data.value, notes)
