"""Numbers by hand, and against scipy where it has the same."""

import math

import numpy as np
import pytest
from scipy import stats

from registry.records import Interval
from tasks.validation import statistics as st


def test_clopper_pearson_by_hand():
    # no failure in n: P(X = n | p) = pⁿ = 0.05, so low = 0.05^(1/n): 100 → 0.970487, 20 → 0.860892
    assert st.clopper_pearson(100, 100).low == pytest.approx(0.05 ** (1 / 100))
    assert st.clopper_pearson(100, 100).low == pytest.approx(0.970487, abs=1e-6)
    assert st.clopper_pearson(20, 20).low == pytest.approx(0.860892, abs=1e-6)
    assert st.clopper_pearson(0, 20).high == pytest.approx(1 - 0.860892, abs=1e-6)
    interval, expected = st.clopper_pearson(93, 100), stats.binomtest(93, 100).proportion_ci(0.90, method="exact")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_design_effect_by_hand():
    # two groups of two, all alike within: totals of (x − 0.5) are +1 and −1, G/(G−1) = 2
    # variance = 2 · (1 + 1) / 4² = 0.25, independent = 0.25 / 4 = 0.0625, so 4 (groups of 2 double it, few groups too)
    assert st.design_effect(np.array([True, True, False, False]), np.array([0, 0, 1, 1])) == pytest.approx(4.0)
    assert st.design_effect(np.array([True, False, True, False]), np.array([0, 0, 1, 1])) == 1.0  # never below 1
    assert st.design_effect(np.array([True, True]), np.array([0, 1])) == 1.0


def test_a_share_over_independent_cases_is_nearly_exact_and_over_dependent_ones_is_wider():
    passed = np.arange(200) % 10 != 0
    alone, exact = st.clustered_share(passed, np.arange(200)), st.clopper_pearson(180, 200)
    assert (alone.low, alone.high) == pytest.approx((exact.low, exact.high), abs=2e-3)
    together = st.clustered_share(np.sort(passed), np.arange(200) // 10)
    assert together.low < exact.low
    assert together.high > exact.high
    assert st.clustered_share(np.ones(100, bool), np.arange(100) // 10).low == pytest.approx(0.970487, abs=1e-6)


def test_a_share_over_groups_by_hand():
    # 17 of 20 in five groups of four, one failure in the first and two in the fourth: x̄ = 0.85
    # totals of x − 0.85: −0.4, 0.6, 0.6, −1.4, 0.6, squares 0.16 + 3 · 0.36 + 1.96 = 3.2
    # variance 5/4 · 3.2 / 20² = 0.01, independent 0.85 · 0.15 / 20 = 0.006375, effect 1.568627
    # t_{0.95, 19} = 1.729133, t_{0.95, 4} = 2.131847
    # cases that count: 20 / 1.568627 · (1.729133 / 2.131847)² = 12.75 · 0.657883 = 8.38801, right 7.129808 of them
    passed = np.ones(20, bool)
    passed[[3, 12, 13]] = False
    interval, by_hand = st.clustered_share(passed, np.arange(20) // 4), st.clopper_pearson(7.129808, 8.388009)
    assert interval.estimate == 0.85
    assert (interval.low, interval.high) == pytest.approx((by_hand.low, by_hand.high), abs=1e-5)
    assert (interval.low, interval.high) == pytest.approx((0.511926, 0.987070), abs=1e-6)


def test_a_mean_by_hand_and_against_the_t_test():
    # 1, 2, 3, 6 in groups of one: mean 3, Σd² = 4 + 1 + 0 + 9 = 14, variance = 4/3 · 14 / 16 = 1.166667 (= s²/n)
    # t_{0.95, 3} = 2.353363, half = 2.353363 · 1.080123 = 2.541923
    values = np.array([1.0, 2.0, 3.0, 6.0])
    interval = st.clustered_mean(values, np.arange(4))
    assert (interval.low, interval.high) == pytest.approx((3 - 2.541923, 3 + 2.541923), abs=1e-6)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.90)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_a_mean_over_groups_of_equal_size_is_the_mean_of_their_means():
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=60), np.arange(60) // 5
    means = values.reshape(12, 5).mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.90)
    interval = st.clustered_mean(values, groups)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_a_relative_change_by_hand():
    # candidate = 0.9 · baseline in every case: the ratio is 0.9 without doubt
    baseline = np.array([0.2, 0.4, 0.6, 0.8])
    exact = st.relative_change(0.9 * baseline, baseline, np.arange(4))
    assert exact is not None
    assert (exact.low, exact.estimate, exact.high) == pytest.approx((-0.1, -0.1, -0.1))
    # a constant baseline of 0.5 makes Fieller's interval the t interval of candidate / 0.5: 0.4 0.5 0.6 → mean 0.5,
    # s²/n = 0.01/3 = 0.003333, t_{0.95, 2} = 2.919986, half = 2.919986 · 0.057735 = 0.168585, over 0.5 = 0.337171
    flat = st.relative_change(np.array([0.4, 0.5, 0.6]), np.full(3, 0.5), np.arange(3))
    assert flat is not None
    assert (flat.low, flat.high) == pytest.approx((-0.337171, 0.337171), abs=1e-5)


def test_the_p_value_of_a_degradation_by_hand():
    # 0.4 0.5 0.6 0.5 against 0.5 each, 5 % allowed: less 0.475 that is −0.075 0.025 0.125 0.025, mean 0.025
    # s = 0.081650, s/√4 = 0.040825, t = 0.612372 with 3 degrees of freedom: P(T ≤ t) = 0.708209
    p = st.degradation_p(np.array([0.4, 0.5, 0.6, 0.5]), np.full(4, 0.5), np.arange(4), 0.05)
    assert p == pytest.approx(0.708209, abs=1e-6)
    assert p == pytest.approx(stats.t.cdf(0.025 / 0.0408248, 3), abs=1e-6)


def test_the_ends_of_a_relative_change_are_where_the_test_is_at_its_level():
    rng = np.random.default_rng(2)
    baseline = rng.uniform(0.2, 1, 80)
    candidate = np.clip(baseline + rng.normal(0, 0.2, 80), 0, 1)
    groups = np.arange(80) // 4
    interval = st.relative_change(candidate, baseline, groups)
    assert interval is not None
    assert st.degradation_p(candidate, baseline, groups, -interval.high) == pytest.approx(0.05)
    assert st.degradation_p(candidate, baseline, groups, -interval.low) == pytest.approx(0.95)


def test_a_relative_change_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    baseline = rng.uniform(0, 1, 400)
    candidate = np.clip(baseline + rng.normal(-0.02, 0.3, 400), 0, 1)
    interval = st.relative_change(candidate, baseline, np.arange(400))
    boot = stats.bootstrap(
        (candidate, baseline), lambda c, b: c.mean() / b.mean() - 1, paired=True, vectorized=False, n_resamples=1500,
        confidence_level=0.90, method="BCa", rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((boot.low, boot.high), abs=0.006)


def test_a_ratio_to_nothing_has_no_interval():
    assert st.relative_change(np.array([0.1, 0.0, 0.0]), np.array([0.1, 0.0, 0.0]), np.arange(3)) is None
    assert st.relative_change(np.zeros(5), np.zeros(5), np.arange(5)) is None


def test_intervals_cover_the_truth_as_often_as_they_say_when_cases_depend_on_each_other():
    rng = np.random.default_rng(5)
    groups, misses, naive = np.arange(240) // 8, 0, 0
    for _ in range(400):
        baseline = np.clip(0.5 + rng.normal(0, 0.15, 30)[groups] + rng.normal(0, 0.1, 240), 0.01, 1)
        change = 0.95 + rng.normal(0, 0.2, 30)[groups] + rng.normal(0, 0.1, 240)  # truth: −5 %
        interval = st.relative_change(change * baseline, baseline, groups)
        alone = st.relative_change(change * baseline, baseline, np.arange(240))
        assert interval is not None
        assert alone is not None
        misses += interval.high < -0.05
        naive += alone.high < -0.05
    assert misses / 400 == pytest.approx(0.05, abs=0.03)
    assert naive / 400 > 0.12  # what ignoring the groups would do


def test_a_mean_of_a_constant_is_a_jackknife_of_nothing_and_the_mean_is_the_t_interval():
    # the jackknife of a mean is the ordinary standard error: values 1 2 3 6 as above
    values = np.array([1.0, 2.0, 3.0, 6.0])
    without = [float(np.delete(values, i).mean()) for i in range(4)]
    interval = st.jackknife(3.0, without)
    assert (interval.low, interval.high) == pytest.approx((3 - 2.541923, 3 + 2.541923), abs=1e-6)
    assert st.jackknife(2.0, [2.0, 2.0]).low == 2.0


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 = 0.04 0.06 0.06 0.04, made monotone 0.04 0.06 0.06 0.06
    assert st.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert st.holm([0.9, 0.8]) == [1.0, 1.0]
    assert st.holm([]) == []


def test_a_quantile_interval_by_hand():
    # median of 1 … 10: P(Binomial(10, ½) ≤ 1) = 11/1024 = 0.011, ≤ 2: 56/1024 = 0.055; so low is the 2nd value, and
    # by symmetry high the 9th
    interval = st.quantile_interval(np.arange(10, 0, -1.0), 0.5)
    assert (interval.low, interval.estimate, interval.high) == (2.0, 5.5, 9.0)
    assert st.quantile_interval(np.arange(10.0), 0.99).high == 9.0  # too few to say more


def test_quantile_bounds_hold_as_often_as_they_say():
    rng = np.random.default_rng(6)
    draws = [st.quantile_interval(rng.exponential(size=150), 0.95) for _ in range(1000)]
    truth = -math.log(0.05)
    assert np.mean([draw.low > truth for draw in draws]) <= 0.07
    assert np.mean([draw.high < truth for draw in draws]) <= 0.07


def test_the_calibration_error_by_hand():
    # two bins of two: (0.2, 0.4) happened 0 and 1: |0.3 − 0.5| = 0.2; (0.6, 0.8) happened 1 and 1: |0.7 − 1| = 0.3
    confidences, outcomes = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.0, 1.0, 1.0, 1.0])
    assert st.calibration_error(confidences, outcomes, bins=2, least=2) == pytest.approx((2 * 0.2 + 2 * 0.3) / 4)
    assert st.calibration_error(confidences, outcomes, bins=10, least=30) == pytest.approx(
        0.25
    )  # one bin: |0.5 − 0.75|
    assert st.calibration_error(np.full(50, 0.7), np.full(50, 0.7)) == pytest.approx(0)


def test_how_many_more_cases_decide_a_share():
    # all right: 0.05^(1/n) ≥ 0.95 ⇔ n ≥ ln 0.05 / ln 0.95 = 58.4, so 59 in all
    assert st.more_for_share(1.0, 40, 0.95) == 19
    assert st.more_for_share(1.0, 40, 0.95, effect=2.0) == 2 * 59 - 40 - 1  # 58.5 independent cases are enough
    assert st.more_for_share(0.95, 100, 0.95) == st.MOST_MORE
    more = st.more_for_share(0.97, 100, 0.95)
    assert st.clopper_pearson(0.97 * (100 + more), 100 + more).low >= 0.95
    assert st.clopper_pearson(0.97 * (99 + more), 99 + more).low < 0.95


def test_how_many_more_cases_decide_a_mean():
    # estimate −0.02, low −0.08, threshold −0.05: the half-width 0.06 must become 0.03, so four times the cases
    interval = Interval(estimate=-0.02, low=-0.08, high=0.04, method="")
    assert st.more_for_mean(interval, -0.05, 100) == 300
    assert st.more_for_mean(interval.model_copy(update={"estimate": -0.05}), -0.05, 100) == st.MOST_MORE
