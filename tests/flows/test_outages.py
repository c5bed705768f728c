"""A server that goes away in the middle of the main job, a database that is locked, two who promote at once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.flows.conftest import QUIET, free_port, wait_for
from tests.flows.nursery import Nursery

pytestmark = [pytest.mark.server, pytest.mark.slow]
LEARN = ("--approve-as", "ann", "--json")


@contextmanager
def serving(command: list[str], address: str, log: Path, environment: dict[str, str]) -> Iterator[int]:
    """Start a server in a group of its own; give the group."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, env={**os.environ, **QUIET, **environment}, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(address, process)
        yield process.pid
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


class Server:
    """A server on one port and one folder, which may be started again."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.port = kind, folder, free_port()
        folder.mkdir()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}" + ("/api" if self.kind == "prefect" else "")

    def start(self) -> contextmanager[int]:  # type: ignore[valid-type]
        from flows.templates import template

        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if self.kind == "prefect":
            database = self.folder / "prefect.db"
            if not database.exists() and template("prefect").exists():
                shutil.copyfile(template("prefect"), database)
            environment = {"PREFECT_HOME": str(self.folder)}
            command = ["-m", "prefect", "server", "start", *where, "--no-ui"]
        else:
            stores = [
                "--backend-store-uri",
                f"sqlite:///{self.folder}/m.db",
                "--artifacts-destination",
                str(self.folder),
            ]
            command = ["-m", "mlflow", "server", *where, "--workers", "1", *stores]
        return serving([sys.executable, *command], f"{self.url}/health", self.folder / "log", environment)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("kind", ["mlflow", "prefect"])
def test_a_server_that_is_killed_in_the_middle_is_told_and_the_same_command_completes_when_it_is_back(
    kind, tmp_path, make_sample, prefect_api
):
    events = make_sample(tmp_path / "events.jsonl", "--events", 400, "--clean")
    server, home = Server(kind, tmp_path / kind), tmp_path / "home"
    name = {"mlflow": "MLFLOW_TRACKING_URI", "prefect": "PREFECT_API_URL"}[kind]
    patience = {"PREFECT_CLIENT_MAX_RETRIES": "1"}  # else a server that is started anew is waited for, a minute
    environment = {**os.environ, **QUIET, **patience, "PREFECT_API_URL": prefect_api, name: server.url}
    nursery = Nursery(tmp_path / "n", environment)
    try:
        with server.start() as group:
            told = nursery.run(home, "learn", events, *LEARN, at=150, victim=group)
        if told["code"] != 0:  # a run whose work is in files by then may come to its end without Prefect
            assert told["code"] == 1
            assert "E78" in told["said"]
            assert "Traceback" not in told["said"]
            assert told["seconds"] < 60
        with server.start():
            again = nursery.run(home, "learn", events, *LEARN)
            assert again["code"] == 0, again["said"]
            assert again["seconds"] < 30
            history = nursery.run(home, "history", "agent", "--json")
        assert history["said"].count('"action": "promote"') == 1
        assert history["said"].count('"action": "train"') == 1
    finally:
        nursery.close()


@pytest.mark.timeout(120)
def test_a_run_waits_for_a_database_that_is_locked_for_a_moment(copied, ratchet):
    def hold(seconds: float, taken: threading.Event) -> None:
        with closing(sqlite3.connect(copied.home / "ratchet.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            taken.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    taken = threading.Event()
    holder = threading.Thread(target=hold, args=(6.0, taken))
    holder.start()
    assert taken.wait(10)
    done = ratchet("approve", "agent", 1, "--by", "ann", "--home", copied.home, "--json")
    holder.join()
    assert done.code == 0, done.err
    assert done.json["decision"] == "promoted"


@pytest.mark.timeout(120)
def test_of_two_who_approve_at_once_both_count_and_one_promotion_is_recorded(copied, ratchet):
    done = {}
    people = [
        threading.Thread(
            target=lambda by=by: done.update(
                {by: ratchet("approve", "agent", 1, "--by", by, "--home", copied.home, "--json")}
            )
        )
        for by in ("ann", "bob")
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert any(each.code == 0 for each in done.values()), {by: each.err for by, each in done.items()}
    for each in done.values():
        assert each.code == 0 or each.err.startswith("E75"), each.err
    lines = ratchet("history", "agent", "--home", copied.home, "--json").json["history"]
    assert [line["action"] for line in lines].count("promote") == 1
    verified = ratchet("audit", "verify", "--home", copied.home)
    assert verified.code == 0, verified.err
