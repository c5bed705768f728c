"""The Prefect tasks of training: everything that has an effect."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from prefect import task
from prefect.logging import get_run_logger

from registry.errors import TrainingError
from registry.records import EpochMetrics, JobState, StateChange, Strategy, TrainingResult
from tasks.training.backend import TrainingData, find_backend
from tasks.training.job import Job, Progress, run_job
from tasks.training.policy import TrainingPolicy


class Trained(NamedTuple):
    """What a training job did, and the states that it went through."""

    result: TrainingResult
    changes: list[StateChange]


class Told:
    """Progress for a command line or a flow: calls `show(text, done, total)` and stops when `stop()` says so."""

    def __init__(self, show: Callable[[str, int, int], None], stop: Callable[[], bool] = lambda: False) -> None:
        self.show, self.stop = show, stop

    def state(self, state: JobState) -> None:
        """Show the state."""
        self.show(state, 0, 0)

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        """Show the epoch's losses."""
        text = f"train loss {metrics.train_loss:.3f}, validation loss {metrics.validation_loss:.3f}"
        self.show(text, metrics.epoch, epochs)

    def cancelled(self) -> bool:
        """Ask whether to stop."""
        return self.stop()


def train(
    data: TrainingData,
    policy: TrainingPolicy,
    seed: int,
    out: Path,
    start: Path | None = None,
    strategy: Strategy | None = None,
    listener: Progress | None = None,
) -> Trained:
    """Train into `out`, which appears whole or not at all; what an interrupted training left beside it is removed.

    Args:
        data: What is learned from.
        policy: Settings.
        seed: Of everything random.
        out: Folder of the artifact. One that is there already is replaced: the same work gives the same bytes.
        start: The champion's artifact for `incremental`; None starts from the base.
        strategy: What to record; `shadow` trains like `full_retrain` or, with a start, like `incremental`.
        listener: Is told states and epochs.

    Raises:
        TrainingError: E7305 for a strategy that does not train or lacks its start, and what the backend raises.
    """
    if strategy == "rollback" or (strategy == "incremental" and start is None):
        raise TrainingError(
            "E7305",
            "a rollback trains nothing" if strategy == "rollback" else "there is no champion to go on from",
            "use full_retrain",
        )
    job = Job(listener)
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        result = run_job(find_backend(policy.backend), data, policy, seed, aside, start, job)
        shutil.rmtree(out, ignore_errors=True)
        aside.replace(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Trained(result.model_copy(update={"strategy": strategy or result.strategy}), job.changes)


@task(name="Train adapter", task_run_name="train adapter, {policy.backend}, seed {seed}", persist_result=False)
def train_adapter(
    train_split: pa.Table,
    validation_split: pa.Table,
    digest: str,
    policy: TrainingPolicy,
    seed: int,
    out: Path,
    start: Path | None = None,
    strategy: Strategy | None = None,
    listener: Progress | None = None,
) -> Trained:
    """Train an adapter as a Prefect task; see `train`. Not retried: the same work fails the same way."""
    logger = get_run_logger()
    data = TrainingData(train_split, validation_split, digest)
    trained = train(data, policy, seed, out, start, strategy, listener)
    result = trained.result
    logger.info(
        "trained on %d pairs, %d known turns: token-F1 %.3f on validation, frozen base %.3f; epoch %d of %d kept",
        result.pairs, result.known_turns, result.score, result.base_score, result.best_epoch, len(result.epochs) - 1,
    )  # fmt: skip
    return trained
