"""`ratchet up` with real servers: all healthy, shared by what runs beside it, kept alive, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from flows.keeper import MARK, end, marked
from flows.services import FIRST_WAIT, LONGEST_WAIT, Watched, choose_port, last_words

STATUS = [sys.executable, "-m", "flows.cli", "status", "--json", "--home"]


def status(home, env: dict[str, str] | None = None) -> dict:
    environment = {**os.environ, **(env or {})}
    done = subprocess.run([*STATUS, str(home)], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def gone(running, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while running.left() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running.left()


@pytest.fixture(scope="module")
def running(ratchet_up):
    return ratchet_up()


@pytest.mark.server
def test_it_starts_everything_waits_until_it_is_healthy_and_says_where(running):
    said = "".join(running.lines)
    found = status(running.home)["services"]
    for name in ("prefect", "mlflow", "worker", "gateway"):
        assert f"{running.services[name]['url']}\n" in said
        assert found[name]["state"] == "healthy"
    print(f"up in {running.seconds:.1f} s")


@pytest.mark.server
def test_prefect_shows_its_pages_and_mlflow_its_own(running):
    for name in ("prefect", "mlflow"):
        with urllib.request.urlopen(running.services[name]["url"], timeout=10) as page:
            assert b"<html" in page.read().lower()


@pytest.mark.server
def test_every_deployment_with_a_schedule_has_runs_to_come(running):
    deployed = {each["id"]: each for each in running.ask("deployments/filter", {})}
    scheduled = {each["name"] for each in deployed.values() if any(s["active"] for s in each["schedules"])}
    assert scheduled == {"retrain", "judge", "verify"}
    deadline = time.monotonic() + 20
    coming: set[str] = set()
    while coming < scheduled and time.monotonic() < deadline:
        runs = running.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        coming = {deployed[run["deployment_id"]]["name"] for run in runs}
        time.sleep(0.2)
    assert coming == scheduled


@pytest.mark.server
def test_the_worker_runs_a_deployment_in_the_home(running):
    run = running.run("verify/verify")
    assert run["state_type"] == "COMPLETED", run["state"]


@pytest.mark.server
def test_a_second_run_of_what_looks_at_the_clock_is_cancelled_and_not_queued(running):
    verify = running.ask("deployments/name/verify/verify")["id"]
    made = [running.ask(f"deployments/{verify}/create_flow_run", {})["id"] for _ in range(2)]
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        states = sorted(running.ask(f"flow_runs/{each}")["state_type"] for each in made)
        if states == ["CANCELLED", "COMPLETED"]:
            break
        time.sleep(0.1)
    assert states == ["CANCELLED", "COMPLETED"]


@pytest.mark.server
def test_a_second_one_says_who_holds_the_home(running, ratchet_up):
    with pytest.raises(AssertionError, match=f"E7823: up is held by process {running.process.pid}"):
        ratchet_up(home=running.home)


@pytest.mark.server
@pytest.mark.slow
def test_a_run_beside_it_joins_its_server(running, make_sample, tmp_path):
    events = make_sample(tmp_path / "events.jsonl", "--events", 300)
    command = [sys.executable, "-m", "flows.cli", "learn", str(events), "--home", str(running.home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    run = running.ask(f"flow_runs/{json.loads(done.stdout)['flow_run_id']}")
    assert (run["state_type"], run["deployment_id"]) == ("COMPLETED", None)
    assert status(running.home)["runs"][0]["event"] == "completed"


@pytest.mark.server
def test_what_the_settings_name_is_used_and_not_started(running, ratchet_up):
    urls = {name: running.services[name]["url"] for name in ("prefect", "mlflow")}
    env = {"PREFECT_API_URL": f"{urls['prefect']}/api", "MLFLOW_TRACKING_URI": urls["mlflow"]}
    other = ratchet_up("--no-gateway", env=env)
    assert {name: other.services[name]["pid"] for name in urls} == {"prefect": None, "mlflow": None}
    assert {name: other.services[name]["url"] for name in urls} == urls
    assert not (other.home / "mlflow" / "mlflow.db").exists()
    other.stop()
    assert gone(other)


@pytest.mark.server
@pytest.mark.parametrize("name", ["worker", "mlflow", "prefect", "gateway"])
def test_what_dies_is_started_again_at_the_same_address(running, name):
    os.kill(running.services[name]["pid"], signal.SIGKILL)
    running.wait_for(f"{name} ended")
    deadline = time.monotonic() + 40
    while status(running.home)["services"][name]["state"] != "healthy":
        assert time.monotonic() < deadline, "".join(running.lines)
        time.sleep(0.2)


@pytest.mark.server
@pytest.mark.slow
def test_killed_it_leaves_no_process_and_its_runs_are_crashed_at_the_next_start_which_ctrl_c_stops_without_a_trace(
    running, ratchet_up, make_sample, tmp_path
):
    events = make_sample(tmp_path / "events.jsonl", "--events", 3000)
    learn = running.ask("deployments/name/learn/learn")
    made = running.ask(f"deployments/{learn['id']}/create_flow_run", {"parameters": {"events": [str(events)]}})
    while running.ask(f"flow_runs/{made['id']}")["state_type"] != "RUNNING":
        time.sleep(0.05)
    running.stop(signal.SIGKILL)
    assert gone(running)
    assert status(running.home)["up"] is None

    second = ratchet_up(home=running.home)
    assert second.ask(f"flow_runs/{made['id']}")["state_type"] == "CRASHED"
    seconds = second.stop()
    assert second.process.returncode == 0, "".join(second.lines)
    assert second.left() == []
    assert not (second.home / "up.json").exists()
    print(f"stopped in {seconds:.1f} s")


@pytest.mark.server
@pytest.mark.slow
def test_all_three_databases_may_be_postgresql(ratchet_up, postgres, make_sample, tmp_path):
    events = make_sample(tmp_path / "events.jsonl", "--events", 300)
    env = {
        "RATCHET_DATABASE_URL": postgres.fresh(),
        "MLFLOW_TRACKING_URI": postgres.fresh(),
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.fresh(),
    }
    running = ratchet_up(env=env)
    run = running.run("learn/learn", events=[str(events)], model="support")
    assert run["state_type"] == "COMPLETED", run["state"]
    assert status(running.home, env)["models"][0]["model"] == "support"
    kept = [path for path in running.home.rglob("*.db")]
    assert kept == [], "everything is in PostgreSQL"
    assert list(running.home.glob("mlflow/artifacts/*"))
    running.stop()
    assert gone(running)


# --- without servers -----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_replaced_by_one_that_is_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port("127.0.0.1", port) not in (port, 0)
    assert choose_port("127.0.0.1", 0) != 0


def test_marked_processes_are_found_and_ended_whatever_session_they_moved_to():
    mark = f"/nowhere:{os.getpid()}"
    stubborn = (
        "import signal, os, time; signal.signal(15, signal.SIG_IGN); os.setsid(); print(1, flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stubborn!r}])"]
    process = subprocess.Popen(command, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"1\n"
    assert len(marked(mark)) == 2
    assert marked(f"{mark}0") == []
    assert end(mark, grace=0.5) == 1  # the one that does not listen
    process.wait(timeout=5)
    assert marked(mark) == []


def test_a_process_that_dies_again_and_again_is_started_ever_more_seldom(monkeypatch):
    class Dying:
        name, starts = "toy", 0

        def alive(self):
            return False

        def why(self):
            return "no reason"

        def bury(self):
            pass

        def start(self):
            self.starts += 1

    clock = [0.0]
    monkeypatch.setattr("flows.services.time.monotonic", lambda: clock[0])
    part, said = Dying(), []
    watched = Watched(part)
    for _ in range(6000):
        clock[0] += 0.1
        watched.look(said.append)
    waits = [float(line.rsplit(" ", 2)[1]) for line in said]
    assert waits[:6] == [FIRST_WAIT, 2.0, 4.0, 8.0, 16.0, LONGEST_WAIT]
    assert set(waits[6:]) == {LONGEST_WAIT}
    assert part.starts == len(said) - 1 or part.starts == len(said)


def test_the_last_words_of_a_log_are_words(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("first\n│ Invalid value │\n╰────────╯\n\n")
    assert last_words(log) == "Invalid value"
    assert last_words(tmp_path / "none.log") == ""
