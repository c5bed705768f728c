"""The Prefect task of promotion: measuring readiness. Deciding is a pure function; carrying it out is a flow's."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from registry.records import Conversation, Predictor, Readiness, ValidationReport
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.readiness import measure


@task(name="measure readiness", task_run_name="measure readiness", persist_result=False, cache_policy=NO_CACHE)
def measure_readiness(
    report: ValidationReport,
    model: Predictor,
    conversations: Sequence[Conversation],
    expected: Sequence[str],
    policy: PromotionPolicy,
    seed: int,
) -> Readiness | None:
    """Ask the candidate again in other forms and with noise; see `readiness.measure`.

    Callers wrap `conversations` and `expected` in `opaque`, so that Prefect does not search them for futures.
    """
    return measure(report, model, conversations, expected, policy, seed)
