import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from registry.connection import connect
from registry.errors import IntegrityError, SettingsError
from registry.home import Home

LOAD = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
print(mlflow.pyfunc.load_model("models:/support@champion").predict(["a", "b"]))
"""


def load_elsewhere(home, cwd):
    """Load the champion as somebody does who has only MLflow and this package."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, home.tracking_uri],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest
from pathlib import Path
bench = conftest.open_bench(Path(sys.argv[2]), Path(sys.argv[3]))
bench.champion("one")
bench.champion("two", answer="hello")
bench.transitions.rollback("support", "worse", conftest.ANN)
bench.transitions.rollback("support", "better after all", conftest.ANN, to="2")
bench.registry.load("support", "champion")
"""


@pytest.fixture
def made(tmp_path, template, toys):
    """A home that another process made, and what that process said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment |= {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}  # as flows.settings does
    environment |= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    (tmp_path / "cwd").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MAKE, str(toys.code.parent), str(tmp_path / "home"), str(template)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "cwd",
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return Home(tmp_path / "home")


def test_a_moved_home_serves_its_champion_and_never_looks_back(made, toys, tmp_path):
    assert not list((tmp_path / "cwd").iterdir()), "nothing is left in the working directory"
    moved = tmp_path / "elsewhere" / "deep"
    moved.parent.mkdir()
    made.root.rename(moved)
    again = toys.open(moved)
    assert again.registry.load("support", "champion").is_relative_to(moved)
    report = again.registry.tracking.artifact(again.registry.get("support", "2").run_id, "decision.json")
    assert report.is_relative_to(moved)
    assert report.is_file()
    assert load_elsewhere(again.home, tmp_path) == "['hello', 'hello']"
    assert again.champion("three").version == "3"  # and goes on learning there
    assert again.transitions.rollback("support", "worse", toys.actor).version == "2"
    again.history.close()
    assert not made.root.exists()
    with sqlite3.connect(again.home.mlflow_database) as database:
        assert str(made.root) not in "\n".join(database.iterdump())


def test_a_copy_and_its_original_never_touch_each_other(bench, toys, tmp_path):
    bench.champion("one")
    copied = tmp_path / f"{bench.home.root.name}-copy"  # a path that begins with the original's
    shutil.copytree(bench.home.root, copied)
    again = toys.open(copied)
    again.champion("two")
    assert bench.registry.champion("support").version == "1"
    assert [line.version for line in bench.history.of("support")] == ["1", "1", "1"]
    shutil.rmtree(bench.home.root)
    assert again.registry.load("support", "1").is_relative_to(copied)
    again.history.close()


def test_a_fresh_store_starts_from_the_template_and_keeps_nothing_of_it(tmp_path, template):
    home = Home(tmp_path / "home").create()
    started = time.monotonic()
    connection = connect(home, template=template)
    assert time.monotonic() - started < 3.0  # a migration alone takes more
    assert connection.embedded
    found = connection.client.get_experiment(connection.experiment_id)
    assert found.artifact_location == str(home.artifacts)
    assert connect(home).experiment_id == connection.experiment_id


def test_a_server_that_is_gone_is_one_clear_line_at_once(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(SettingsError) as caught:
        connect(Home(tmp_path).create(), uri)
    assert time.monotonic() - started < 2
    assert str(caught.value).startswith(f"E7830: the MLflow server {uri} does not answer (")
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up_after_the_timeout(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(SettingsError, match="E7830"):
            connect(Home(tmp_path).create(), f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)


def test_a_store_that_cannot_be_written_is_one_clear_line(bench, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow takes the address for a file's name and makes its folder
    database = bench.home.mlflow_database
    bench.candidate("one")
    uri = f"sqlite:///file:{database}?mode=ro&uri=true"  # root may write to any file, but not through this
    capfd.readouterr()
    with pytest.raises(SettingsError, match=r"E7831: MLflow at .* cannot be used: .*readonly") as caught:
        connect(bench.home, uri, experiment="another")
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_a_store_that_is_damaged_is_noticed(tmp_path):
    home = Home(tmp_path).create()
    home.mlflow_database.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(IntegrityError, match="E7922"):
        connect(home)


def test_a_folder_in_the_place_of_the_store_is_refused(tmp_path):
    home = Home(tmp_path).create()
    home.mlflow_database.mkdir()
    with pytest.raises(SettingsError, match="E7831"):
        connect(home)


def test_the_defaults_of_the_process_are_left_as_they_were(bench):
    import mlflow

    before = (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI"))
    bench.candidate("one")
    assert (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI")) == before
