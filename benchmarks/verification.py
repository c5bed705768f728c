"""The verifier: how long it takes, what the gates catch over many seeds of real text (without it, of the sample)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure

RECORDS = Path(__file__).parents[2] / "shared" / "data" / "events"
REAL = ("tau_airline.jsonl", "fireact_hotpot.jsonl")
SEEDS = 20


def results(folder: Path) -> list[Figure]:
    """Verify quickly, fully, and over many seeds."""
    figures = []
    for how, most in (("quick", 15), ("full", 180)):
        seconds, _ = verify(folder / how, f"--{how}")
        figures.append(figure(f"`ratchet verify --{how}`, from the start of the command", seconds, "s", most=most))
    events = [str(RECORDS / name) for name in REAL if (RECORDS / name).exists()]
    text = f"{SEEDS} seeds of {'real text' if events else 'the made-up sample'}"
    _, done = verify(folder / "seeds", "--seeds", str(SEEDS), *events)
    for strength, each in done["strengths"].items():
        least = 100 * each["demanded"] or None
        figures.append(figure(f"{text}, {strength} faults: caught", 100 * each["share"], "%", least=least))
        figures.append(figure(f"{text}, {strength} faults: to a person without a finding", float(each["review"])))
        figures.append(figure(f"{text}, {strength} faults: let through", float(each["passed"])))
    good = done["good"]
    held, review = (100 * good[name] / good["tried"] for name in ("rejected", "review"))
    figures.append(figure(f"{text}, good candidates: held up", held, "%", most=5))
    figures.append(figure(f"{text}, good candidates: to a person", review, "%"))
    return figures


def verify(home: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run the command; return its seconds and what it printed. It may find fault with the gates: that is measured."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "verify", "--home", str(home), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3_000)
    assert done.stdout.strip(), done.stderr[-3000:]
    return time.perf_counter() - started, json.loads(done.stdout.strip().splitlines()[-1])
