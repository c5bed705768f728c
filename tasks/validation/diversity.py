"""Stage 4: does every domain keep its score, and do answers stay as varied as they should be?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.records import Interval, Metric, StageResult, Status
from tasks.validation.cases import Answered, counted, groups_of, shown
from tasks.validation.policy import ValidationPolicy
from tasks.validation.statistics import clustered_share, degradation_p, holm, jackknife, relative_change

MOST_EXCUSED = 0.4
"""Share of the commonest answer up to which a baseline that says it excuses a candidate that does: a baseline that
collapsed itself is no measure."""


class Finding(NamedTuple):
    """What one part of the stage found."""

    status: Status
    reason: str


def diversity(baseline: Answered, candidate: Answered, policy: ValidationPolicy) -> StageResult:
    """Look at the score of each domain, and at how much answers repeat.

    A domain fails when it lost more than `domain_degradation` of the baseline's score beyond doubt, with Holm's
    correction for looking at several; it passes when the interval excludes such a loss. Domains below `domain_minimum`
    cases are shown and left out. Collapse is looked at twice: the share of the commonest answer, and how many answers
    are distinct, each against the expected answers and the baseline's.

    Args:
        baseline: The baseline's answers to all cases.
        candidate: The candidate's answers to the same cases.
        policy: Thresholds.
    """
    slices, found = _domains(baseline, candidate, policy)
    metrics, intervals, collapse = _collapse(baseline, candidate, policy)
    found = [*found, *collapse]
    status = _worst([finding.status for finding in found])
    domains = np.array([case.domain for case in candidate.cases])
    failed = [row["domain"] for row in slices if row["status"] == "FAIL"]
    drop = candidate.scores - baseline.scores
    rows = np.flatnonzero(np.isin(domains, np.array(failed, dtype=str)) & (drop < -policy.tolerance))
    rows = rows[np.argsort(drop[rows], kind="stable")][: policy.failing_shown]
    return StageResult(
        name="diversity",
        status=status,
        critical=False,
        metrics=_gaps(slices) | metrics,
        thresholds={
            "domain_relative_change": -policy.domain_degradation,
            "top_share_rise": policy.top_share_rise,
            "distinct_share": policy.distinct_share,
        },
        intervals=intervals,
        counts={
            "cases": len(domains),
            "domains": len(slices),
            "judged": sum(row["status"] != "too few" for row in slices),
        },
        reasons=[finding.reason for finding in found if finding.status == status or finding.status == "FAIL"],
        more_cases_needed=None if status != "INCONCLUSIVE" else _more(slices, policy),
        failing=shown(baseline, candidate, rows, "in a domain that lost its score"),
        slices=slices,
    )


def _worst(statuses: Sequence[Status]) -> Status:
    if "FAIL" in statuses:
        return "FAIL"
    return "PASS" if statuses and all(status == "PASS" for status in statuses) else "INCONCLUSIVE"


# --- domains -------------------------------------------------------------------------------------------------------


def _domains(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy
) -> tuple[list[dict[str, Metric]], list[Finding]]:
    domains = np.array([case.domain for case in candidate.cases], dtype=str)
    groups = groups_of(candidate.cases)
    rows = {str(name): np.flatnonzero(domains == name) for name in np.unique(domains)}
    judged = [name for name, at in rows.items() if len(at) >= policy.domain_minimum and len(set(groups[at])) >= 2]
    p_values = [
        degradation_p(
            candidate.scores[rows[name]], baseline.scores[rows[name]], groups[rows[name]], policy.domain_degradation
        )
        for name in judged
    ]
    adjusted = dict(zip(judged, holm(p_values), strict=True))
    slices: list[dict[str, Metric]] = []
    found: list[Finding] = []
    for name, at in rows.items():
        b, c = float(baseline.scores[at].mean()), float(candidate.scores[at].mean())
        row: dict[str, Metric] = {
            "domain": name,
            "cases": len(at),
            "baseline_score": round(b, 4),
            "candidate_score": round(c, 4),
            "relative_change": round(c / b - 1, 4) if b > policy.negligible_score else None,
            "status": "too few",
        }
        if name in adjusted:
            interval = relative_change(candidate.scores[at], baseline.scores[at], groups[at], policy.level)
            finding = _domain_finding(name, b, c, interval, adjusted[name], policy)
            found.append(finding)
            row |= {"status": finding.status, "p": round(adjusted[name], 6)}
            if interval is not None:
                row |= {"low": round(interval.low, 4), "high": round(interval.high, 4)}
        slices.append(row)
    return slices, found


def _domain_finding(
    name: str, baseline: float, candidate: float, interval: Interval | None, p: float, policy: ValidationPolicy
) -> Finding:
    if interval is None or baseline <= policy.negligible_score:
        why = "scores next to nothing" if baseline <= policy.negligible_score else "cannot be told from 0"
        return Finding("PASS", f"{name}: the baseline {why} there ({baseline:.3f}), so no loss can be seen")
    said = (
        f"{name}: score {candidate:.3f} against {baseline:.3f}, {interval.estimate:+.0%} "
        f"({policy.level:.0%} bounds {interval.low:+.0%} and {interval.high:+.0%}), "
        f"where {-policy.domain_degradation:.0%} is allowed"
    )
    if p < 1 - policy.level:
        return Finding("FAIL", f"{said}; the domain is lost (p = {p:.2g} after Holm's correction)")
    if interval.low > -policy.domain_degradation:
        return Finding("PASS", said)
    return Finding("INCONCLUSIVE", f"{said}; too few cases to tell")


def _gaps(slices: list[dict[str, Metric]]) -> dict[str, Metric]:
    judged = [row for row in slices if row["status"] != "too few"]
    if not judged:
        return {}
    candidate = [float(row["candidate_score"] or 0.0) for row in judged]
    baseline = [float(row["baseline_score"] or 0.0) for row in judged]
    worst = min(judged, key=lambda row: float(row["candidate_score"] or 0.0) - float(row["baseline_score"] or 0.0))
    return {
        "worst_domain": worst["domain"],
        "worst_relative_change": worst["relative_change"],
        "candidate_gap": round(max(candidate) - min(candidate), 4),
        "baseline_gap": round(max(baseline) - min(baseline), 4),
    }


def _more(slices: list[dict[str, Metric]], policy: ValidationPolicy) -> int:
    """Cases that would decide the domains left open: bounds shrink with the root of their number."""
    needed = [policy.domain_minimum] if not slices else [1]
    for row in slices:
        if row["status"] == "INCONCLUSIVE":
            estimate, low = float(row["relative_change"] or 0.0), float(row.get("low") or 0.0)
            distance = max(abs(estimate + policy.domain_degradation), 0.01)
            count = int(row["cases"] or 0)
            needed.append(int(count * ((estimate - low) / distance) ** 2) - count)
    return max(1, sum(n for n in needed if n > 0))


# --- collapse ------------------------------------------------------------------------------------------------------


def _collapse(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy
) -> tuple[dict[str, Metric], dict[str, Interval], list[Finding]]:
    count, groups = len(candidate.cases), groups_of(candidate.cases)
    if count < policy.domain_minimum or len(set(groups.tolist())) < 2:
        return (
            {},
            {},
            [
                Finding(
                    "INCONCLUSIVE",
                    f"only {counted(count, 'case')} in {counted(len(set(groups.tolist())), 'group')}: "
                    "too few to see a collapse",
                )
            ],
        )
    answers = [
        np.unique([text.strip().lower() for text in texts], return_inverse=True)[1]
        for texts in _texts(baseline, candidate)
    ]
    expected, before, after = answers
    commonest = int(np.bincount(after).argmax())
    top = clustered_share(after == commonest, groups, policy.level)
    top_allowed = max(_top(expected), min(_top(before), MOST_EXCUSED)) + policy.top_share_rise
    distinct_allowed = policy.distinct_share * min(_distinct(expected), _distinct(before))
    without = [_distinct(after[groups != group]) for group in np.unique(groups)]
    distinct = jackknife(_distinct(after), without, policy.level)
    shown_answer = candidate.responses[int(np.flatnonzero(after == commonest)[0])]
    metrics: dict[str, Metric] = {
        "top_share": round(top.estimate, 4),
        "top_share_expected": round(_top(expected), 4),
        "top_share_baseline": round(_top(before), 4),
        "distinct": round(distinct.estimate, 4),
        "distinct_expected": round(_distinct(expected), 4),
        "distinct_baseline": round(_distinct(before), 4),
    }
    found = [
        Finding(
            _side(top.high < top_allowed, top.low >= top_allowed),
            f"the commonest answer makes up {top.estimate:.0%} of all ({policy.level:.0%} bounds {top.low:.0%} and "
            f"{top.high:.0%}), where {top_allowed:.0%} is allowed ({len(shown_answer)} characters long)",
        ),
        Finding(
            _side(distinct.low > distinct_allowed, distinct.high <= distinct_allowed),
            f"{distinct.estimate:.0%} of the answers are distinct ({policy.level:.0%} bounds "
            f"{max(0.0, distinct.low):.0%} and {distinct.high:.0%}), where {distinct_allowed:.0%} is wanted",
        ),
    ]
    return metrics, {"top_share": top, "distinct": distinct}, found


def _texts(baseline: Answered, candidate: Answered) -> tuple[list[str], list[str], list[str]]:
    return [case.expected for case in candidate.cases], baseline.responses, candidate.responses


def _side(good: bool, bad: bool) -> Status:
    if good:
        return "PASS"
    return "FAIL" if bad else "INCONCLUSIVE"


def _top(codes: NDArray[np.int64]) -> float:
    return Counter(codes.tolist()).most_common(1)[0][1] / len(codes)


def _distinct(codes: NDArray[np.int64]) -> float:
    return len(np.unique(codes)) / len(codes)
