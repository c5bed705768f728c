"""The bake period: a new champion that breaks a guard is found, and one that breaks none is left alone."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from tasks.experiments.bake import bake
from tasks.experiments.policy import ExperimentPolicy

NOW = datetime(2026, 2, 1, tzinfo=UTC)
POLICY = ExperimentPolicy(outcome_hours=0.0)


def served(count, rate=0.8, errors=0.02, latency=200.0, seed=0, unit=True):
    random = np.random.default_rng(seed)
    start = np.int64(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    return pa.table(
        {
            "offset": np.arange(1, count + 1),
            "time": pa.array(start + np.arange(count) * 1_000_000, pa.timestamp("us", "UTC")),
            "unit": pa.array([f"user-{n}" if unit else None for n in range(count)], pa.string()),
            "arm": pa.nulls(count, pa.string()),
            "quality": 100.0 * (random.random(count) < rate),
            "failed": random.random(count) < errors,
            "negative": pa.nulls(count, pa.bool_()),
            "latency_ms": random.gamma(4.0, latency / 4, count),
            "tokens_in": np.full(count, 100.0),
            "tokens_out": np.full(count, 100.0),
            "cost": pa.nulls(count, pa.float64()),
        }
    )


def test_a_champion_as_good_as_the_one_before_stays():
    broken = [bake(served(500, seed=n), served(2000, seed=n + 1000), POLICY, NOW).broken for n in range(100)]
    assert sum(broken) <= 2  # 1 % at most, however often one looks


def test_every_guard_that_breaks_is_named():
    before = served(2000, seed=1)
    for worse, name, word in (
        ({"rate": 0.4}, "quality", "quality went from 0.7"),
        ({"errors": 0.3}, "error_rate", "error rate went from 2"),
        ({"latency": 600.0}, "latency_p95", "latency p95 went from"),
    ):
        found = bake(served(300, seed=2, **worse), before, POLICY, NOW)
        assert found.broken
        assert found.guard == name
        assert word in found.reason


def test_requests_of_nobody_count_each_for_itself():
    assert (
        bake(served(300, rate=0.3, unit=False), served(500, seed=1, unit=False), POLICY, NOW).numbers["units_now"]
        == 300
    )


def test_without_anything_to_compare_nothing_is_broken():
    found = bake(served(0), served(100), POLICY, NOW)
    assert not found.broken
    assert found.guard is None
    assert not bake(served(100, rate=0.1), served(0), POLICY, NOW).broken
