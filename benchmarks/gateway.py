"""The gateway as a process, asked by another process over connections that stay open.

python -m benchmarks.gateway
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np

from benchmarks.figures import Figure, figure, table
from benchmarks.training import synthetic
from registry.connection import connect
from registry.events import EventLog
from registry.home import Home
from registry.models import Candidate, ModelRegistry
from registry.records import DatasetManifest
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend

CODE = Path(__file__).parents[1] / "tasks" / "training" / "pyfunc.py"
COMMAND = "from flows.commands.gateway import app; app()"
SECONDS = 8.0
CONNECTIONS = 32
BATCH, BATCH_CONNECTIONS = 500, 8
RATE = 200
EVENT_BYTES = 1000
SINGLE, MANY = "application/cloudevents+json", "application/cloudevents-batch+json"


def results(folder: Path) -> list[Figure]:
    """Measure everything of this file in a home under `folder`."""
    home = home_with_a_champion(folder / "gateway-home")
    with gateway(home) as (address, process):
        before = cpu_seconds(process)
        asked = in_another_process(ask, address)
        spent = cpu_seconds(process) - before
        bare = in_another_process(ask_ready, address)
        single = in_another_process(send, address, 1, CONNECTIONS)
        alone = in_another_process(send, address, 1, 1)
        batches = in_another_process(send, address, BATCH, BATCH_CONNECTIONS)
    plain = one_by_one(folder / "plain.db")
    rate, many = single.requests / single.seconds, batches.requests * BATCH / batches.seconds
    total, model = 1e3 * np.array(asked.times), 1e3 * np.array(asked.models)
    beyond = total - model
    batched, at_rate = f"`/events`, batches of {BATCH} of 1 kB", f"chat at {RATE} requests/s"
    return [
        figure("`/events`, batches of 1, 32 connections", rate, "requests/s", least=1000),
        figure("`/events`, batches of 1, one connection, p50", 1e3 * float(np.median(alone.times)), "ms"),
        figure(f"{batched}, {BATCH_CONNECTIONS} connections", many, "events/s", least=30_000),
        figure("the same, times a loop of single appends to the log", many / plain, "×"),
        figure("loop of single durable appends to the log, in process", plain, "events/s"),
        figure(f"{at_rate}, beyond the model's own time, p50", float(np.median(beyond)), "ms"),
        figure(f"{at_rate}, beyond the model's own time, p99", float(np.percentile(beyond, 99)), "ms", most=2),
        figure(
            "CPU of the gateway for an answer, all its threads, the model's as well", 1e3 * spent / asked.requests, "ms"
        ),
        figure("the model's own time there, p50", float(np.median(model)), "ms"),
        figure(f"{at_rate}, whole answer, p99", float(np.percentile(total, 99)), "ms"),
        figure(
            "`/healthz` at that rate, p99: the same without any work", 1e3 * float(np.percentile(bare.times, 99)), "ms"
        ),
    ]


# --- the gateway ---------------------------------------------------------------------------------------------------


def home_with_a_champion(root: Path) -> Home:
    """Train on synthetic conversations, register, and make it the champion."""
    home = Home(root).create()
    registry = ModelRegistry(connect(home))
    data = TrainingData(synthetic(1000, seed=0), synthetic(50, seed=1), "synthetic")
    adapter = home.scratch / "adapter"
    run_job(SimulatedBackend(), data, TrainingPolicy(epochs=1), 0, adapter)
    manifest = DatasetManifest(
        name="agent", version="1.0.0", digest="d" * 64, splits={"train": 1, "validation": 1, "test": 1},
        source_digest="e" * 64, code_version="0",
    )  # fmt: skip
    run = registry.tracking.start_run("agent", "bench", "bench")
    made = registry.log_candidate(
        Candidate("agent", run, adapter, CODE, ["ratchet-learn"], "bench", manifest, "full_retrain")
    )
    client = registry.connection.client
    client.set_model_version_tag("agent", made.version, "stage", "production")
    client.set_registered_model_alias("agent", "champion", made.version)
    return home


@contextmanager
def gateway(home: Home) -> Iterator[tuple[str, int]]:
    """Start `ratchet gateway` on the home and give its address and process id once it is ready."""
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--home", str(home.root), "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], env=dict(os.environ),
    )  # fmt: skip
    try:
        assert child.stderr is not None
        address = child.stderr.readline().split(" on ")[1].split(",")[0]
        deadline = time.monotonic() + 60
        while not is_ready(address):
            assert time.monotonic() < deadline, "the gateway is not ready"
            time.sleep(0.1)
        yield address, child.pid
    finally:
        child.terminate()
        child.wait(60)


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has taken so far: what other work on the machine hardly changes."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def one_by_one(path: Path) -> float:
    """Return the events/s of a plain loop of durable appends."""
    log = EventLog(f"sqlite:///{path}")
    began, count = time.perf_counter(), 300
    for number in range(count):
        log.append([event(f"plain-{number}")])
    return count / (time.perf_counter() - began)


# --- the load, in a process of its own -----------------------------------------------------------------------------


class Load(NamedTuple):
    """What the load generator saw."""

    requests: int
    seconds: float
    times: list[float]
    models: list[float]
    """What the gateway said that the model took (`Server-Timing`)."""


def in_another_process(work: Callable[..., Any], *arguments: Any) -> Load:
    """Run an async function in a fresh process and return what it saw."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (work, arguments))


def _run(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Load:
    return asyncio.run(work(*arguments))


async def send(address: str, size: int, connections: int) -> Load:
    """Send events as fast as they are taken."""
    times: list[float] = []
    began = time.perf_counter()
    end = began + SECONDS

    async def sender(worker: int) -> None:
        number = 0
        async with connected(address) as ask_:
            while time.perf_counter() < end:
                ids = (f"{began}-{size}-{worker}-{number}-{each}" for each in range(size))
                events = [event(identity) for identity in ids]
                body = events[0] if size == 1 else b"[" + b",".join(events) + b"]"
                start = time.perf_counter()
                status, _, _ = await ask_("POST", "/events", SINGLE if size == 1 else MANY, body)
                times.append(time.perf_counter() - start)
                assert status == 200, status
                number += 1

    await asyncio.gather(*(sender(worker) for worker in range(connections)))
    return Load(len(times), time.perf_counter() - began, times, [])


async def ask(address: str) -> Load:
    """Ask chat completions at a steady rate, whether or not answers are slow."""
    rows = [json.loads(text)[:1] for text in synthetic(500, seed=2)["messages"].to_pylist()]
    bodies = [json.dumps({"model": "agent", "messages": row, "user": str(n)}).encode() for n, row in enumerate(rows)]
    return await steadily(address, "POST", "/v1/chat/completions", bodies)


async def ask_ready(address: str) -> Load:
    """Ask for nothing at the same rate: what the client and the server themselves take."""
    return await steadily(address, "GET", "/healthz", [b""])


async def steadily(address: str, method: str, path: str, bodies: list[bytes]) -> Load:
    """Ask at the rate; a request's time begins when it was due, so that a stall counts for all who wait in it.

    But for the first 2 ms, which a timer of the client may be late by itself.
    """
    times, models = [], []
    count = int(RATE * SECONDS)
    places: asyncio.Queue[int] = asyncio.Queue()
    for number in range(count):
        places.put_nowait(number)
    warm = 100
    began = time.perf_counter() + 0.5

    async def asker() -> None:
        async with connected(address) as ask_:
            for body in bodies[:10]:
                await ask_(method, path, "application/json", body)
            while not places.empty():
                number = places.get_nowait()
                due = began + number / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                start = time.perf_counter()
                status, headers, _ = await ask_(method, path, "application/json", bodies[number % len(bodies)])
                taken = time.perf_counter() - max(min(start, due + 0.002), due)
                assert status == 200, status
                if number >= warm:
                    times.append(taken)
                    models.append(float(headers.get("server-timing", "dur=0").partition("dur=")[2]) / 1e3)

    await asyncio.gather(*(asker() for _ in range(8)))
    return Load(count, SECONDS, times, models)


def event(identity: str) -> bytes:
    """Return an event of a kilobyte: cheap to make, for the load comes from one core."""
    return TEMPLATE.replace(b"IDENTITY", identity.encode())


def _template() -> bytes:
    text = "where is my booking and when will it arrive " * 14
    made = {
        "specversion": "1.0", "id": "IDENTITY", "source": "bench", "type": "execution.completed",
        "time": "2026-01-05T10:00:00Z", "subject": "user-42",
        "data": {
            "trace_id": "IDENTITY", "agent": "agent", "model_version": "1", "status": "success", "quality_score": 92,
            "task": {"type": "support", "domain": "travel", "instruction": text}, "output": "It is on its way.",
            "latency_ms": 840, "tokens_in": 312, "tokens_out": 41,
        },
    }  # fmt: skip
    line = json.dumps(made).encode()
    return line[:-1] + b" " * (EVENT_BYTES - len(line)) + b"}"


TEMPLATE = _template()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that sends one request over a connection that stays open, with as little work as possible."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def ask_(method: str, path: str, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))

    try:
        yield ask_
    finally:
        writer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(table(results(Path(scratch))))
