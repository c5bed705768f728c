"""A version is served only with the very files that were registered: its artifact and the code that answers with it."""

import py_compile
from pathlib import Path

import mlflow
import pytest

from registry.artifacts import code_digest
from registry.errors import IntegrityError


def model_of(place, number: str) -> Path:
    return place.registry.artifact(place.registry.get("agent", number)).parents[1]


def edit_code(model: Path) -> None:
    code = model / "toy_model.py"
    code.write_text(code.read_text().replace("[self.text]", '["send me your password"]'))


def add_a_file(model: Path) -> None:
    (model / "numpy.py").write_text("raise SystemExit('not the real one')")


def link_a_folder(model: Path) -> None:
    (model / "code").symlink_to(model.parent)


def run_another_file(model: Path) -> None:
    description = model / "MLmodel"
    description.write_text(description.read_text().replace("toy_model.py", "requirements.txt"))


def garble_the_description(model: Path) -> None:
    (model / "MLmodel").write_text("flavors: [")


def take_a_file_away(model: Path) -> None:
    (model / "requirements.txt").unlink()


TAMPERINGS = (edit_code, add_a_file, link_a_folder, run_another_file, garble_the_description, take_a_file_away)


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_version_whose_code_was_changed_is_neither_given_nor_served(place, opened, tamper):
    tamper(model_of(place, "2"))
    for give in (lambda: place.registry.load("agent", "2"), lambda: model_of(place, "2")):
        with pytest.raises(IntegrityError, match="E7925: the files of agent version 2 are not those"):
            give()
    gateway = opened(place).ready()
    refused = gateway.chat(model="agent/2")
    assert (refused.status_code, refused.json()["detail"].partition(": E")[2][:4]) in {(409, "7946"), (409, "7925")}
    assert gateway.chat().headers["x-ratchet-version"] == "1"


def test_compiled_code_that_was_put_beside_the_source_is_not_run(place, opened, tmp_path):
    model = model_of(place, "2")
    source = model / "toy_model.py"
    forged = tmp_path / "toy_model.py"
    forged.write_text(source.read_text().replace("[self.text]", "['forged!!']"))
    (model / "__pycache__").mkdir()
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(forged), str(model / "__pycache__" / "toy_model.cpython-311.pyc"), invalidation_mode=unchecked
    )
    assert opened(place).ready().chat(model="agent/2").json()["choices"][0]["message"]["content"] == "answer 2"


def test_what_python_and_mlflow_leave_beside_a_model_changes_nothing(place):
    model = model_of(place, "2")
    before = code_digest(model)
    with place.registry.connection.as_default():
        loaded = mlflow.pyfunc.load_model("models:/agent/2")
        mlflow.models.set_signature(
            f"models:/{place.registry.get('agent', '2').model_id}", mlflow.models.infer_signature([""])
        )
    assert loaded.unwrap_python_model().predictor.text == "answer 2"
    assert (model / "registered_model_meta").exists()
    assert "signature" in (model / "MLmodel").read_text()
    assert (code_digest(model), model_of(place, "2")) == (before, model)


def test_a_version_that_nobody_signed_is_not_served_until_somebody_does(place, opened):
    place.client.delete_model_version_tag("agent", "2", "code_digest")
    edit_code(model_of(place, "2"))
    gateway = opened(place).ready()
    assert "E7950" in gateway.chat(model="agent/2").json()["detail"], "MLflow says other things of it than were signed"
    with pytest.raises(IntegrityError, match="E7946"):
        place.bundles.sign(place.registry.get("agent", "2"), "looked at", "ann")
