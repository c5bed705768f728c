"""A week of production with real servers (`make loop`): how long it takes, also while processes are killed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, figure

WEEK = Path(__file__).parents[1] / "examples" / "week.py"
KILLS = 24


def results(folder: Path) -> list[Figure]:
    """Play the week twice: in peace, and with kills."""
    figures = []
    for kills in (0, KILLS):
        started = time.perf_counter()
        command = [sys.executable, str(WEEK), "--home", str(folder / f"week-{kills}"), "--kills", str(kills)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3_000)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        how = f"a week of production, {kills} processes killed" if kills else "a week of production"
        kept = re.search(r"all ([\d,]+) acknowledged events are in the log, each once", done.stdout)
        assert kept is not None
        figures.append(figure(f"{how}, every step checked", time.perf_counter() - started, "s"))
        figures.append(figure(f"{how}: acknowledged events, each in the log once", float(kept[1].replace(",", ""))))
    return figures
