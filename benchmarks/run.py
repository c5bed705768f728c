"""Measure everything and write RESULTS.md: `make bench`.

python -m benchmarks.run                     everything, about half an hour
python -m benchmarks.run --only whole        one part, printed and not written
python -m benchmarks.run --only whole --write    one part, written in the place of its older figures
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import table
from registry import __version__

RESULTS = Path(__file__).with_name("RESULTS.md")
NOTES = Path(__file__).with_name("notes.md")
PARTS = {
    "data_stage": "Events to a written dataset",
    "peers": "The same job by others",
    "training": "Training and answering",
    "whole": "The whole job, and what orchestration costs",
    "event_log": "The event log",
    "triggers": "Triggers",
    "experiments": "Experiments",
    "gateway": "The gateway",
    "loop": "The loop",
    "audit_log": "The audit log",
    "bundles": "Signed bundles",
    "redaction": "Personal data and secrets",
    "screening": "Poison in the training set",
    "verification": "The verifier",
}


def machine() -> str:
    """Return what this was measured on, in one line."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    processor = names[0] if names else platform.machine()
    return f"{cores} cores of {processor}, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", help="measure these parts and print them")
    parser.add_argument("--write", action="store_true", help="write these parts into RESULTS.md; the others stay")
    parser.add_argument("--folder", type=Path, help="keep what is generated here, for the next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measured = {}
        for part in arguments.only or PARTS:
            sys.stderr.write(f"measuring {part} ...\n")
            figures = importlib.import_module(f"benchmarks.{part}").results(folder)
            measured[part] = f"## {PARTS[part]}\n\n`python -m benchmarks.run --only {part}`\n\n{table(figures)}"
            print(measured[part] + "\n", flush=True)
    if arguments.only is None or arguments.write:
        write(measured)


def write(measured: dict[str, str]) -> None:
    """Write RESULTS.md: what was measured now, what was measured before, and the notes."""
    before = written(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    sections = [text for part in PARTS if (text := measured.get(part) or before.get(part))]
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    head = f"# Measurements\n\nRatchet {__version__}, {when}; {machine()}. Made by `make bench`."
    RESULTS.write_text("\n\n".join([head, *sections, NOTES.read_text(encoding="utf-8")]), encoding="utf-8")


def written(text: str) -> dict[str, str]:
    """Return the parts of a RESULTS.md as they stand there."""
    sections = [f"## {section}".strip() for section in text.split("\n## ")[1:]]
    titles = {f"## {title}": part for part, title in PARTS.items()}
    return {titles[head]: each for each in sections if (head := each.splitlines()[0]) in titles}


if __name__ == "__main__":
    main()
