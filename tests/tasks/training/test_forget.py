"""A model that forgets what somebody said: the turns go, the rest answers as before."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.errors import TrainingError
from tasks.training.backend import TrainingData, load_trained
from tasks.training.forget import NOTHING, forget
from tasks.training.index import make_cells
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend

PAIRS = [
    ("where is it", "on its way"),
    ("is it late", "on its way"),
    ("who are you", "zoe's friend"),
    ("and now", "bye"),
]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    rows = [
        json.dumps([{"role": "user", "content": f"{ask} {n}"}, {"role": "assistant", "content": answer}])
        for n in range(4)
        for ask, answer in PAIRS
    ]
    table = pa.table({
        "example_id": [str(n) for n in range(len(rows))], "messages": rows, "domain": ["d"] * len(rows),
        "composite": [1.0] * len(rows),
    })  # fmt: skip
    out = tmp_path_factory.mktemp("artifact") / "adapter"
    run_job(SimulatedBackend(), TrainingData(table, table, "d"), TrainingPolicy(epochs=2), 0, out)
    return out


def turns(path):
    table = pq.read_table(path / "turns.parquet")
    return dict(zip(table["turn"].to_pylist(), table["count"].to_pylist(), strict=True))


def test_a_turn_that_nobody_else_said_goes(artifact, tmp_path):
    assert turns(artifact) == {"on its way": 8, "zoe's friend": 4, "bye": 4}
    assert forget(artifact, {"zoe's friend": 4, "never said": 1}, tmp_path / "new") == 1
    assert turns(tmp_path / "new") == {"on its way": 8, "bye": 4}
    asked = [[{"role": "user", "content": text}] for text in ("who are you 1", "where is it 2")]
    answers = load_trained(tmp_path / "new").answer(asked).responses
    assert answers[1] == "on its way"
    assert "zoe's friend" not in answers


def test_a_turn_that_others_said_too_stays_with_their_count(artifact, tmp_path):
    assert forget(artifact, {"on its way": 3}, tmp_path / "new") == 1
    assert turns(tmp_path / "new")["on its way"] == 8 - 3


def test_the_weights_stay_byte_for_byte(artifact, tmp_path):
    forget(artifact, {"bye": 4}, tmp_path / "new")
    old, new = (path / "adapter.safetensors" for path in (artifact, tmp_path / "new"))
    assert old.read_bytes() == new.read_bytes()


def test_nothing_is_written_where_nothing_was_said(artifact, tmp_path):
    assert forget(artifact, {"never said": 1}, tmp_path / "new") == 0
    assert not (tmp_path / "new").exists()


def test_a_model_that_knows_nothing_any_more_still_loads(artifact, tmp_path):
    assert forget(artifact, turns(artifact), tmp_path / "new") == 3
    answers = load_trained(tmp_path / "new").answer([[{"role": "user", "content": "hello"}]])
    assert answers.responses == [NOTHING]


def test_the_cells_of_a_large_index_lose_the_same_turns(artifact, tmp_path):
    from tasks.training.artifact import read_artifact, write_artifact
    from tasks.training.pairs import KnownTurns

    texts = [f"turn {n:05d}" for n in range(5000)]
    read = read_artifact(artifact)
    keys = np.random.default_rng(0).standard_normal((5000, 8), dtype=np.float32)
    cells = make_cells(keys / np.linalg.norm(keys, axis=1, keepdims=True), 0)
    known = KnownTurns(texts, np.ones(5000, dtype=np.int64), ["d"] * 5000)
    config = read.config.model_dump(exclude={"rank", "scale", "turns", "files"})
    write_artifact(tmp_path / "large", config, read.adapter, known, cells, cells[::-1].copy())
    assert forget(tmp_path / "large", {"turn 00000": 1, "turn 04999": 1}, tmp_path / "new") == 2
    left = read_artifact(tmp_path / "new")
    assert left.turns.texts == texts[1:-1]
    assert left.cells.tolist() == cells[1:-1].tolist()
    assert left.base_cells.tolist() == cells[::-1][1:-1].tolist()


def test_a_backend_that_cannot_forget_is_told(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"backend": "tests.flows.toy_backend:Parrot"}))
    with pytest.raises(TrainingError, match="E7323"):
        forget(tmp_path, {"hello": 1}, tmp_path / "new")
