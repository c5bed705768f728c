"""Champion against challenger: how often the decision is wrong, how soon it is right, and how fast it is computed.

Every simulated experiment is looked at after every pair of units, without any minimum duration: the worst that a user
can do to it.

python -m benchmarks.experiments
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from growthbook import Experiment as SdkExperiment
from growthbook import GrowthBook
from numpy.typing import NDArray

from benchmarks.figures import Figure, figure, table
from registry.assignment import assign, assign_many, sdk_definition
from registry.experiments import Arm, Experiment
from tasks.experiments.decide import judge
from tasks.experiments.eprocess import BETTER, WORSE, against_at_least, against_at_most, lift_stakes
from tasks.experiments.judgement import ExperimentEvidence
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.units import by_unit

POLICY = ExperimentPolicy()
BASE_RATES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
RUNS, CHUNK, PAIRS = 10_000, 500, 5_000
NEVER = 10**9


def results(folder: Path) -> list[Figure]:
    """Measure everything of this file; nothing is written to `folder`."""
    del folder
    return [*equal_arms(), *real_effects(), *speed()]


class Ends(NamedTuple):
    """After how many pairs each run promotes its challenger, or stops it; NEVER where it does not."""

    promoted: NDArray[np.int64]
    stopped: NDArray[np.int64]
    harmed: NDArray[np.int64]
    """Stopped for harm, were there no other reason to stop."""
    naive: NDArray[np.int64]
    """Promoted by "the point lift is above the margin", looked at after each pair from the fiftieth on."""


def play(base: float, lift: float, runs: int, pairs: int, seed: int) -> Ends:
    """Play `runs` experiments on yes/no outcomes, decided as `tasks.experiments.decide` does."""
    random = np.random.default_rng(seed)
    parts = [_play(random, base, lift, min(CHUNK, runs - start), pairs) for start in range(0, runs, CHUNK)]
    return Ends(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _play(random: np.random.Generator, base: float, lift: float, runs: int, pairs: int) -> Ends:
    control = (random.random((runs, pairs)) < base).astype(np.float64)
    challenger = (random.random((runs, pairs)) < base * (1 + lift)).astype(np.float64)
    up = lift_stakes(control, challenger, POLICY.expected_lift, BETTER)
    down = lift_stakes(control, challenger, POLICY.expected_lift, WORSE)
    better = against_at_most(0.0, control, challenger, up) >= -log(POLICY.alpha)
    seen = np.cumsum(challenger, axis=1) >= (1 + POLICY.margin) * np.cumsum(control, axis=1)
    seen &= np.cumsum(control, axis=1) > 0
    harm = _first(against_at_least(0.0, control, challenger, down) >= -log(POLICY.harm_alpha))
    little = _first(against_at_least(POLICY.margin, control, challenger, down) >= -log(POLICY.harm_alpha))
    won = _first(np.logical_or.accumulate(better, axis=1) & seen)
    stopped = np.minimum(harm, little)
    seen[:, :49] = False
    return Ends(np.where(won < stopped, won, NEVER), np.where(stopped <= won, stopped, NEVER), harm, _first(seen))


def _first(reached: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, NEVER)


def equal_arms() -> list[Figure]:
    """Promote challengers that are not better, at rates of resolved tasks from rare to nearly always."""
    figures, naive = [], {}
    for base in BASE_RATES:
        ends = play(base, 0.0, RUNS, PAIRS, seed=int(base * 100))
        naive[base] = 100 * float(np.mean(ends.naive < NEVER))
        name = f"equal arms promoted, base rate {base:g} ({RUNS:,} runs, {PAIRS:,} pairs, a look after each)"
        figures.append(figure(name, 100 * float(np.mean(ends.promoted < NEVER)), "%", most=1))
    least, most = min(naive.values()), max(naive.values())
    words = f'the same by "point lift above 5 % at any look": from {least:.0f} % (base rate {_at(naive, least):g}) to'
    return [*figures, figure(words, most, "%")]


def _at(rates: dict[float, float], value: float) -> float:
    return next(base for base, rate in rates.items() if rate == value)


def real_effects() -> list[Figure]:
    """Promote what is 10 % better, and stop what is 10 % worse, at a base rate of 0.7."""
    better = play(0.7, 0.10, RUNS, 1_500, seed=1)
    worse = play(0.7, -0.10, RUNS, PAIRS, seed=2)
    units = 2 * np.minimum(worse.stopped, worse.harmed)
    return [
        figure("10 % better promoted by 1,500 units an arm", 100 * _share(better.promoted), "%", least=90),
        figure("median of its units, both arms", 2 * float(np.median(better.promoted)), ""),
        figure("10 % worse stopped", 100 * _share(worse.stopped), "%", least=95),
        figure("median of its units, both arms", float(np.median(units)), "", most=1_000),
        figure("10 % worse stopped for harm alone", 100 * _share(worse.harmed), "%", least=95),
        figure("median of its units for harm alone, both arms", 2 * float(np.median(worse.harmed)), "", most=1_000),
    ]


def _share(ends: NDArray[np.int64]) -> float:
    return float(np.mean(ends < NEVER))


def speed() -> list[Figure]:
    """Assign units, one by one and many at once, and judge an experiment of 100,000."""
    arms = [Arm(name="control", version="1"), Arm(name="challenger", version="2")]
    tried = Experiment(key="agent-2", model="agent", arms=arms, share=0.25, holdout=0.05, started="", by="bench")
    units = [f"{number:08x}-1234-5678-9abc-{number * 7919:012x}" for number in range(300_000)]
    bulk = len(units) / _seconds(lambda: assign_many(tried, units))
    few = units[:20_000]
    single = len(few) / _seconds(lambda: [assign([tried], "agent", "1", unit) for unit in few])
    definition = SdkExperiment(**sdk_definition(tried))
    peer = len(few[:2_000]) / _seconds(lambda: [GrowthBook(attributes={"id": u}).run(definition) for u in few[:2_000]])
    traces = requests(100_000, 0.7, 0.705)
    whole = _seconds(lambda: judge(seen(traces), POLICY))
    return [
        figure("assignments of 36-character units, many at once", bulk, "/s", least=300_000),
        figure("assignments, one by one", single, "/s"),
        figure("assignments, times GrowthBook's SDK one by one", bulk / peer, "×"),
        figure("judging 100,000 units (300,000 requests): units, bounds, guards, plot", whole, "s", most=1),
    ]


def _seconds(work: object) -> float:
    began = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - began


def requests(units: int, control: float, challenger: float, seed: int = 0) -> pa.Table:
    """Return three requests of each of `units` units, as the event log gives them."""
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(units), 3)
    arm = np.repeat(random.integers(0, 2, units), 3)
    count = len(who)
    start = np.int64(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    hit = random.random(count) < np.where(arm == 1, challenger, control)
    return pa.table(
        {
            "offset": np.arange(1, count + 1),
            "time": pa.array(start + np.arange(count) * 1_000_000, pa.timestamp("us", "UTC")),
            "arm": pa.array(np.array(["control", "challenger"])[arm]),
            "unit": pa.array([f"user-{number}" for number in who]),
            "quality": 100.0 * hit,
            "failed": random.random(count) < 0.02,
            "negative": pa.nulls(count, pa.bool_()),
            "latency_ms": random.gamma(4.0, 50.0, count),
            "tokens_in": random.integers(10, 200, count).astype(np.float64),
            "tokens_out": random.integers(10, 200, count).astype(np.float64),
            "cost": pa.nulls(count, pa.float64()),
        }
    )


def seen(traces: pa.Table) -> ExperimentEvidence:
    """Return what is known of an experiment with these requests."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    units, exposure = by_unit(traces, ["control", "challenger"], now, POLICY.outcome_hours, (0.15, 0.6))
    return ExperimentEvidence(
        "agent-2", ["control", "challenger"], ["1", "2"], "live", 0.5, None, units, exposure, 100.0, 100.0, 1000
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(table(results(Path(scratch))))
