"""An artifact appears whole or not at all."""

from pathlib import Path

import pytest

from registry.errors import TrainingError
from registry.records import JobState
from tasks.training.artifact import artifact_digest
from tasks.training.backend import TrainingData
from tasks.training.job import Silent
from tasks.training.policy import TrainingPolicy
from tasks.training.task import train

POLICY = TrainingPolicy(epochs=2)


def test_what_an_interrupted_training_left_is_removed(toy_data: TrainingData, tmp_path: Path) -> None:
    for name in ("adapter", "adapter.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("…")
    done = train(toy_data, POLICY, 0, tmp_path / "adapter")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert done.result.artifact_digest == artifact_digest(tmp_path / "adapter")
    assert done.changes[-1].state == "COMPLETED"


@pytest.mark.parametrize("last", ["INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING"])
def test_a_cancelled_training_leaves_nothing(toy_data: TrainingData, tmp_path: Path, last: JobState) -> None:
    class Stop(Silent):
        heard: JobState = "PENDING"

        def state(self, state: JobState) -> None:
            self.heard = state

        def cancelled(self) -> bool:
            return self.heard == last

    listener = Stop()
    with pytest.raises(TrainingError, match=f"E7302: training was cancelled while {last}"):
        train(toy_data, POLICY, 0, tmp_path / "adapter", listener=listener)
    assert listener.heard == "CANCELLED"
    assert list(tmp_path.iterdir()) == []


def test_the_strategy_is_recorded_and_must_fit_the_start(toy_data: TrainingData, tmp_path: Path) -> None:
    first = train(toy_data, POLICY, 0, tmp_path / "first", strategy="shadow")
    assert first.result.strategy == "shadow"
    second = train(toy_data, POLICY, 0, tmp_path / "second", tmp_path / "first", "incremental")
    assert second.result.strategy == "incremental"
    assert second.result.config["start"] == first.result.artifact_digest
    for strategy in ("rollback", "incremental"):
        with pytest.raises(TrainingError, match="E7305"):
            train(toy_data, POLICY, 0, tmp_path / "third", None, strategy)


def test_going_on_begins_with_the_champion_s_own_loss(toy_data: TrainingData, tmp_path: Path) -> None:
    first = train(toy_data, POLICY, 0, tmp_path / "first").result
    second = train(toy_data, POLICY, 0, tmp_path / "second", tmp_path / "first").result
    assert second.epochs[0].validation_loss == pytest.approx(first.final_loss, abs=1e-5)
    assert second.epochs[0].validation_loss < first.epochs[0].validation_loss
    assert second.final_loss <= second.epochs[0].validation_loss
