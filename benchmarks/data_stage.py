"""The data stage: events → written dataset, on two worker processes.

    python -m benchmarks.data_stage                        100 k, 1 M and 4 M events, small input, planted truth
    python -m benchmarks.data_stage --counts 100000        only so many, and the small input

Each size is built in a process of its own, so that no memory is left of another. The first build of the smallest size
is not measured: it fills the cache of compiled kernels. The limit is msgspec decoding the same lines to typed structs
and doing nothing else, on as many processes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.figures import Figure, figure, table

WORKERS = 2
SMALL, MANY = 1_000, 1_000_000
COUNTS = (100_000, MANY, 4 * MANY)


def events_file(folder: Path, count: int) -> Path:
    """Return a file of `count` events, made where it is not there yet; its truth lies beside it."""
    from benchmarks.events import write_events

    path = folder / f"events-{count}.jsonl"
    if not path.exists() or not path.with_suffix(".npz").exists():
        truth = write_events(path, count)
        np.savez(path.with_suffix(".npz"), kind=truth.kind, of=truth.of)
    return path


def build(path: Path, folder: Path, run: Any) -> Any:
    """Build a dataset of the events in `path`."""
    from flows.dataset import build_dataset
    from registry.datasets import DatasetStore
    from tasks.curation.policy import CurationPolicy
    from tasks.extraction.inputs import find_inputs
    from tasks.extraction.policy import ExtractionPolicy
    from tasks.filtering.policy import FilteringPolicy
    from tasks.screening.policy import ScreeningPolicy

    policy = SimpleNamespace(
        extraction=ExtractionPolicy(), filtering=FilteringPolicy(), screening=ScreeningPolicy(),
        curation=CurationPolicy(),
    )  # fmt: skip
    store = DatasetStore(folder / "datasets")
    return build_dataset(
        find_inputs([path]), policy, store, "bench", seed=0, scratch=folder / "scratch", out=folder / "out", run=run
    )


def measure(path: Path, workers: int) -> dict[str, Any]:
    """Build once in this process and return seconds, peak bytes, seconds by step, and counts."""
    from benchmarks.memory import PeakMemory, cpu_seconds

    steps: dict[str, float] = {}
    context = get_context("forkserver")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, PeakMemory() as memory:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:

            def run(name: str, function: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
                begun = time.perf_counter()
                results = list(pool.map(function, items))
                steps[name] = steps.get(name, 0.0) + time.perf_counter() - begun
                return results

            begun, idle = time.perf_counter(), cpu_seconds(os.getpid())
            made = build(path, Path(folder), run)
            seconds = time.perf_counter() - begun
            cpu = cpu_seconds(os.getpid()) - idle
        found = near_duplicates(made.decisions, path)
    counts = {"events": made.events.read, "examples": sum(made.manifest.splits.values())}
    return {"seconds": seconds, "cpu": cpu, "peak": memory.bytes, "steps": steps, **counts, **found}


def near_duplicates(decisions: Path, path: Path) -> dict[str, float]:
    """Return recall and precision of the near-duplicates against what was planted.

    Only accepted events take part. Recall: the share of the planted families with n different members of which all but
    one were dropped, by members. Precision: the share of the dropped near-duplicates whose family has another member.
    """
    from tasks.curation.shards import read_decisions

    truth = np.load(path.with_suffix(".npz"))
    kind, of = truth["kind"], truth["of"]
    table = read_decisions(decisions, ["event_id", "decision"])
    number = np.array([int(each[2:]) for each in table["event_id"].to_pylist()])
    decision = np.array(table["decision"].to_pylist())
    taken = np.isin(decision, ["accepted", "near_duplicate"])
    family = of[number]
    own = np.where(kind[number] == 2, number, family)  # exact copies of an original are one member with it
    size = np.bincount(family[taken], minlength=len(of))
    assert len(np.unique(own[taken])) == taken.sum()
    dropped = decision == "near_duplicate"
    lost = np.bincount(family[dropped], minlength=len(of))
    families = size > 1
    recall = lost[families].sum() / max((size[families] - 1).sum(), 1)
    precision = (size[family[dropped]] > 1).mean() if dropped.any() else 1.0
    return {"recall": float(recall), "precision": float(precision), "planted": int((size[families] - 1).sum())}


def limit(path: Path, workers: int) -> float:
    """Return the seconds that decoding alone takes."""
    from tasks.extraction.inputs import find_inputs, split_inputs

    pieces = [(str(path), p.pieces[0].start, p.pieces[0].end) for p in split_inputs(find_inputs([path]), 32 << 20)]
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        list(pool.map(_decode_piece, pieces[:workers]))  # imports
        begun = time.perf_counter()
        list(pool.map(_decode_piece, pieces))
        return time.perf_counter() - begun


def _decode_piece(piece: tuple[str, int, int]) -> int:
    import msgspec

    from tasks.extraction.event import Event

    path, start, end = piece
    decode = msgspec.json.Decoder(Event).decode
    with Path(path).open("rb") as stream:
        stream.seek(start)
        lines = stream.read(end - start).splitlines()
    for line in lines:
        decode(line)
    return len(lines)


def small(path: Path) -> float:
    """Return the best of five times of a fresh process from its start to a written dataset, on one core."""
    code = (
        "import sys, pathlib; from benchmarks.data_stage import build; from flows.dataset import in_process;"
        "build(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), in_process)"
    )
    times = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, str(path), folder], check=True)
            times.append(time.perf_counter() - begun)
    return min(times)


def in_fresh_process(path: Path, workers: int) -> dict[str, Any]:
    """Measure a build in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data_stage", "--one", str(path), "--workers", str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def results(folder: Path, counts: Sequence[int] = COUNTS, workers: int = WORKERS) -> list[Figure]:
    """Measure everything of this file; `folder` is for events, which are made where they are not there yet."""
    small_seconds = small(events_file(folder, SMALL))
    in_fresh_process(events_file(folder, min(counts)), workers)
    figures, seconds = [], []
    for count in counts:
        path = events_file(folder, count)
        result = in_fresh_process(path, workers)
        seconds.append(result["seconds"])
        figures += _figures(count, result, limit(path, workers))
        steps = ", ".join(f"{name} {took:.1f} s" for name, took in result["steps"].items())
        sys.stderr.write(
            f"{count:,} events: {result['seconds']:.1f} s, {result['cpu']:.0f} s of processors ({steps})\n"
        )
    if len(counts) > 1:
        exponent = math.log(seconds[-1] / seconds[0]) / math.log(counts[-1] / counts[0])
        figures.append(figure(f"exponent of time, {counts[0]:,} to {counts[-1]:,} events", exponent, most=1.05))
    return [*figures, figure(f"{SMALL:,} events in a fresh process", small_seconds, "s", most=1.5)]


def _figures(count: int, result: dict[str, Any], limit_seconds: float) -> list[Figure]:
    """Return the figures of one size; what is wanted of the speed is wanted of a million events."""
    many = count == MANY
    memory = {MANY: 1.2, 4 * MANY: 1.6}.get(count)
    name, planted = f"{count:,} events", f"of {result['planted']:,} planted"
    return [
        figure(f"{name}, {WORKERS} workers", count / result["seconds"], "events/s", least=40_000 if many else None),
        figure(f"{name}, to decoding alone", result["seconds"] / limit_seconds, "×", most=10 if many else None),
        figure(f"{name}, peak memory of all processes", result["peak"] / 1e9, "GB", most=memory),
        figure(f"{name}, near-duplicates found {planted}", result["recall"], least=0.98),
        figure(f"{name}, near-duplicates that are some", result["precision"], least=0.98),
    ]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ratchet-bench")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--one", type=Path, help="measure one file in this process and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.workers)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    print(table(results(options.folder, options.counts, options.workers)))


if __name__ == "__main__":
    main()
