"""The gateway as a process of its own: started by its command, stopped, killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from registry.events import Query

COMMAND = "from flows.commands.gateway import app; app()"
EVENT = {"specversion": "1.0", "source": "process", "type": "execution.completed"}
KIND = {"content-type": "application/cloudevents+json"}


class Process:
    """A gateway started as a user starts it."""

    def __init__(self, place, repository, *arguments, **environment):
        self.child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "--home", str(place.home.root), "--port", "0", *arguments],
            stderr=subprocess.PIPE, cwd=repository, env={**os.environ, **environment}, text=True,
        )  # fmt: skip
        self.said = self.child.stderr.readline()
        if " on http" in self.said:
            self.url = self.said.split(" on ")[1].split(",")[0]
            self.http = httpx.Client(base_url=self.url, timeout=20)

    def ready(self):
        deadline = time.monotonic() + 30
        while self.http.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, self.http.get("/readyz").text
            time.sleep(0.05)
        return self

    def chat(self, text):
        body = {"model": "agent", "messages": [{"role": "user", "content": text}]}
        return self.http.post("/v1/chat/completions", json=body)

    def end(self, number):
        self.child.send_signal(number)
        code = self.child.wait(20)
        self.child.stderr.close()
        return code


@pytest.fixture
def started(place, repository):
    processes = []

    def start(*arguments, **environment):
        processes.append(Process(place, repository, *arguments, **environment))
        return processes[-1]

    yield start
    for process in processes:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait(5)
        process.child.stderr.close()


@pytest.mark.server
def test_it_says_where_it_listens_and_finishes_what_it_began_when_told_to_stop(place, started):
    gateway = started().ready()
    assert gateway.said == f"gateway on {gateway.url}, without tokens: everybody on this machine may ask it\n"
    answers = []
    asking = threading.Thread(target=lambda: answers.append(gateway.chat("slowly please")))
    asking.start()
    time.sleep(0.2)
    assert gateway.end(signal.SIGTERM) == 0
    asking.join()
    assert answers[0].status_code == 200
    traces = [each.event["id"] for each in place.log.query(Query(types=["execution.completed"]))]
    assert traces == [answers[0].headers["x-ratchet-trace"]]
    assert not list((place.home.root / "spool").glob("*/*.jsonl"))


@pytest.mark.server
def test_what_was_answered_survives_a_kill(place, started):
    gateway = started().ready()
    traces, events = [], []

    def send():
        for number in range(10_000):
            try:
                traces.append(gateway.chat("hello").headers["x-ratchet-trace"])
                gateway.http.post("/events", content=json.dumps({**EVENT, "id": str(number)}), headers=KIND)
                events.append(str(number))
            except httpx.HTTPError:
                return

    sending = threading.Thread(target=send)
    sending.start()
    while len(events) < 50:
        time.sleep(0.01)
    assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
    sending.join()
    started().ready().end(signal.SIGTERM)
    found = [each.event["id"] for each in place.log.query(Query(types=["execution.completed"]))]
    assert len(found) == len(set(found))
    assert {*traces, *events} <= set(found)


def test_an_address_that_is_taken_or_open_is_refused_in_one_line(started):
    first = started()
    port = first.url.rpartition(":")[2]
    second = started("--port", port)
    assert second.said.startswith("E7872: the gateway cannot listen on 127.0.0.1 port")
    third = started("--host", "0.0.0.0")
    assert third.said.startswith("E7870: the gateway has no tokens and would listen on 0.0.0.0")
    assert second.child.wait(10) == third.child.wait(10) == 1
