"""The quality trigger on streams whose truth is known: what it finds, how soon, and how rarely it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.triggers.drift import Drop, design_effect, drop, falls, now

TOLERATED, REFERENCE, LEVEL = 0.03, 1_000, 0.015
RUNS, BEFORE, AFTER = 100, 2_000, 2_000
NOBODY = np.full(20_000, -1)
MEAN, SPREAD = 80.0, 18.0


def scores(seed: int, count: int, lost: float = 0.0, since: int = 0, mean: float = MEAN) -> np.ndarray:
    """Beta scores with standard deviation 18; from `since` on, their mean is lower by the share `lost`."""
    means = np.where(np.arange(count) >= since, mean * (1 - lost), mean) / 100
    size = means * (1 - means) / (SPREAD / 100) ** 2 - 1
    return 100 * np.random.default_rng(seed).beta(means * size, (1 - means) * size)


def look(quality: np.ndarray, units: np.ndarray | None = None) -> Drop | None:
    return drop(quality, NOBODY[: len(quality)] if units is None else units, TOLERATED, REFERENCE, LEVEL)


def delay(seed: int, lost: float) -> float:
    """Observations after the change until a look at all so far fires."""
    quality = scores(seed, BEFORE + AFTER, lost, BEFORE)
    found = falls(quality, np.arange(len(quality)), REFERENCE, LEVEL)
    for fall in found:
        if now(quality[: fall.seen], found[: found.index(fall) + 1], TOLERATED, REFERENCE).fired:
            return float(fall.seen - BEFORE)
    return float("inf")


@pytest.mark.parametrize(("lost", "median"), [(0.05, 900), (0.10, 250)])
def test_a_real_drop_is_found_soon(lost, median):
    delays = np.array([delay(seed, lost) for seed in range(RUNS)])
    assert np.mean((delays > 0) & (delays <= AFTER)) >= 0.95
    assert np.median(delays) <= median


def test_ten_thousand_observations_without_change_raise_no_alarm():
    units = np.arange(10_000)
    alarms = [look(scores(1_000 + seed, 10_000), units).fired for seed in range(RUNS)]
    assert sum(alarms) <= 1


def test_users_who_come_back_raise_no_alarm():
    """Answers to one user are alike: 8 in a row, from users whose means have a standard deviation of 8 points."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        units = np.repeat(np.arange(1_250), 8)
        quality = 80 + rng.normal(0, 8, 1_250)[units] + rng.normal(0, 14, 10_000)
        alarms += look(quality, units).fired
    assert alarms <= 1


def test_sums_of_alike_answers_vary_more():
    """All 8 answers of a user the same: the sum of 8 has 64 and not 8 times the variance."""
    units = np.repeat(np.arange(500), 8)
    quality = np.random.default_rng(0).normal(50, 10, 500)[units]
    assert design_effect(quality, units) == pytest.approx(8)
    assert design_effect(quality, np.arange(4_000)) == 1.0


def test_neighbours_that_are_alike_are_noticed_without_units():
    """Tens of the same score: the sum of 10 has 100 and not 10 times the variance."""
    quality = np.repeat(np.random.default_rng(0).normal(50, 10, 400), 10)
    assert design_effect(quality, NOBODY[:4_000]) == pytest.approx(10)


def test_a_rise_is_no_fall_and_a_fall_that_is_over_fires_no_more():
    rise = np.concatenate([scores(0, 2_000), scores(1, 2_000, mean=88)])
    assert not look(rise).fired
    fell = np.concatenate([scores(2, 2_000), scores(3, 1_000, mean=66)])
    assert look(fell).fired
    after = look(np.concatenate([fell, scores(4, 2_000)]))
    assert after.falls
    assert not after.fired


def test_the_beginning_of_a_fall_is_told():
    found = look(scores(5, 3_000, 0.15, 2_000))
    assert found.falls[0].since == pytest.approx(2_000, abs=40)
    assert found.before == pytest.approx(80, abs=1.5)
    assert found.after == pytest.approx(68, abs=1.5)
    assert found.share == pytest.approx(0.15, abs=0.03)


def test_a_real_fall_that_is_smaller_than_tolerated_does_not_fire():
    found = look(scores(6, 60_000, 0.015, 30_000), np.arange(60_000))
    assert not found.fired


def test_streams_that_say_nothing_do_not_break():
    assert look(scores(0, REFERENCE - 1)) is None
    assert not look(np.zeros(2_000)).fired
    assert not look(np.full(2_000, 100.0)).fired
    assert look(np.concatenate([np.full(2_000, 100.0), np.full(200, 90.0)])).fired
