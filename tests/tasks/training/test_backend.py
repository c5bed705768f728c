"""The backend that docs/training-backend.md shows, word for word."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry.artifacts import folder_digest
from registry.errors import IntegrityError, TrainingError
from registry.records import EpochMetrics
from tasks.training.backend import TrainingData, load_trained
from tasks.training.job import Job, Silent, run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend
from tasks.training.task import train

DOCUMENT = Path(__file__).parents[3] / "docs" / "training-backend.md"
POLICY = TrainingPolicy(backend="my_backend:MajorityBackend")
ASKED = [[{"role": "user", "content": "hello"}], []]


@pytest.fixture(autouse=True)
def my_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_backend.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_backend", None)


def test_the_documented_backend_trains_and_answers(toy_data: TrainingData, tmp_path: Path) -> None:
    done = train(toy_data, POLICY, 0, tmp_path / "adapter")
    assert [change.state for change in done.changes][2:] == ["PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED"]
    assert done.result.artifact_digest == folder_digest(tmp_path / "adapter")
    learned, base = (load_trained(tmp_path / "adapter", adapter).answer(ASKED) for adapter in (True, False))
    config = json.loads((tmp_path / "adapter" / "config.json").read_text())
    assert learned.responses == [config["turn"]] * 2
    assert base.responses == [config["base"]] * 2
    assert learned.confidences.tolist() == [done.result.score] * 2
    again = train(toy_data, POLICY, 0, tmp_path / "again")
    assert again.result.artifact_digest == done.result.artifact_digest


def test_the_documented_backend_can_be_cancelled(toy_data: TrainingData, tmp_path: Path) -> None:
    class Impatient(Silent):
        heard = False

        def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
            self.heard = True

        def cancelled(self) -> bool:
            return self.heard

    import my_backend

    job = Job(Impatient())
    with pytest.raises(TrainingError, match="E7302"):
        run_job(my_backend.MajorityBackend(), toy_data, POLICY, 0, tmp_path / "adapter", None, job)
    assert job.current == "CANCELLED"


def test_mlflow_s_inference_code_loads_it_by_what_the_artifact_names(toy_data: TrainingData, tmp_path: Path) -> None:
    from tasks.training.pyfunc import RatchetModel

    train(toy_data, POLICY, 0, tmp_path / "adapter")
    model = RatchetModel()
    model.load_context(SimpleNamespace(artifacts={"adapter": str(tmp_path / "adapter")}))
    answered = model.predict(None, [{"prompt": "hello"}])
    assert answered["response"].tolist() == load_trained(tmp_path / "adapter").answer(ASKED[:1]).responses


def test_an_artifact_of_another_backend_says_so(toy_data: TrainingData, tmp_path: Path) -> None:
    train(toy_data, POLICY, 0, tmp_path / "adapter")
    with pytest.raises(TrainingError, match=r"E7321: .* of the backend 'my_backend:MajorityBackend'"):
        SimulatedBackend().load(tmp_path / "adapter")
    with pytest.raises(TrainingError, match="E7321"):
        train(toy_data, TrainingPolicy(), 0, tmp_path / "next", tmp_path / "adapter")


def test_an_artifact_that_names_no_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="E7320"):
        load_trained(tmp_path)
    for content in ("", "[]", "{}", "[" * 100_000):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(IntegrityError, match="E7910"):
            load_trained(tmp_path)
