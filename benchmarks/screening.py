"""Poison in the training set: what is found of seven attacks in real text, and how often a clean set raises an alarm.

python -m benchmarks.screening            three sets an attack and file, sixty clean sets
python -m benchmarks.screening --seeds 1  quicker

Needs the real records of ../shared/data; without them only the time is measured, on made events.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, figure, table

RECORDS = Path(__file__).parents[1].parent / "shared" / "data"
BUDGET = 1.5
MANY = 10_000


def results(folder: Path, seeds: int = 3) -> list[Figure]:
    """Return recall by attack, false alarms, and the time for the examples that are searched at most."""
    figures = [*found(seeds), alarms(seeds)] if RECORDS.is_dir() else []
    return [*figures, seconds(folder)]


def found(seeds: int) -> list[Figure]:
    """Return the recall of each attack over all files, at 1.5 examples to review for each planted one."""
    from tests.tasks.screening.planting import ATTACKS, FILES, plant, real

    figures = []
    for attack in ATTACKS:
        recalls = []
        for name in [*FILES, "mix"]:
            for seed in range(seeds):
                rng = random.Random(f"{attack} {name} {seed}")
                poisoned = plant(real(RECORDS, name, rng), attack, rng)
                first = reviewed(poisoned.rows)[: int(BUDGET * len(poisoned.planted))]
                recalls.append(len(set(first) & set(poisoned.planted)) / len(poisoned.planted))
        name = f"planted: {attack}; found of 10 at a review budget of 15, mean of {len(recalls)} sets"
        figures.append(figure(name, float(np.mean(recalls)), least=0.95))
    return figures


def alarms(seeds: int) -> Figure:
    """Return the share of clean sets with an alarm."""
    from tests.tasks.screening.planting import clean_sets

    alarmed = [bool(reviewed(rows)) for seed in range(seeds) for _, rows in clean_sets(RECORDS, seed)]
    return figure(f"false alarms, share of {len(alarmed)} clean sets", float(np.mean(alarmed)), most=0.05)


def reviewed(rows: Sequence[object]) -> list[int]:
    """Return the suspected rows, the most suspicious groups first."""
    from tasks.screening.policy import ScreeningPolicy
    from tasks.screening.screen import screen

    groups = screen([json.dumps(row) for row in rows], ScreeningPolicy())
    return [row for group in groups for row in group.rows.tolist()]


def seconds(folder: Path) -> Figure:
    """Return the processor time for as many examples as are searched at most."""
    from benchmarks.events import write_events
    from tasks.extraction.extract import extract
    from tasks.extraction.inputs import find_inputs, split_inputs
    from tasks.extraction.policy import ExtractionPolicy
    from tasks.screening.policy import ScreeningPolicy
    from tasks.screening.screen import screen

    path = folder / "screening.jsonl"
    write_events(path, 3 * MANY)
    policy = ExtractionPolicy()
    parts = split_inputs(find_inputs([path]), policy.partition_bytes)
    texts = [text for part in parts for text in extract(part, policy).examples["messages"].to_pylist()][:MANY]
    screen(texts[:500], ScreeningPolicy())
    start = time.process_time()
    screen(texts, ScreeningPolicy())
    return figure(
        f"processor time for {len(texts):,} examples, the most that are searched", time.process_time() - start, "s"
    )


if __name__ == "__main__":
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="sets an attack and file, and twenties of clean sets")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as scratch:
        print(table(results(Path(scratch), arguments.seeds)))
