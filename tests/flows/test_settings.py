"""Settings: read in one place, wrong ones told all at once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands.gateway import gateway_config
from flows.logs import run_logs
from flows.settings import Settings, load_settings, prepare_environment, restored_environment
from registry.errors import SettingsError


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    with restored_environment():
        for name in [name for name in os.environ if name.startswith(("RATCHET_", "MLFLOW_TRACKING", "PREFECT_API"))]:
            monkeypatch.delenv(name)
        yield


def test_without_any_variable_everything_is_embedded_under_the_current_folder():
    settings = load_settings()
    assert settings.home == Path(".ratchet")
    assert settings.embedded
    assert settings.tracking_uri == f"sqlite:///{Path.cwd()}/.ratchet/mlflow/mlflow.db"
    assert settings.runner == "threads"
    assert settings.workers >= 2


def test_variables_are_read_and_the_command_line_goes_over_them(monkeypatch):
    monkeypatch.setenv("RATCHET_HOME", "/from/variable")
    monkeypatch.setenv("RATCHET_WORKERS", "3")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000/")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    assert load_settings(home=None, debug=None).home == Path("/from/variable")
    settings = load_settings(home=Path("/from/option"))
    assert (settings.home, settings.workers) == (Path("/from/option"), 3)
    assert settings.tracking_uri == "http://mlflow:5000"
    assert not settings.embedded


def test_an_empty_variable_is_no_setting(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setenv("RATCHET_RUNNER", "")
    assert load_settings().embedded


def test_every_problem_is_told_at_once_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.setenv("RATCHET_RUNER", "dask")
    monkeypatch.setenv("RATCHET_RUNNER", "gpu")
    monkeypatch.setenv("RATCHET_WORKERS", "0")
    monkeypatch.setenv("RATCHET_PARTITION_BYTES", "many")
    monkeypatch.setenv("PREFECT_API_URL", "prefect:4200")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith("E7800: ")
    assert "RATCHET_RUNER is no setting (did you mean RATCHET_RUNNER?)" in message
    for variable in ("RATCHET_RUNNER='gpu'", "RATCHET_WORKERS='0'", "RATCHET_PARTITION_BYTES='many'", "prefect:4200"):
        assert variable in message
    assert "\n" not in message


def test_a_dask_scheduler_without_the_runner_dask_is_a_contradiction(monkeypatch):
    monkeypatch.setenv("RATCHET_DASK_SCHEDULER", "tcp://10.0.0.1:8786")
    with pytest.raises(SettingsError, match="RATCHET_DASK_SCHEDULER is set but RATCHET_RUNNER is threads"):
        load_settings()
    monkeypatch.setenv("RATCHET_RUNNER", "dask")
    assert load_settings().dask_scheduler == "tcp://10.0.0.1:8786"


def test_every_setting_is_documented(repository):
    documented = (repository / "docs" / "operations.md").read_text()
    assert not [name for name in Settings.model_fields if f"`RATCHET_{name.upper()}`" not in documented]


def test_a_gateway_is_told_its_limits_by_the_settings(tmp_path, monkeypatch):
    told = {"POLL_SECONDS": 0.5, "ANSWER_SECONDS": 9, "ANSWERS_AT_ONCE": 7, "MODEL_THREADS": 3, "CHAT_BYTES": 1000}
    told |= {"BATCH_BYTES": 2000, "REQUESTS_PER_SECOND": 5, "BURST": 6, "ENDPOINT_KEYS": str(tmp_path / "keys")}
    for name, value in told.items():
        monkeypatch.setenv(f"RATCHET_GATEWAY_{name}", str(value))
    config = gateway_config(load_settings(home=tmp_path))
    assert {name: str(getattr(config, name.lower())) for name in told} == {
        name: str(type(getattr(config, name.lower()))(value)) for name, value in told.items()
    }
    monkeypatch.setenv("RATCHET_GATEWAY_BURST", "0")
    with pytest.raises(SettingsError, match="RATCHET_GATEWAY_BURST='0'"):
        load_settings()


def test_the_prepared_environment_is_embedded_quiet_and_free_of_telemetry(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_KEY", "of another server")
    monkeypatch.setenv("DO_NOT_TRACK", "1")  # MLflow does not understand this form
    prepare_environment(load_settings(home=tmp_path))
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert "PREFECT_API_KEY" not in os.environ
    assert load_settings().mlflow_uri is None  # a child finds the same embedded MLflow, not a server


def test_with_a_server_prefect_keeps_its_own_home_and_key(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    monkeypatch.setenv("PREFECT_API_KEY", "mine")
    prepare_environment(load_settings(home=tmp_path))
    assert os.environ["PREFECT_API_KEY"] == "mine"
    assert "PREFECT_HOME" not in os.environ


def test_a_log_line_has_the_run_id_and_what_was_said_beside_the_message(tmp_path, capsys):
    settings = load_settings(home=tmp_path)
    with run_logs(settings, "run-1") as path:
        logging.getLogger("tasks.filtering").info("accepted", extra={"examples": 12, "domain": "travel"})
        logging.getLogger("registry.home").warning("disk nearly full: %d %%", 97)
        logging.getLogger("elsewhere").warning("not ours")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["run_id"], line["level"], line["message"]) for line in lines] == [
        ("run-1", "INFO", "accepted"),
        ("run-1", "WARNING", "disk nearly full: 97 %"),
    ]
    assert (lines[0]["examples"], lines[0]["domain"]) == (12, "travel")
    shown = capsys.readouterr()
    assert "disk nearly full: 97 %" in shown.err
    assert "accepted" not in shown.err
    assert shown.out == ""


def test_settings_are_read_without_importing_prefect_or_mlflow():
    code = "import sys, flows.engine, flows.logs, flows.runners; print({'prefect', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
