from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest

from registry.errors import TrainingError
from registry.records import EpochMetrics, JobState
from tasks.training.backend import TrainingData, find_backend
from tasks.training.job import NEXT, Job, Silent, advance, run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend

WAY: list[JobState] = ["PENDING", "INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED"]


def clock() -> Callable[[], datetime]:
    seconds = count()
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


def test_only_the_drawn_transitions_are_legal() -> None:
    for before, after in pairwise(WAY):
        assert advance(before, after) == after
    for before in NEXT:
        for after in NEXT:
            if after not in NEXT[before]:
                with pytest.raises(TrainingError, match="E7301"):
                    advance(before, after)


def test_a_job_keeps_its_states_with_their_times(toy_data: TrainingData, tmp_path: Path) -> None:
    job = Job(now=clock())
    run_job(SimulatedBackend(), toy_data, TrainingPolicy(epochs=2), 0, tmp_path, None, job)
    assert [change.state for change in job.changes] == WAY
    assert [change.time[17:19] for change in job.changes] == ["00", "01", "02", "03", "04", "05"]


def test_a_listener_hears_every_epoch_and_can_stop_the_job(toy_data: TrainingData, tmp_path: Path) -> None:
    class Impatient(Silent):
        def __init__(self) -> None:
            self.heard: list[int] = []

        def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
            self.heard.append(metrics.epoch)

        def cancelled(self) -> bool:
            return len(self.heard) == 2

    listener = Impatient()
    job = Job(listener)
    with pytest.raises(TrainingError, match="E7302"):
        run_job(SimulatedBackend(), toy_data, TrainingPolicy(), 0, tmp_path / "adapter", None, job)
    assert listener.heard == [1, 2]
    assert job.current == "CANCELLED"
    assert not (tmp_path / "adapter").exists()


def test_a_backend_that_breaks_ends_the_job_with_a_code(toy_data: TrainingData, tmp_path: Path) -> None:
    class Broken(SimulatedBackend):
        name = "broken"

        def train(self, *_: object) -> None:  # type: ignore[override]
            raise ZeroDivisionError("by zero")

    job = Job()
    with pytest.raises(TrainingError, match="E7303: the backend broken failed: ZeroDivisionError: by zero"):
        run_job(Broken(), toy_data, TrainingPolicy(), 0, tmp_path, None, job)
    assert job.current == "FAILED"


def test_a_backend_is_found_by_name_or_by_where_it_is() -> None:
    assert find_backend("simulated").name == "simulated"
    assert find_backend("tasks.training.simulated:SimulatedBackend").name == "simulated"
    for name in ("nowhere.at.all:Backend", "tasks.training.simulated:Nothing"):
        with pytest.raises(TrainingError, match="E7304"):
            find_backend(name)
