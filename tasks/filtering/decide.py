"""ACCEPT, REVIEW or REJECT, with reasons: a pure function of numbers."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.errors import FilteringError
from registry.records import ExampleCounts, Reason
from tasks.filtering.outliers import outlier_probabilities
from tasks.filtering.policy import FilteringPolicy

Floats = NDArray[np.float64]

ACCEPT, REVIEW, REJECT = 0, 1, 2
STATUSES = ("ACCEPT", "REVIEW", "REJECT")
_CRITERIA = ("diversity", "informativeness")

REASONS: dict[int, str] = {int(reason): str(reason.name).lower() for reason in Reason}
"""Bit to the name of the reason."""

DROPPED = Reason.FAILED_TRACE | Reason.NO_ASSISTANT_TURN | Reason.EMPTY_OUTPUT | Reason.NO_USER_TURN
"""Reasons for which there is nothing to score."""
REJECTING = DROPPED | Reason.LOW_QUALITY
"""Reasons to reject; every other reason sends to review."""


class Decisions(NamedTuple):
    """What is decided of n examples."""

    status: NDArray[np.uint8]
    """Index in `STATUSES`."""
    reasons: NDArray[np.uint32]
    """Bits of `REASONS`; all that hold, also beside a stronger one."""
    composite: Floats
    """In [0, 1]; NaN for an example that is dropped unscored."""
    outlier: Floats
    """Outlier probability; 0 where none was looked for."""


def composite_scores(
    quality: Floats, confidence: Floats, diversity: Floats, informativeness: Floats, policy: FilteringPolicy
) -> Floats:
    """Return the weighted mean of the criteria that an example has: Σ w·x / Σ w over those that are not NaN.

    Args:
        quality: 0 to 100, NaN where missing.
        confidence: 0 to 1, NaN where missing.
        diversity: 0 to 1.
        informativeness: 0 to 1.
        policy: Gives the weights.
    """
    total, score = np.zeros(len(quality)), np.zeros(len(quality))
    criteria = (quality / 100.0, confidence, diversity, informativeness)
    for weight, criterion in zip(policy.weights, criteria, strict=True):
        given = ~np.isnan(criterion)
        total += np.where(given, weight, 0.0)
        score += np.where(given, weight * criterion, 0.0)
    return np.where(total > 0, score / np.maximum(total, 1e-12), 0.0)


def decide(
    features: pa.Table,
    quality: Floats,
    confidence: Floats,
    flags: NDArray[np.uint32],
    policy: FilteringPolicy,
    seed: int,
) -> Decisions:
    """Decide n examples.

    Args:
        features: `tasks.filtering.features.FEATURES`, n rows.
        quality: 0 to 100, NaN where missing.
        confidence: 0 to 1, NaN where missing.
        flags: Reasons (bits of `registry.records.Reason`) that the extraction found.
        policy: Thresholds and weights.
        seed: For the outlier forest.
    """
    reasons = flags.astype(np.uint32)
    scored = reasons & np.uint32(DROPPED) == 0
    outlier = np.zeros(len(reasons))
    if scored.sum() > policy.outlier_minimum:
        matrix = np.stack([features[name].to_numpy()[scored] for name in features.column_names], axis=1)
        outlier[scored] = outlier_probabilities(matrix, seed)
        del matrix
    diversity, informativeness = (features[name].to_numpy().astype(np.float64) for name in _CRITERIA)
    composite = composite_scores(quality, confidence, diversity, informativeness, policy)
    for reason, found in (
        (Reason.NO_QUALITY_SIGNAL, np.isnan(quality)),
        (Reason.LOW_QUALITY, quality < policy.quality_threshold),
        (Reason.LOW_CONFIDENCE, confidence < policy.confidence_threshold),
        (Reason.OUTLIER, outlier > policy.outlier_threshold),
    ):
        reasons = np.where(found & scored, reasons | np.uint32(reason), reasons)
    status = np.where(reasons & np.uint32(REJECTING) != 0, REJECT, np.where(reasons != 0, REVIEW, ACCEPT))
    return Decisions(status.astype(np.uint8), reasons, np.where(scored, composite, np.nan), outlier)


def example_counts(decisions: Decisions) -> ExampleCounts:
    """Return how many examples were accepted, sent to review and rejected, and how often each reason held."""
    by_status = np.bincount(decisions.status, minlength=3).tolist()
    by_reason: Counter[str] = Counter()
    for bit, name in REASONS.items():
        by_reason[name] = int(np.count_nonzero(decisions.reasons & np.uint32(bit)))
    return ExampleCounts(
        extracted=len(decisions.status),
        accepted=by_status[ACCEPT],
        review=by_status[REVIEW],
        rejected=by_status[REJECT],
        by_reason=dict(sorted((+by_reason).items())),
    )


def check_accepted(examples: ExampleCounts) -> None:
    """Stop when no example is left to learn from.

    Raises:
        FilteringError: E7101 when the events hold no trace, E7102 when every trace failed, E7103 when no example was
            accepted.
    """
    if examples.accepted:
        return
    if not examples.extracted:
        raise FilteringError(
            "E7101",
            "nothing to learn from: the events hold no new trace",
            "give execution.completed or planning.completed events",
        )
    if examples.by_reason.get("failed_trace") == examples.extracted:
        raise FilteringError(
            "E7102",
            f"nothing to learn from: all {examples.extracted} traces failed",
            "give events of traces that succeeded; failed ones are never positive examples",
        )
    top = ", ".join(f"{count} {name}" for name, count in Counter(examples.by_reason).most_common(5))
    raise FilteringError(
        "E7103",
        f"nothing to learn from: none of the {examples.extracted} examples was accepted ({top})",
        "give events with quality_score or feedback, or change the thresholds of the policy section filtering",
    )
