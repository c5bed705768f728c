"""From five stages to one recommendation."""

from __future__ import annotations

from collections.abc import Sequence

from registry.records import Recommendation, StageResult, Status

STAGES = ("regression", "performance", "safety", "diversity", "latency")
"""The five stages, in the order of the report."""


def worst_of(statuses: Sequence[Status]) -> Status:
    """Return FAIL if any is, else INCONCLUSIVE if any is, else PASS."""
    if "FAIL" in statuses:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in statuses else "PASS"


def recommend(stages: Sequence[StageResult]) -> Recommendation:
    """Return DEPLOY, REVIEW or REJECT.

    REJECT when a critical stage fails; DEPLOY when all five stages pass; else REVIEW: critical stages pass and
    something else does not, something critical is inconclusive, or a stage was not run.
    """
    if any(stage.critical and stage.status == "FAIL" for stage in stages):
        return "REJECT"
    complete = {stage.name for stage in stages} == set(STAGES)
    return "DEPLOY" if complete and all(stage.status == "PASS" for stage in stages) else "REVIEW"
