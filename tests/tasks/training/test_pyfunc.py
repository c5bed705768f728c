"""The artifact as MLflow serves it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import TrainingError
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.serving import load_predictor
from tasks.training.simulated import SimulatedBackend

CODE = Path(__file__).parents[3] / "tasks" / "training" / "pyfunc.py"
SAVE = """
import sys, mlflow.pyfunc
mlflow.pyfunc.save_model(
    path=sys.argv[1], python_model=sys.argv[2], artifacts={"adapter": sys.argv[3]}, pip_requirements=["ratchet-learn"]
)
"""
LOAD = """
import json, sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = [{"prompt": "cancel my booking"}, {"messages": [{"role": "user", "content": "the weather in town"}]}]
first = model.predict(rows).to_dict(orient="records")
frame = pandas.DataFrame({"messages": [json.dumps(row.get("messages")) if "messages" in row else
    json.dumps([{"role": "user", "content": row["prompt"]}]) for row in rows]})
print(json.dumps([first, model.predict(frame).to_dict(orient="records")]))
"""


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=arguments[0].parent)


def test_mlflow_saves_loads_and_asks_the_model_in_processes_of_their_own_without_a_word(
    toy_data: TrainingData, tmp_path: Path
) -> None:
    run_job(SimulatedBackend(), toy_data, TrainingPolicy(epochs=2), 0, tmp_path / "adapter")
    saved = run(SAVE, tmp_path / "model", CODE, tmp_path / "adapter")
    assert (saved.returncode, saved.stderr) == (0, "")
    done = run(LOAD, tmp_path / "model")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = json.loads(done.stdout.splitlines()[-1])
    assert first == second
    own = load_predictor(tmp_path / "adapter").answer([[{"role": "user", "content": "cancel my booking"}]])
    assert first[0]["response"] == own.responses[0]
    assert first[0]["confidence"] == pytest.approx(float(own.confidences[0]), abs=1e-9)


def test_a_row_that_asks_nothing_is_named() -> None:
    from tasks.training.pyfunc import conversations

    assert conversations({"prompt": "hi"}) == [[{"role": "user", "content": "hi"}]]
    assert conversations(["hi"]) == [[{"role": "user", "content": "hi"}]]
    with pytest.raises(TrainingError, match="E7330: row 1"):
        conversations([{"prompt": "hi"}, {"question": "?"}])
