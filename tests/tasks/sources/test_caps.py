"""Limits of shares: as many rows as may stay, and no group above its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources.caps import Limit, quotas, within


def kept(limits, n, fixed=(), order=None):
    mask = np.zeros(n, dtype=bool)
    mask[list(fixed)] = True
    return within(limits, mask, np.arange(n) if order is None else np.asarray(order))


def groups(*sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


def test_no_group_keeps_more_than_its_share_of_what_stays():
    found = kept([Limit("source", groups(900, 100, 100), 0.5)], 1_100)
    assert np.bincount(groups(900, 100, 100)[found.keep]).tolist() == [200, 100, 100]  # 200 = 0.5 · 400


def test_a_limit_with_one_group_limits_nothing():
    assert kept([Limit("source", groups(50), 0.1)], 50).keep.all()


def test_two_groups_under_a_limit_of_a_third_share_alike():
    found = kept([Limit("source", groups(30, 10), 1 / 3)], 40)
    assert np.bincount(groups(30, 10)[found.keep]).tolist() == [10, 10]


def test_rows_that_the_limit_does_not_hold_for_all_stay():
    group = np.r_[np.full(70, -1), np.zeros(400, dtype=np.int64)]
    found = kept([Limit("source", group, 0.3)], 470)
    assert found.keep[:70].all()
    assert found.keep[70:].sum() == 30  # 30 = 0.3 · 100


def test_rows_of_the_parent_stay_and_count():
    found = kept([Limit("source", groups(60, 40), 0.5)], 100, fixed=range(50))
    assert found.keep[:50].all()
    assert found.keep[50:60].sum() == 0  # 50 of 90 is more than half already
    assert found.keep[60:].all()


def test_the_first_in_the_order_stay():
    order = np.arange(100)[::-1]
    found = kept([Limit("source", groups(90, 10), 0.5)], 100, order=order)
    assert np.flatnonzero(found.keep).tolist() == list(range(80, 100))


def test_limits_that_disturb_each_other_all_hold_in_the_end():
    rng = np.random.default_rng(0)
    source, domain = rng.integers(0, 4, 4_000) ** 2 % 4, rng.integers(0, 5, 4_000) // 2
    found = kept([Limit("source", source, 0.5), Limit("domain", domain, 0.4)], 4_000)
    total = found.keep.sum()
    assert np.bincount(source[found.keep]).max() <= 0.5 * total
    assert np.bincount(domain[found.keep]).max() <= 0.4 * total
    assert (found.kind[~found.keep] >= 0).all()
    assert (found.kind[found.keep] == -1).all()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.floats(0.2, 0.9))
def test_one_row_more_of_any_group_would_be_too_many(sizes, share):
    total = np.array(sizes)
    wanted = max(share, 1 / len(sizes))
    quota = quotas(total, np.zeros_like(total), np.full(len(sizes), wanted))
    assert (quota <= wanted * quota.sum() + 1e-6).all()
    better = np.minimum(total, np.floor(wanted * (quota.sum() + 1) + 1e-9))
    assert better.sum() <= quota.sum()


@pytest.mark.parametrize("n", [0, 1])
def test_next_to_nothing_is_left_as_it_is(n):
    assert kept([Limit("source", np.zeros(n, dtype=np.int64), 0.5)], n).keep.all()
