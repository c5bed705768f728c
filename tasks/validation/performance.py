"""Stage 2, critical: is the candidate's mean score at most a little below the baseline's?"""

from __future__ import annotations

import numpy as np

from registry.records import Interval, Metric, StageResult, Status
from tasks.validation.cases import Answered, counted, groups_of, shown
from tasks.validation.policy import ValidationPolicy
from tasks.validation.seen import Seen, metrics_of, verdict
from tasks.validation.statistics import (
    calibration_error,
    calibration_rise,
    clustered_mean,
    more_for_mean,
    relative_change,
)
from tasks.validation.verdict import worst_of


def performance(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy, seen: Seen | None = None
) -> StageResult:
    """Compare mean token-F1 over the same cases: the candidate may lose `max_degradation` of the baseline's mean.

    A candidate that has been trained on these cases fails, whatever its scores: they say nothing. So does one whose
    confidences are off by `calibration_rise` more than the baseline's: whoever acts on them is misled.

    Where the baseline's mean is at most `negligible_score`, or cannot be told from 0, a relative change means nothing:
    the absolute difference is tested against `negligible_score` instead.

    Args:
        baseline: The baseline's answers to all cases.
        candidate: The candidate's answers to the same cases.
        policy: Thresholds.
        seen: Whether the candidate has seen the cases, where that was looked for.
    """
    groups, count = groups_of(candidate.cases), len(candidate.cases)
    metrics: dict[str, Metric] = {}
    intervals: dict[str, Interval] = {}
    status: Status = "INCONCLUSIVE"
    more: int | None = max(1, policy.performance_minimum - count)
    reasons = [
        f"only {counted(count, 'case')}, fewer than the {policy.performance_minimum} that a conclusion needs; "
        "learn from more events"
    ]
    if count:
        metrics = _means(baseline, candidate, policy)
    if count >= policy.performance_minimum and len(set(groups.tolist())) < 2:
        reasons = [
            f"all {count} cases belong together (one group), so their spread says nothing; learn from more events"
        ]
    elif count >= policy.performance_minimum:
        intervals, threshold, tested = _intervals(baseline, candidate, policy)
        status = _status(intervals[tested], threshold)
        more = more_for_mean(intervals[tested], threshold, count) if status == "INCONCLUSIVE" else None
        reasons = [_reason(status, metrics, intervals[tested], threshold, tested, policy)]
        intervals["calibration_rise"], told, why = _calibration(baseline, candidate, policy)
        status, reasons = worst_of([status, told]), [*why, *reasons]
    if seen is not None:
        metrics |= metrics_of(seen)
        told, because = verdict(seen)
        status, reasons = worst_of([status, told]), [because, *reasons] if because else reasons
    more = more if status == "INCONCLUSIVE" else None
    worse = candidate.scores - baseline.scores
    fallen = np.flatnonzero(worse < -policy.tolerance)
    worst_first = fallen[np.argsort(worse[fallen], kind="stable")]
    return StageResult(
        name="performance",
        status=status,
        critical=True,
        metrics=metrics,
        thresholds={"relative_change": -policy.max_degradation},
        intervals=intervals,
        counts={
            "cases": count,
            "groups": len(set(groups.tolist())),
            "better": int((worse > policy.tolerance).sum()),
            "worse": len(fallen),
        },
        reasons=reasons,
        more_cases_needed=more,
        failing=shown(baseline, candidate, worst_first[: policy.failing_shown], "scores lower than the baseline"),
        series={
            "baseline_score": [round(float(score), 4) for score in baseline.scores],
            "candidate_score": [round(float(score), 4) for score in candidate.scores],
            "candidate_confidence": [round(float(value), 4) for value in candidate.confidences],
        },
    )


def _calibration(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy
) -> tuple[Interval, Status, list[str]]:
    """Return how much worse calibrated the candidate is, what that means, and why it does not pass."""
    groups = groups_of(candidate.cases)
    sides = [(answered.confidences, answered.scores) for answered in (candidate, baseline)]
    rise = calibration_rise(sides[0], sides[1], groups, policy.calibration_error, policy.level)
    status: Status = "FAIL" if rise.low > policy.calibration_rise else "PASS"
    doubts = float(candidate.confidences.mean() - candidate.scores.mean()) < -policy.calibration_error
    sensible = float(np.cov(candidate.confidences, candidate.scores)[0, 1]) >= 0
    if rise.estimate > policy.calibration_rise and (status == "PASS" or (doubts and sensible)):
        status = "INCONCLUSIVE"  # who is too modest misleads nobody into trusting a wrong answer
    said = (
        f"its confidences are off by {rise.estimate:.3f} more ({policy.level:.0%} bound {rise.low:.3f}) than the "
        f"baseline's, or than the {policy.calibration_error:.2f} that any model may be; "
        f"{policy.calibration_rise:.2f} more is allowed"
    )
    return rise, status, [] if status == "PASS" else [said]


def _means(baseline: Answered, candidate: Answered, policy: ValidationPolicy) -> dict[str, Metric]:
    b, c = float(baseline.scores.mean()), float(candidate.scores.mean())
    return {
        "baseline_score": round(b, 6),
        "candidate_score": round(c, 6),
        "difference": round(c - b, 6),
        "relative_change": round(c / b - 1, 6) if b > policy.negligible_score else None,
        "calibration_error": round(calibration_error(candidate.confidences, candidate.scores), 6),
        "baseline_calibration_error": round(calibration_error(baseline.confidences, baseline.scores), 6),
    }


def _intervals(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy
) -> tuple[dict[str, Interval], float, str]:
    """Return the intervals, the threshold, and which interval is tested against it."""
    groups = groups_of(candidate.cases)
    difference = clustered_mean(candidate.scores - baseline.scores, groups, policy.level)
    relative = relative_change(candidate.scores, baseline.scores, groups, policy.level)
    if relative is None or baseline.scores.mean() <= policy.negligible_score:
        return {"difference": difference}, -policy.negligible_score, "difference"
    return {"relative_change": relative, "difference": difference}, -policy.max_degradation, "relative_change"


def _status(interval: Interval, threshold: float) -> Status:
    if interval.low > threshold:
        return "PASS"
    return "FAIL" if interval.high < threshold else "INCONCLUSIVE"


def _reason(
    status: Status,
    metrics: dict[str, Metric],
    interval: Interval,
    threshold: float,
    tested: str,
    policy: ValidationPolicy,
) -> str:
    if tested == "difference":
        little = float(metrics["baseline_score"] or 0.0) <= policy.negligible_score
        why = "scores next to nothing" if little else "varies so much from case to case that a ratio to it says nothing"
        said = (
            f"the baseline {why}, so the difference is tested: {interval.estimate:+.4f} "
            f"({policy.level:.0%} bounds {interval.low:+.4f} and {interval.high:+.4f}) against {threshold:+.4f}"
        )
    else:
        said = (
            f"mean score {metrics['candidate_score']:.3f} against the baseline's {metrics['baseline_score']:.3f}: "
            f"{interval.estimate:+.1%} ({policy.level:.0%} bounds {interval.low:+.1%} and {interval.high:+.1%}), "
            f"where {threshold:+.0%} is allowed"
        )
    ends = {"PASS": "", "FAIL": "; the loss is larger", "INCONCLUSIVE": "; too few cases to tell"}
    return said + ends[status]
