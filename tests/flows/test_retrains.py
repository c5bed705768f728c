"""A retrain on fresh clean data from the same source is not rejected; `--seeds 20` tries more of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from registry.records import Predictor
from tasks.validation.examination import examine_stage, prepare
from tasks.validation.policy import ValidationPolicy
from tasks.validation.verdict import recommend

EVENTS = 1_000
"""Lines of a sample: some 520 examples."""
POLICY = ValidationPolicy()
CRITICAL = ("regression", "performance", "safety")
Tables = dict[str, pa.Table]
Learn = Callable[[Sequence[Path], Path], Tables]
Train = Callable[..., Predictor]


def test_retrains_on_fresh_events_are_not_rejected(
    make_sample: Callable[..., Path], learn: Learn, train: Train, tmp_path: Path, seeds: int
) -> None:
    """A champion of one sample; candidates of another one alone, and of both, as a second run makes it."""
    rejected = {"another": 0, "both": 0}
    for seed in range(seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        one, two = (
            make_sample(folder / f"{i}.jsonl", "--clean", "--events", EVENTS, "--seed", 100 * i + seed) for i in (1, 2)
        )
        tables = learn([one], folder / "one")
        champion = train(tables, folder / "one")
        for name, paths in (("another", [two]), ("both", [one, two])):
            fresh = learn(paths, folder / name)
            candidate = train(fresh, folder / name)
            examination = prepare(
                champion, candidate, fresh["test"], fresh["train"], POLICY, seed=seed, reference=tables["train"]
            )
            rejected[name] += recommend([examine_stage(stage, examination) for stage in CRITICAL]) == "REJECT"
    assert max(rejected.values()) <= seeds // 20, rejected


def test_retrains_on_fresh_real_records_are_not_rejected(
    records: Path, learn: Learn, train: Train, tmp_path: Path, seeds: int
) -> None:
    """The groups of a real dataset are cut into halves: the champion learns from one, the candidate from the other."""
    tables = learn([records / "events" / "fireact_hotpot.jsonl"], tmp_path)
    rejected = 0
    for seed in range(seeds):
        halves = [half_of(tables, seed, half) for half in (0, 1)]
        champion, candidate = (train(half, tmp_path / f"{seed}-{i}") for i, half in enumerate(halves))
        examination = prepare(
            champion, candidate, tables["test"], halves[1]["train"], POLICY, seed=seed, reference=halves[0]["train"]
        )
        rejected += recommend([examine_stage(stage, examination) for stage in CRITICAL]) == "REJECT"
    assert rejected <= seeds // 20


def half_of(tables: Tables, seed: int, half: int) -> Tables:
    def part(table: pa.Table) -> pa.Table:
        groups = np.array(table.column("group").to_pylist())
        names = np.random.default_rng(seed).permutation(np.unique(groups))
        return table.filter(pa.array(np.isin(groups, names[half::2])))

    return {split: part(tables[split]) for split in ("train", "validation")}
