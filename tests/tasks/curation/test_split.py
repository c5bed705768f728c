"""Splits hit their shares over all and in every stratum, and never cut a group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.groups import NO_SIDE
from tasks.curation.kernels import deal_groups
from tasks.curation.split import STRATUM_GROUPS, split

SHARES = (0.8, 0.1, 0.1)


def _split(label: np.ndarray, strata: np.ndarray, side: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    tie = np.random.default_rng(seed).integers(0, 2**63, len(label)).astype(np.uint64)
    fixed = np.full(len(label), NO_SIDE, dtype=np.int8) if side is None else side
    return split(label, fixed, strata, SHARES, tie)


def _shares(sides: np.ndarray) -> np.ndarray:
    return np.bincount(sides, minlength=3) / len(sides)


def test_dealing_by_hand() -> None:
    # Ten groups of one example, one stratum, targets 8, 1, 1. Dealing one example to a side that has c of a target t
    # changes Σ (c − t)² / t by (2 (c − t) + 1) / t. At first: train (2·−8 + 1)/8 = −1.875, validation and test
    # (2·−1 + 1)/1 = −1, so train. Train's cost grows by 2/8 with each: after 4 it is −0.875 > −1, so validation is
    # next, then test (both are +1 from then on), then train again up to 8.
    target = np.array([[8.0, 1.0, 1.0], [8.0, 1.0, 1.0]])
    out = np.full(10, NO_SIDE, dtype=np.int8)
    deal_groups(np.arange(10), np.arange(11), np.zeros(10, dtype=np.int64), target, np.zeros((2, 3)), out)
    assert out.tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (10, [8, 1, 1]), (20, [16, 2, 2])],
)
def test_tiny_inputs_fill_train_then_test_then_validation(groups: int, expected: list[int]) -> None:
    sides = _split(np.arange(groups), np.zeros(groups, dtype=np.int64))
    assert np.bincount(sides, minlength=3).tolist() == expected


def test_of_two_groups_the_larger_is_learned_from() -> None:
    assert _split(np.array([0, 0, 1]), np.zeros(3, dtype=np.int64)).tolist() == [0, 0, 2]


def test_nothing_gives_nothing() -> None:
    assert len(_split(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))) == 0


@pytest.mark.parametrize("seed", range(8))
def test_few_groups_of_uneven_size_hit_the_shares_within_a_point(seed: int) -> None:
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(36), generator.integers(1, 5, 36))  # about 84 examples in 36 groups
    sides = _split(label, generator.integers(0, 2, len(label)), seed=seed)
    assert np.abs(_shares(sides) - SHARES).max() <= 0.01 + 0.5 / len(label)


@pytest.mark.parametrize(
    ("groups", "seed"),
    [(40, 0), (40, 4), (40, 18), (40, 123), (60, 232), (60, 50), (60, 558), (100, 20), (100, 123), (100, 582)],
)
def test_heavy_tailed_groups_of_one_stratum_each_hit_all_shares(groups: int, seed: int) -> None:
    """What is least in squares here is more than a point off over all, or more than three in a stratum."""
    generator = np.random.default_rng(seed)
    sizes = np.minimum(generator.pareto(1.0, groups).astype(int) + 1, 40)
    label, strata = np.repeat(np.arange(groups), sizes), np.repeat(generator.integers(0, 2, groups), sizes)
    sides = _split(label, strata, seed=seed)
    assert np.abs(_shares(sides) - SHARES).max() <= 0.01
    for stratum in range(2):
        if len(np.unique(label[strata == stratum])) >= STRATUM_GROUPS:
            assert np.abs(_shares(sides[strata == stratum]) - SHARES).max() <= 0.03


@pytest.mark.parametrize("rows", [1000, 12_000])
def test_strata_of_many_groups_hit_the_shares_within_three_points(rows: int) -> None:
    generator = np.random.default_rng(rows)
    label = np.sort(generator.integers(0, rows // 2, rows))
    strata = generator.choice(6, rows, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    sides = _split(label, strata)
    assert np.abs(_shares(sides) - SHARES).max() <= 0.01
    for stratum in range(6):
        inside = strata == stratum
        if len(np.unique(label[inside])) >= STRATUM_GROUPS:
            assert np.abs(_shares(sides[inside]) - SHARES).max() <= 0.03


def test_a_group_larger_than_the_smaller_sides_goes_to_train() -> None:
    label = np.concatenate([np.zeros(500, dtype=np.int64), np.arange(1, 501)])
    sides = _split(label, np.zeros(1000, dtype=np.int64))
    assert sides[0] == 0
    assert np.abs(_shares(sides) - SHARES).max() <= 0.001


def test_groups_that_have_a_side_keep_it_and_new_ones_make_up_for_them() -> None:
    label = np.arange(1000)
    side = np.full(1000, NO_SIDE, dtype=np.int8)
    side[:100] = 0  # the parent has train alone
    sides = _split(label, np.zeros(1000, dtype=np.int64), side)
    assert (sides[:100] == 0).all()
    assert np.abs(_shares(sides) - SHARES).max() <= 0.001


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60),
    st.dictionaries(st.integers(0, 12), st.integers(0, 2), max_size=5),
)
def test_no_group_is_ever_cut_and_fixed_sides_hold(rows: list[tuple[int, int]], fixed: dict[int, int]) -> None:
    label, strata = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    side = np.array([fixed.get(int(each), NO_SIDE) for each in label], dtype=np.int8)
    sides = _split(label, strata, side)
    assert set(sides.tolist()) <= {0, 1, 2}
    for each in np.unique(label):
        assert len(set(sides[label == each].tolist())) == 1
    assert (sides[side != NO_SIDE] == side[side != NO_SIDE]).all()


def test_the_seed_decides_between_equal_groups() -> None:
    label, strata = np.arange(200), np.zeros(200, dtype=np.int64)
    assert np.array_equal(_split(label, strata, seed=1), _split(label, strata, seed=1))
    assert not np.array_equal(_split(label, strata, seed=1), _split(label, strata, seed=2))


def test_stratification_by_hand() -> None:
    # 100 examples of their own group: stratum A has 60, B 30, C 10. Wanted are 80/10/10 of each:
    # A 48, 6, 6; B 24, 3, 3; C 8, 1, 1; over all 80, 10, 10. All are whole numbers, so nothing may be off.
    strata = np.repeat([0, 1, 2], [60, 30, 10])
    for seed in range(5):
        sides = _split(np.arange(100), np.random.default_rng(seed).permutation(strata), seed=seed)
        shuffled = np.random.default_rng(seed).permutation(strata)
        cells = [np.bincount(sides[shuffled == stratum], minlength=3).tolist() for stratum in range(3)]
        assert cells == [[48, 6, 6], [24, 3, 3], [8, 1, 1]]


def test_stratification_of_groups_by_hand() -> None:
    # 40 groups of 2 and 20 groups of 1 in one stratum, 50 groups of 2 in another: 100 and 100 examples.
    # Wanted: 80, 10, 10 of each. Both can be met without cutting a group: 10 = 5 · 2 or 4 · 2 + 2 · 1 …
    label = np.concatenate([np.repeat(np.arange(40), 2), np.arange(40, 60), np.repeat(np.arange(60, 110), 2)])
    strata = np.repeat([0, 1], 100)
    sides = _split(label, strata)
    assert [np.bincount(sides[strata == stratum]).tolist() for stratum in (0, 1)] == [[80, 10, 10], [80, 10, 10]]


def test_other_shares_by_hand() -> None:
    # 0.5, 0.25, 0.25 of 40: 20, 10, 10; with no validation share 0.9, 0, 0.1: 36, 0, 4
    one, rows = np.full(40, NO_SIDE, dtype=np.int8), np.arange(40)
    strata, tie = np.zeros(40, dtype=np.int64), rows.astype(np.uint64)
    assert np.bincount(split(rows, one, strata, (0.5, 0.25, 0.25), tie)).tolist() == [20, 10, 10]
    assert np.bincount(split(rows, one, strata, (0.9, 0.0, 0.1), tie), minlength=3).tolist() == [36, 0, 4]
