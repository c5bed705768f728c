"""The whole job as a user runs it, and what orchestration costs over the same functions in a plain script.

python -m benchmarks.whole
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.figures import Figure, figure, table
from flows.settings import RECORDED_IN_BATCHES

REPOSITORY = Path(__file__).parents[1]
ROUNDS = 3
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    **RECORDED_IN_BATCHES,
}


def results(folder: Path) -> list[Figure]:
    """Measure everything of this file; `folder` is for homes and sample events."""
    events = folder / "events.jsonl"
    command = [sys.executable, "examples/make_events.py", "--out", str(events)]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    embedded, again = both(events, folder, {})
    with servers(folder) as addresses:
        against, _ = both(events, folder, addresses)
        flow, plain = in_one_process(events, folder, addresses)
    version = median(lambda: timed([sys.executable, "-m", "flows.cli", "--version"], {}))
    return [
        figure("`ratchet learn` on the sample, cold, embedded", embedded, "s", most=20),
        figure("`ratchet learn` on the sample against running servers", against, "s", most=8),
        figure("the same again: `unchanged`", again, "s", most=5),
        figure("orchestration, second flow in one process, running server", flow - plain, "s", most=1),
        figure(
            "orchestration with the embedded server, cold",
            cold(events, folder, "embedded_flow") - cold(events, folder, "plainly"),
            "s",
            most=10,
        ),
        figure("`ratchet --version`", version, "s", most=0.3),
    ]


def both(events: Path, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of a first run and of the same again, each a median."""
    first, second = [], []
    for _ in range(ROUNDS):
        home = tempfile.mkdtemp(dir=folder)
        ours = ["--home", home, "--model", Path(home).name, "--json"]  # homes that share a server differ by model
        command = [sys.executable, "-m", "flows.cli", "learn", str(events), *ours]
        first.append(timed(command, environment))
        second.append(timed(command, environment))
    return statistics.median(first), statistics.median(second)


def timed(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, env={**os.environ, **QUIET, **environment}, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def median(measure: Any) -> float:
    return statistics.median(measure() for _ in range(ROUNDS))


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Prefect and an MLflow server while the block runs; their addresses are its settings."""
    prefect, mlflow = free_port(), free_port()
    local = ["--host", "127.0.0.1", "--port"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/files"]
    with started(["prefect", "server", "start", *local, str(prefect), "--no-ui"], folder, f"{prefect}/api/health"):
        command = ["mlflow", "server", *local, str(mlflow), "--workers", "1", *stores]
        with started(command, folder, f"{mlflow}/health"):
            here = "http://127.0.0.1"
            yield {"PREFECT_API_URL": f"{here}:{prefect}/api", "MLFLOW_TRACKING_URI": f"{here}:{mlflow}"}


@contextlib.contextmanager
def started(command: list[str], folder: Path, health: str) -> Iterator[None]:
    environment = {**os.environ, **QUIET, "PREFECT_HOME": str(folder / "prefect")}
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{health}", timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_one_process(events: Path, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of the flow and of the plain script, each a median, both warm in one process."""
    command = [sys.executable, "-m", "benchmarks.whole", "--inside", str(events), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, **QUIET, **environment}, cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    seconds = json.loads(done.stdout.splitlines()[-1])
    return statistics.median(seconds["flow"][1:]), statistics.median(seconds["plain"][1:])


def inside(events: str, folder: str) -> None:
    """Run flow and script in turns in this process, the first of each to warm up."""
    from flows.engine import engine
    from flows.settings import load_settings

    seconds: dict[str, list[float]] = {"flow": [], "plain": []}
    for _ in range(ROUNDS + 1):
        for name, run in (("flow", by_flow), ("plain", plainly)):
            settings = load_settings(home=Path(tempfile.mkdtemp(dir=folder)))
            with engine(settings) as live:
                live.ready()
                begun = time.perf_counter()
                run(events, settings.home)
                seconds[name].append(time.perf_counter() - begun)
    print(json.dumps(seconds))


def cold(events: Path, folder: Path, way: str) -> float:
    """Return the seconds of a fresh process that does the job by flow (embedded server and all) or plainly."""
    code = f"import sys; from benchmarks import whole; whole.{way}(sys.argv[1], sys.argv[2])"

    def once() -> float:
        return timed([sys.executable, "-c", code, str(events), tempfile.mkdtemp(dir=folder)], {})

    return median(once)


def embedded_flow(events: str, home: str) -> None:
    from flows.engine import engine
    from flows.settings import load_settings

    with engine(load_settings(home=Path(home))) as live:
        live.ready()
        by_flow(events, Path(home))


def by_flow(events: str, home: Path) -> None:
    from flows.learn import learn

    learn(events=[events], model=Path(home).name, home=str(home))


def plainly(events: str, home: str | Path) -> None:
    """Call the functions that the flow calls, in its order, with no Prefect around or between them."""
    from flows import curation, decision, examination, reporting, training
    from flows.dataset import in_process
    from flows.job import prepare
    from flows.run import opened
    from flows.settings import load_settings
    from tasks.reporting import task as pages
    from tasks.validation.examination import examine_all

    without_prefect = [
        (curation, "mapper", lambda *_: in_process),
        (curation, "publish", lambda *_: None),
        (training, "publish", lambda *_: None),
        (training, "_train", training._train.fn),
        (training, "_register", training._register.fn),
        (examination, "examine_side_by_side", examine_all),
        (examination, "opaque", lambda value: value),
        (examination, "measure_readiness", examination.measure_readiness.fn),
        (pages, "_write_report", pages._write_report.fn),
    ]
    with contextlib.ExitStack() as stack:
        for module, name, plain in without_prefect:
            stack.enter_context(patch.object(module, name, plain))
        job = prepare(load_settings(home=Path(home)), events=[events], model=Path(home).name)
        run = stack.enter_context(opened(job))
        dataset = curation.make_dataset(run)
        trained = training.train_adapter(run, dataset)
        candidate = training.register_candidate(run, dataset, trained)
        examined = examination.examine_candidate(run, dataset, candidate)
        decided = decision.decide(run, trained, candidate, examined)
        reporting.report(run, dataset, trained, candidate, examined, decided)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:4])
        return
    with tempfile.TemporaryDirectory() as folder:
        print(table(results(Path(folder))))


if __name__ == "__main__":
    main()
