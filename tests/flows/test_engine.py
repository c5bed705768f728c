"""The embedded engine: no task run is lost, nothing is left behind, whatever ends a run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows import templates
from flows.engine import engine
from flows.locks import FileLock
from flows.server import ADDRESS, SERVER_LOCK, read_address
from flows.settings import load_settings
from registry.errors import IntegrityError, SettingsError

TOY = Path(__file__).with_name("toy_run.py")


def start(home: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(TOY), str(home), *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    return json.loads(out)


def rows(home: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return database.execute(query).fetchall()


def task_runs(home: Path) -> Counter[tuple[str, str]]:
    """Count the recorded task runs by state of their flow run and of themselves."""
    return Counter(
        rows(home, "SELECT f.state_type, t.state_type FROM task_run t JOIN flow_run f ON f.id=t.flow_run_id")
    )


def gone(pid: int, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    return False


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def server_of(home: Path) -> int:
    folder = home / "prefect"
    with FileLock(folder / SERVER_LOCK) as lock:
        address = read_address(folder, lock)
    assert address is not None
    return address.pid


@pytest.mark.server
def test_every_submitted_task_run_is_recorded_and_the_server_is_gone_when_the_run_ends(tmp_path):
    done = finish(start(tmp_path, 150))
    assert done["total"] == 150 * 151 / 2  # 1 + 2 + … + 150
    assert task_runs(tmp_path) == {("COMPLETED", "COMPLETED"): 150}
    assert gone(done["server"], within=0.2)
    assert (tmp_path / "logs" / "prefect-server.log").read_text() == ""


@pytest.mark.server
def test_two_runs_at_once_in_one_home_share_a_server_that_outlives_the_shorter_one(tmp_path):
    short, long = start(tmp_path, 4), start(tmp_path, 6, 1)
    first, second = finish(short), finish(long)
    assert first["server"] == second["server"]
    assert task_runs(tmp_path) == {("COMPLETED", "COMPLETED"): 10}
    assert gone(second["server"], within=2)  # it may have been the child of the run that ended first


@pytest.mark.server
def test_after_sigkill_the_server_ends_by_itself_and_the_next_run_marks_the_lost_one_crashed(tmp_path):
    under_way = tmp_path / "under-way"
    killed = start(tmp_path, 3, 60, under_way)
    wait_for(under_way)
    server = server_of(tmp_path)
    killed.kill()
    killed.communicate()
    assert gone(server)
    (tmp_path / "prefect" / ADDRESS).write_text(f"{os.getpid()} 9\n")  # a stale address, even of a living process
    assert finish(start(tmp_path, 5))["total"] == 15
    assert task_runs(tmp_path)[("COMPLETED", "COMPLETED")] == 5
    assert rows(tmp_path, "SELECT state_type, COUNT(*) FROM flow_run GROUP BY 1") == [("COMPLETED", 1), ("CRASHED", 1)]
    assert all(state not in {"RUNNING", "PENDING"} for _, state in task_runs(tmp_path))


@pytest.mark.server
def test_an_interrupted_run_is_recorded_as_ended_and_leaves_no_process(tmp_path):
    runs = []
    for number in (signal.SIGINT, signal.SIGTERM):
        home, under_way = tmp_path / number.name, tmp_path / f"{number.name} under way"
        runs.append((number, home, under_way, start(home, 2, 3, under_way)))
    servers = []
    for number, home, under_way, run in runs:
        wait_for(under_way)
        servers.append(server_of(home))
        run.send_signal(number)
    for (_, home, _, run), server in zip(runs, servers, strict=True):
        run.communicate(timeout=60)
        assert run.returncode != 0
        assert gone(server)
        assert rows(home, "SELECT state_type FROM flow_run") == [("CRASHED",)]


@pytest.mark.server
def test_a_killed_server_is_replaced_by_the_next_run(tmp_path):
    settings = load_settings(home=tmp_path)
    with engine(settings) as live:
        pid = live.server_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        with pytest.raises(SettingsError, match="E7805"):
            live.ready()
    with engine(settings) as live:
        live.ready()
        assert live.server_pid != pid


@pytest.mark.parametrize("damaged", [os.urandom(50_000), b"SQLite format", b"{}"])
def test_a_database_that_is_none_is_named_before_a_server_starts(tmp_path, damaged):
    path = tmp_path / "prefect" / "prefect.db"
    path.parent.mkdir()
    path.write_bytes(damaged)
    begun = time.monotonic()
    with pytest.raises(IntegrityError, match=f"E7930: {path} is damaged: it is not an SQLite database; delete"):
        engine(load_settings(home=tmp_path)).__enter__()
    assert time.monotonic() - begun < 2
    assert not (path.parent / SERVER_LOCK).exists()


@pytest.mark.server
def test_a_server_that_cannot_read_its_database_is_told_within_seconds_and_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.embedded.BROKEN_SECONDS", 0.5)
    path = tmp_path / "prefect" / "prefect.db"
    path.parent.mkdir()
    path.write_bytes(templates.SQLITE + bytes(50_000))
    templates.mark_migrated(path.parent)
    begun = time.monotonic()
    with engine(load_settings(home=tmp_path)) as live:
        pid = live.server_pid
        with pytest.raises(
            IntegrityError, match=r"E7930: .* is damaged: the Prefect server answers 5\d\d to a question"
        ):
            live.ready()
    assert time.monotonic() - begun < 30
    assert pid is not None
    assert gone(pid, within=2)
    path.unlink()
    with engine(load_settings(home=tmp_path)) as live:
        live.ready()


def test_an_engine_that_was_never_needed_ends_at_once_and_leaves_the_environment_as_it_was(tmp_path):
    before = dict(os.environ)
    begun = time.monotonic()
    with engine(load_settings(home=tmp_path)) as live:
        pid = live.server_pid
        assert os.environ["PREFECT_API_URL"] == live.api_url
    assert gone(pid, within=0.2)
    assert time.monotonic() - begun < 5
    assert dict(os.environ) == before


def test_the_engine_of_a_home_cannot_be_opened_twice_in_one_process(tmp_path):
    settings = load_settings(home=tmp_path)
    with engine(settings), pytest.raises(SettingsError, match="E7807"), engine(settings):
        pass
    with engine(settings):
        pass  # and is free again afterwards


def test_a_server_that_does_not_answer_is_named(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/api"
    settings = load_settings(home=tmp_path, prefect_api_url=url, server_timeout=0.3)
    with engine(settings) as live, pytest.raises(SettingsError, match=f"E7804: no Prefect server answers at {url}"):
        live.ready()


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(SettingsError, match="E782"), engine(load_settings(home=tmp_path / "home")):
        pass


def test_a_template_is_copied_whole_once_and_never_over_a_database(tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    target = tmp_path / "home" / "prefect.db"
    assert not templates.place("prefect", target)  # no template: the library migrates
    templates.template("prefect").write_bytes(b"new")
    assert templates.place("prefect", target)
    target.write_bytes(b"in use")
    assert not templates.place("prefect", target)
    assert target.read_bytes() == b"in use"
    assert [path.name for path in target.parent.iterdir()] == ["prefect.db"]
