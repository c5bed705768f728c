"""Experiments as toys: units drawn from given rates."""

from types import SimpleNamespace

import numpy as np
import pytest

from tasks.experiments.judgement import ExperimentEvidence
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.units import Exposure, Units

QUICK = ExperimentPolicy(min_hours=0.0, min_units=0)


def draw_units(arm, count, rate=0.7, errors=0.02, latency=200.0, cost=0.01, seed=0):
    random = np.random.default_rng([seed, arm])
    return Units(
        arm=np.full(count, arm, dtype=np.int8),
        opened=np.arange(count, dtype=np.int64),
        quality=(random.random(count) < rate).astype(float),
        failed=(random.random(count) < errors).astype(float),
        negative=np.full(count, np.nan),
        latency=random.gamma(4.0, latency / 4.0, count),
        cost=random.gamma(4.0, cost / 4.0, count),
        tokens=random.gamma(4.0, 25.0, count),
    )


def together(*arms):
    return Units._make(np.concatenate(columns) for columns in zip(*arms, strict=True))


def make_evidence(*arms, **more):
    names = (
        ["control", "challenger"] if len(arms) == 2 else ["control", *(f"version-{n}" for n in range(2, len(arms) + 1))]
    )
    counts = np.array([len(arm.arm) for arm in arms])
    default = {
        "key": "support-2", "arms": names, "versions": [str(n + 1) for n in range(len(arms))], "mode": "live",
        "share": 0.1, "weights": None, "units": together(*arms), "exposure": Exposure(counts, 0, 0), "hours": 100.0,
        "step_hours": 100.0, "step_units": 1000,
    }  # fmt: skip
    return ExperimentEvidence(**default | more)


@pytest.fixture(scope="session")
def toys():
    """What tests make experiments with; test files cannot import this one."""
    return SimpleNamespace(units=draw_units, evidence=make_evidence, quick=QUICK)
