"""The effects of training: an artifact's folder. The Prefect task around it is in flows/training.py, with its cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from registry.errors import TrainingError
from registry.records import StateChange, Strategy, TrainingResult
from tasks.training.backend import TrainingData, find_backend
from tasks.training.job import Job, Progress, run_job
from tasks.training.policy import TrainingPolicy


class Trained(NamedTuple):
    """What a training job did, and the states that it went through."""

    result: TrainingResult
    changes: list[StateChange]


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
