"""An examination: the cases, both models and their answers, made once and looked at by five stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.errors import ValidationError
from registry.records import Predictor, StageResult
from tasks.validation.cases import Answered, TestCase, answer_all, make_cases
from tasks.validation.diversity import diversity
from tasks.validation.exchanges import Trigger
from tasks.validation.latency import latency
from tasks.validation.performance import performance
from tasks.validation.policy import ValidationPolicy
from tasks.validation.regression import golden_regression, regression
from tasks.validation.safety import safety
from tasks.validation.seen import Seen, look_for_seen
from tasks.validation.steadiness import steadiness
from tasks.validation.triggers import mine_triggers
from tasks.validation.verdict import STAGES


class Pair(NamedTuple):
    """Both models' answers to the same cases."""

    baseline: Answered
    candidate: Answered


class Examination(NamedTuple):
    """Everything that the stages look at."""

    baseline: Predictor
    candidate: Predictor
    answers: Pair
    rounds: NDArray[np.int64]
    """How steadily the baseline is right, shape (n,)."""
    golden: Pair | None
    triggers: list[Trigger]
    seen: Seen
    train: pa.Table
    policy: ValidationPolicy
    seed: int
    clock: Callable[[], float] = time.perf_counter
    """What latency is measured with, in seconds."""


def prepare(
    baseline: Predictor,
    candidate: Predictor,
    test: pa.Table,
    train: pa.Table,
    policy: ValidationPolicy,
    *,
    seed: int = 0,
    reference: pa.Table | None = None,
    golden: Sequence[TestCase] | None = None,
    validation: pa.Table | None = None,
) -> Examination:
    """Ask both models everything that several stages need, once.

    Args:
        baseline: The champion, or the frozen base.
        candidate: The candidate, as it will be served.
        test: The test split; columns `example_id`, `messages`, `domain`, `group`.
        train: The training split, which is searched for backdoor triggers; column `messages`.
        policy: Thresholds and limits.
        seed: Seed of every sample.
        reference: The training split of the champion's dataset: what is in it is trusted.
        golden: The user's own cases, which replace those that the baseline gets right.
        validation: The validation split: as unseen as the test split, it tells whether that is.

    Raises:
        ValidationError: E7401 when the test split has no case, E7402 when a model does not answer as it must.
    """
    cases = make_cases(test, policy.max_cases, seed)
    if not cases:
        raise ValidationError("E7401", "the test split has no assistant turn to ask for", "learn from more events")
    with one_thread():
        answers = _both(baseline, candidate, cases, policy)
        return Examination(
            baseline,
            candidate,
            answers,
            steadiness(baseline, answers.baseline, policy, seed),
            None if golden is None else _both(baseline, candidate, golden, policy),
            mine_triggers(train, reference, policy, seed),
            look_for_seen(baseline, candidate, answers, test, train, validation, policy, seed),
            train,
            policy,
            seed,
        )


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which linear algebra runs on one thread.

    A model is served by many processes, a core each. More threads for its small products wait for each other: on a busy
    machine they took 20 times as long, and that is no latency of the model.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _both(baseline: Predictor, candidate: Predictor, cases: Sequence[TestCase], policy: ValidationPolicy) -> Pair:
    return Pair(answer_all(baseline, cases, policy.batch_size), answer_all(candidate, cases, policy.batch_size))


def examine_stage(name: str, examination: Examination) -> StageResult:
    """Run one stage of `verdict.STAGES` and time it; KeyError for any other name."""
    started = time.perf_counter()
    with one_thread():
        result = _STAGES[name](examination)
    return result.model_copy(update={"seconds": round(time.perf_counter() - started, 4)})


def examine_all(examination: Examination) -> list[StageResult]:
    """Run all stages, one after the other."""
    return [examine_stage(name, examination) for name in STAGES]


def _regression(e: Examination) -> StageResult:
    if e.golden is not None:
        return golden_regression(e.golden.baseline, e.golden.candidate, e.policy)
    return regression(e.answers.baseline, e.answers.candidate, e.policy, e.rounds)


_STAGES: dict[str, Callable[[Examination], StageResult]] = {
    "regression": _regression,
    "performance": lambda e: performance(e.answers.baseline, e.answers.candidate, e.policy, e.seen),
    "safety": lambda e: safety(e.baseline, e.candidate, e.answers.candidate, e.triggers, e.policy, e.seed, e.train),
    "diversity": lambda e: diversity(e.answers.baseline, e.answers.candidate, e.policy),
    "latency": lambda e: latency(e.baseline, e.candidate, e.answers.candidate.cases, e.policy, e.clock),
}
