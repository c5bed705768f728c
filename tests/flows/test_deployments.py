"""prefect.yaml on a real server: every deployment is accepted, and a process worker runs them from a checkout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "gateway", "registry")


def deployments() -> list[dict[str, Any]]:
    return yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what a clean checkout has, so that nothing of the working folder can help."""
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(REPOSITORY / "prefect.yaml", tmp_path / "prefect.yaml")
    return tmp_path


def test_every_deployment_says_what_it_does_and_names_a_flow_that_exists():
    for deployment in deployments():
        path, function = deployment["entrypoint"].split(":")
        assert f"def {function}(" in (REPOSITORY / path).read_text(), deployment["name"]
        assert deployment["description"]
        assert deployment["tags"]
        assert deployment["work_pool"]["name"] == "ratchet"
    names = {"learn", "retrain", "judge", "approve", "rollback", "verify"}
    assert {f"flows/{name}.py:{name}" for name in names} == {each["entrypoint"] for each in deployments()}


def test_what_runs_by_the_clock_runs_as_often_as_is_said_and_a_second_run_at_once_is_cancelled_not_queued():
    by_name = {deployment["name"]: deployment for deployment in deployments()}
    scheduled = {name: each["schedules"][0]["cron"] for name, each in by_name.items() if "schedules" in each}
    assert scheduled == {"retrain": "5 * * * *", "judge": "*/15 * * * *", "verify": "15 4 * * *"}
    for name in scheduled:
        assert by_name[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    for name in ("learn", "approve"):
        assert by_name[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert "concurrency_limit" not in by_name["rollback"]


def test_the_forms_have_a_type_and_a_sentence_for_every_parameter():
    import importlib

    for deployment in deployments():
        path, function = deployment["entrypoint"].split(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
        for name, schema in flow.parameters.properties.items():
            assert schema.get("description"), f"{deployment['name']}: {name} has no description"
            assert {"type", "anyOf", "enum", "$ref"} & set(schema), f"{deployment['name']}: {name} has no type"


def test_the_parameters_of_the_deployments_are_accepted_by_their_flows():
    import importlib

    for deployment in deployments():
        path, function = deployment["entrypoint"].split(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
        known = set(flow.parameters.properties)
        assert set(deployment.get("parameters", {})) <= known, deployment["name"]


@pytest.mark.server
@pytest.mark.slow
def test_deploy_all_and_a_process_worker_run_the_main_job_from_a_clean_checkout(
    prefect_api, make_sample, checkout, tmp_path
):
    environment = {**os.environ, "PREFECT_API_URL": prefect_api, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    environment["PREFECT_HOME"] = str(tmp_path / "client")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=150,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    events = make_sample(tmp_path / "events.jsonl", "--events", 800)
    run("-m", "prefect", "--no-prompt", "work-pool", "create", "ratchet", "--type", "process", "--overwrite")
    run("-m", "prefect", "--no-prompt", "deploy", "--all")
    home = tmp_path / "home"
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "ratchet", "--limit", "1"],
        cwd=checkout, env={**environment, "RATCHET_HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        answer = json.loads(run(str(Path(__file__).with_name("ask_deployments.py")), str(events)))
    finally:
        os.killpg(worker.pid, signal.SIGTERM)  # it ignores the interrupt of a background process
        worker.wait(timeout=30)
    assert answer["deployments"] == sorted(f"{d['entrypoint'].split(':')[1]}/{d['name']}" for d in deployments())
    assert answer["schedules"]["judge/judge"] == [True]
    assert answer["schedules"]["learn/learn"] == []
    assert answer["state"] == "COMPLETED", answer["message"]
    assert (home / "datasets" / "deployed" / "1.0.0" / "dataset.json").exists()
