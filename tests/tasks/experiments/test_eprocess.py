"""The evidence may be looked at after every pair, whatever the base rate, and its bounds agree with its decisions."""

from math import log

import numpy as np
import pytest

from tasks.experiments.eprocess import (
    BETTER,
    WORSE,
    against_at_least,
    against_at_most,
    against_no_gain,
    confidence_sequence,
    lift_stakes,
    pair,
)

RUNS = 400


def draws(base, lift, runs=RUNS, pairs=1500, seed=0):
    random = np.random.default_rng(seed)
    control = (random.random((runs, pairs)) < base).astype(float)
    return control, (random.random((runs, pairs)) < base * (1 + lift)).astype(float)


def ever(logs, alpha):
    return (logs.max(axis=-1) >= -log(alpha)).mean()


@pytest.mark.parametrize("base", [0.05, 0.5, 0.95])
def test_equal_arms_are_called_different_no_more_often_than_alpha_however_often_one_looks(base):
    control, challenger = draws(base, 0.0, pairs=2000)
    up = lift_stakes(control, challenger, 0.1, BETTER)
    down = lift_stakes(control, challenger, 0.1, WORSE)
    chance = 3 * (0.05 * 0.95 / RUNS) ** 0.5
    assert ever(against_at_most(0.0, control, challenger, up), 0.05) <= 0.05 + chance
    assert ever(against_at_least(0.0, control, challenger, down), 0.05) <= 0.05 + chance
    assert ever(against_no_gain(challenger - control, 1.0), 0.05) <= 0.05 + chance


def test_a_real_lift_is_found_and_a_real_loss_too():
    control, challenger = draws(0.7, 0.10)
    up = lift_stakes(control, challenger, 0.1, BETTER)
    assert ever(against_at_most(0.0, control, challenger, up), 0.01) >= 0.88  # 93 % in many runs
    control, challenger = draws(0.7, -0.10, pairs=3000)
    down = lift_stakes(control, challenger, 0.1, WORSE)
    assert ever(against_at_least(0.0, control, challenger, down), 0.05) >= 0.95


def test_a_factor_has_a_mean_of_one_where_the_hypothesis_just_holds():
    # Lift exactly 0.2: P(X) = 0.6, P(Y) = 0.5. E[1 + λ(X − 1.2·Y)] = 1 + λ(0.6 − 0.6) = 1 for every stake.
    stakes = lift_stakes(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]), 0.1, BETTER)
    for x, y, expected in ((1, 0, 1.0), (0, 1, -1.2), (1, 1, -0.2), (0, 0, 0.0)):
        gain = against_at_most(0.2, np.array([float(y)]), np.array([float(x)]), lift_stakes_of(0.5))
        assert float(np.exp(gain[0])) == pytest.approx(1 + 0.5 * expected)
    assert stakes.values.shape == (2, 2, 1)


def lift_stakes_of(value):
    stakes = lift_stakes(np.zeros(1), np.zeros(1), 0.1, ((1.0, 1.0),))
    return stakes._replace(values=np.full_like(stakes.values, value))


def test_a_stake_depends_on_earlier_pairs_only():
    control, challenger = (each[0] for each in draws(0.5, 0.0, runs=1, pairs=200))
    before = lift_stakes(control, challenger, 0.1, BETTER).values
    changed = challenger.copy()
    changed[100:] = 1 - changed[100:]
    after = lift_stakes(control, changed, 0.1, BETTER).values
    assert (before[:, :101] == after[:, :101]).all()
    assert (before[:, 101:] != after[:, 101:]).any()


def test_the_bound_is_above_zero_exactly_when_the_evidence_says_better():
    decided = 0
    for seed in range(40):
        control, challenger = (each[0] for each in draws(0.7, 0.08, runs=1, seed=seed))
        evidence = pair(control, challenger, 0.1)
        bounds = confidence_sequence(evidence, 0.05, 0.05, marks=(0.0, 0.05))
        assert (bounds.low[-1] >= 0.0) == (evidence.above(0.0) >= -log(0.05))
        assert (bounds.high[-1] <= 0.05) == (evidence.below(0.05) >= -log(0.05))
        decided += bounds.low[-1] >= 0.0
    assert 10 < decided < 40


def test_the_bounds_hold_the_true_lift_at_all_times_and_only_narrow():
    missed = 0
    for seed in range(200):
        control, challenger = (each[0] for each in draws(0.6, 0.10, runs=1, seed=seed))
        bounds = confidence_sequence(pair(control, challenger, 0.1), 0.05, 0.05)
        assert (bounds.low[1:] >= bounds.low[:-1]).all()
        assert (bounds.high[1:] <= bounds.high[:-1]).all()
        missed += (bounds.low > 0.10).any() or (bounds.high < 0.10).any()
    assert missed <= 200 * (0.10 + 3 * (0.1 * 0.9 / 200) ** 0.5)


def test_graded_outcomes_are_as_good_as_yes_and_no():
    random = np.random.default_rng(3)
    control, challenger = random.beta(14, 6, 400), random.beta(15.4, 4.6, 400)  # means 0.70 and 0.77, narrow
    evidence = pair(control, challenger, 0.1)
    assert evidence.above(0.0) >= -log(0.01)
    assert pair(control, control[::-1], 0.1).above(0.0) < -log(0.01)


def test_nothing_seen_says_nothing():
    evidence = pair(np.zeros(0), np.ones(5), 0.1)
    assert (evidence.above(0.0), evidence.below(0.0), evidence.worse_now()) == (0.0, 0.0, 0.0)
    assert len(confidence_sequence(evidence, 0.01, 0.05).pairs) == 0


def test_all_failed_or_all_resolved_is_no_problem():
    for value in (0.0, 1.0):
        evidence = pair(np.full(300, value), np.full(300, value), 0.1)
        bounds = confidence_sequence(evidence, 0.01, 0.05)
        assert np.isfinite(evidence.above(0.0))
        assert bounds.low[-1] <= 0.0 <= bounds.high[-1]
