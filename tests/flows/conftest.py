"""A Prefect server for all flow tests, sample events, and the command line as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from flows.settings import RECORDED_IN_BATCHES
from flows.templates import template
from registry.records import SPLITS, Predictor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVER_SECONDS = 90
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    **RECORDED_IN_BATCHES,
}


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output."""
        assert self.out.strip(), f"nothing on standard output; standard error: {self.err[-2000:]}"
        return json.loads(self.out.strip().splitlines()[-1])


Ratchet = Callable[..., Done]
Tables = dict[str, pa.Table]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server at {url} ended"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Debian's chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: nothing is looked at in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real Prefect server that all flow tests share."""
    home = tmp_path_factory.mktemp("prefect")
    if template("prefect").exists():
        shutil.copyfile(template("prefect"), home / "prefect.db")
    port = free_port()
    environment = {**os.environ, **QUIET, "PREFECT_HOME": str(home)}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health", process)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def ratchet(repository: Path, prefect_api: str) -> Ratchet:
    """Return the command line: `ratchet("learn", FILE, "--home", HOME)`; `env=` adds to the environment."""

    def run(*arguments: object, env: dict[str, str] | None = None, stdin: str | bytes | None = None) -> Done:
        environment = {**os.environ, **QUIET, "PREFECT_API_URL": prefect_api, **(env or {})}
        started = time.perf_counter()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            capture_output=True, env=environment, input=data, cwd=repository, timeout=280, check=False,
        )  # fmt: skip
        taken = time.perf_counter() - started
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), taken)

    return run


class Running:
    """A `ratchet up` that was started, and all that it says."""

    def __init__(self, home: Path, *arguments: object, env: dict[str, str] | None = None) -> None:
        self.home, self.lines = home, []
        command = [sys.executable, "-m", "flows.cli", "up", "--home", str(home)]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--prefect-port", "0", "--mlflow-port", "0", "--gateway-port", "0", *map(str, arguments)],
            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("all of it is healthy")
        self.seconds = time.perf_counter() - started
        self.services = json.loads((home / "up.json").read_text())["services"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def wait_for(self, text: str, seconds: float = SERVER_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            ended = self.process.poll() is not None
            self._reader.join(1.0 if ended else 0.0)
            assert not ended, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.05)

    def ask(self, path: str, body: object = None) -> Any:
        """Ask Prefect's API; it may say that its database is busy, and every client of Prefect then asks again."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.services['prefect']['url']}/api/{path}"
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        for left in reversed(range(10)):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:
                    raise
                time.sleep(0.5)
        raise AssertionError("never reached")

    def run(self, deployment: str, seconds: float = 60.0, **parameters: object) -> dict[str, Any]:
        """Run a deployment as its form does, and return the run when it has ended."""
        found = self.ask(f"deployments/name/{deployment}")
        made = self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run = self.ask(f"flow_runs/{made['id']}")
            if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
                return run
            time.sleep(0.1)
        raise AssertionError(f"{deployment} did not end: {run['state']}")

    def left(self) -> list[int]:
        """Return the processes that belong to it and live."""
        from flows.keeper import mark_of, marked

        server = self.home / "prefect" / "server.address"
        pid = int(server.read_text().split()[0]) if server.exists() else 0
        alive = pid and Path(f"/proc/{pid}/stat").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()
        return marked(mark_of(self.home)) + ([pid] if alive else [])

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop it, and return how long that took."""
        started = time.perf_counter()
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=60)
        return time.perf_counter() - started


@pytest.fixture(scope="module")
def ratchet_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Return a function that starts `ratchet up` and waits until all is healthy: `ratchet_up("--no-gateway")`."""
    started: list[Running] = []

    def start(*arguments: object, home: Path | None = None, env: dict[str, str] | None = None) -> Running:
        running = Running(home or tmp_path_factory.mktemp("up") / "home", *arguments, env=env)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def make_sample(repository: Path) -> Callable[..., Path]:
    """Return a function that writes sample events to a file: `make_sample(path, "--seed", 3)`."""

    def make(path: Path, *arguments: object) -> Path:
        command = [sys.executable, "examples/make_events.py", "--out", str(path), *map(str, arguments)]
        subprocess.run(command, cwd=repository, check=True, capture_output=True)
        return path

    return make


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, make_sample: Callable[..., Path]) -> Path:
    """Return the default sample."""
    return make_sample(tmp_path_factory.mktemp("sample") / "events.jsonl")


class Learned(NamedTuple):
    """A finished first run on the sample."""

    home: Path
    events: Path
    done: Done

    @property
    def summary(self) -> dict[str, Any]:
        """Its summary."""
        return self.done.json


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, ratchet: Ratchet, sample: Path) -> Learned:
    """Return a home in which the sample was learned once. Tests only read it; to change it, use `copied`."""
    home = tmp_path_factory.mktemp("learned") / "home"
    done = ratchet("learn", sample, "--home", home, "--json")
    assert done.code == 0, done.err[-3000:]
    return Learned(home, sample, done)


@pytest.fixture
def copied(learned: Learned, tmp_path: Path) -> Learned:
    """Return a copy of `learned` that a test may change."""
    home = tmp_path / "home"
    shutil.copytree(learned.home, home)
    return learned._replace(home=home)


@pytest.fixture(scope="session")
def learn() -> Callable[[Sequence[Path], Path], Tables]:
    """Return a function that makes a dataset version of files, one after the other, as so many runs would."""
    from flows.dataset import build_dataset
    from flows.policy import Policy
    from registry.datasets import DatasetStore
    from tasks.extraction.inputs import find_inputs

    def made(paths: Sequence[Path], folder: Path) -> Tables:
        store = DatasetStore(folder / "datasets")
        for path in paths:
            inputs = find_inputs([str(path)])
            built = build_dataset(inputs, Policy(), store, "d", seed=0, scratch=folder / "scratch", out=folder / "out")
        return {split: store.read("d", built.manifest.version, split) for split in SPLITS}

    return made


@pytest.fixture(scope="session")
def train() -> Callable[..., Predictor]:
    """Return a function that trains the simulated backend on a dataset: `train(tables, folder, epochs=6)`."""
    from tasks.training.backend import TrainingData
    from tasks.training.job import run_job
    from tasks.training.policy import TrainingPolicy
    from tasks.training.simulated import SimulatedBackend

    def trained(tables: Tables, folder: Path, epochs: int = 6) -> Predictor:
        backend = SimulatedBackend()
        data = TrainingData(tables["train"], tables["validation"], "d")
        run_job(backend, data, TrainingPolicy(epochs=epochs), 0, folder / "adapter")
        return backend.load(folder / "adapter")

    return trained
