"""Split, guards, secondary metrics and Thompson sampling: each alone."""

import numpy as np
import pytest

from tasks.experiments.guards import Tolerances, guards
from tasks.experiments.secondary import holm, secondary
from tasks.experiments.srm import check_split
from tasks.experiments.thompson import thompson_weights

WITHIN = Tolerances(0.02, 0.25, 50.0, 0.25)


def test_a_sound_split_is_called_broken_no_more_often_than_alpha_at_any_look():
    random = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        second = np.cumsum(random.random(2000) < 0.5)
        looks = range(10, 2000, 40)
        broken += any(not check_split([n - second[n - 1], second[n - 1]], [0.5, 0.5], 0.05).sound for n in looks)
    assert broken / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_a_split_that_loses_a_tenth_of_an_arm_is_found():
    assert check_split([5000, 4500], [0.5, 0.5], 0.001).sound is False
    assert check_split([505, 495], [0.5, 0.5], 0.001).sound
    assert check_split([0, 0], [0.5, 0.5], 0.001).sound
    assert check_split([700, 300, 10], [0.7, 0.3, 0.0], 0.001).sound


def test_the_p_value_of_a_split_by_hand():
    # Beta(50, 50) prior at a split of one half, one unit each: E[θ(1 − θ)] = 50·50 / (100·101); over 1/4.
    ratio = (50 * 50 / (100 * 101)) / 0.25
    assert check_split([1, 1], [0.5, 0.5], 0.001).p_value == pytest.approx(min(1.0, 1 / ratio))


def test_guards_break_on_equal_arms_no_more_often_than_alpha(toys):
    broken = sum(
        any(guard.broken for guard in guards(toys.units(0, 1000, seed=n), toys.units(1, 1000, seed=n), WITHIN, 0.05))
        for n in range(200)
    )
    assert broken <= 200 * 0.05


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("error_rate", {"errors": 0.10}),
        ("latency_p95", {"latency": 450.0}),
        ("cost_per_resolved", {"cost": 0.03}),
        ("cost_per_resolved", {"rate": 0.3}),
    ],
)
def test_a_guard_breaks_on_what_it_guards_and_no_other_does(toys, name, worse):
    found = guards(toys.units(0, 1000), toys.units(1, 1000, **worse), WITHIN, 0.05)
    assert [guard.name for guard in found if guard.broken] == [name]


def test_a_guard_without_numbers_holds(toys):
    empty = toys.units(0, 50)._replace(latency=np.full(50, np.nan), cost=np.full(50, np.nan))
    found = guards(empty, empty, WITHIN, 0.05)
    assert not any(guard.broken for guard in found)
    assert found[1].control is None
    assert not any(guard.broken for guard in guards(toys.units(0, 0), toys.units(1, 0), WITHIN, 0.05))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.5; never falling.
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([]) == []


def test_secondary_metrics_are_corrected_for_their_number(toys):
    found = {each.name: each for each in secondary(toys.units(0, 2000), toys.units(1, 2000, latency=300.0))}
    assert found["latency"].adjusted < 0.01
    assert all(each.adjusted >= each.p_value for each in found.values())
    assert found["cost"].adjusted > 0.05
    assert found["negative"].control is None


def test_thompson_sampling_follows_what_is_likely_the_best_and_keeps_the_floor():
    random = np.random.default_rng(0)
    outcomes = [(random.random(300) < rate).astype(float) for rate in (0.5, 0.5, 0.7)]
    weights = thompson_weights(outcomes, 0.1, seed=1)
    assert weights == pytest.approx([0.1, 0.1, 0.8])
    assert thompson_weights([np.zeros(0)] * 4, 0.1, seed=1) == pytest.approx([0.25] * 4, abs=0.02)
