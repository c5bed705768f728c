"""Statistics of validation. They see numbers only.

Cases of one group depend on each other, so every interval is made from the spread of groups. Each end of an interval
is a one-sided bound: with `level` 0.95, the truth is below `low` in 5 % of all examinations and above `high` in 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from registry.records import Interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Groups = NDArray[np.int64]

RESAMPLES = 300
"""Resamples of a bootstrap."""
MOST_MORE = 1_000_000
"""Where the search for "how many more cases" ends."""


# --- shares --------------------------------------------------------------------------------------------------------


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> Interval:
    """Return the exact interval of a share (Clopper and Pearson 1934), both ends one-sided at `level`.

    The bounds are quantiles of beta distributions, so fractional counts are allowed (`clustered_share` uses them).
    """
    failures = trials - successes
    low = float(special.betaincinv(successes, failures + 1, 1 - level)) if successes > 0 else 0.0
    high = float(special.betaincinv(successes + 1, failures, level)) if failures > 0 else 1.0
    return Interval(estimate=successes / trials, low=low, high=high, level=level, method="Clopper-Pearson, one-sided")


def clustered_share(passed: Bools, groups: Groups, level: float = 0.95) -> Interval:
    """Return the exact interval of a share over dependent cases (Korn and Graubard 1998), one-sided at `level`.

    The cases count as `n / design_effect`, scaled by (t_{n−1} / t_{G−1})² for G groups, and never as more than n.
    With independent cases this is close to Clopper and Pearson; with no failure at all it is the same.

    Args:
        passed: Shape (n,).
        groups: Group of each case, shape (n,).
        level: Confidence of each end.
    """
    trials, share = len(passed), float(passed.mean())
    effective = trials / design_effect(passed, groups)
    if 0 < share < 1:
        many, few = _t(level, trials - 1), _t(level, _count(groups) - 1)
        effective = min(trials, effective * (many / few) ** 2)
    exact = clopper_pearson(share * effective, effective, level)
    return exact.model_copy(update={"method": "Korn-Graubard over groups, one-sided"})


def design_effect(passed: Bools, groups: Groups) -> float:
    """Return by how much dependence within groups widens the variance of a share: at least 1.

    Variance of the mean from group totals, G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))² / n², over x̄(1−x̄)/n.
    """
    share = float(passed.mean())
    if share in (0.0, 1.0) or _count(groups) < 2:
        return 1.0
    independent = share * (1 - share) / len(passed)
    return max(1.0, _mean_variance(np.asarray(passed - share, dtype=np.float64), groups) / independent)


# --- means ---------------------------------------------------------------------------------------------------------


def clustered_mean(values: Floats, groups: Groups, level: float = 0.95) -> Interval:
    """Return the t interval of a mean over dependent cases, one-sided at `level`, with G − 1 degrees of freedom.

    x̄ ± t_{G−1} √(G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))²) / n: the cluster-robust variance (Liang and Zeger 1986) with the
    usual correction for few groups. Needs two groups.
    """
    mean = float(values.mean())
    half = _t(level, _count(groups) - 1) * math.sqrt(_mean_variance(values - mean, groups))
    return Interval(estimate=mean, low=mean - half, high=mean + half, level=level, method="t over groups, one-sided")


def relative_change(candidate: Floats, baseline: Floats, groups: Groups, level: float = 0.95) -> Interval | None:
    """Return the interval of mean(candidate) / mean(baseline) − 1 over paired, dependent cases.

    Fieller's interval (1954): all ratios r for which the mean of `candidate − r · baseline` is within t_{G−1} of its
    group-robust standard errors from 0. None where the baseline's mean cannot be told from 0.

    Args:
        candidate: Scores, shape (n,).
        baseline: Scores of the same cases, shape (n,).
        groups: Group of each case, shape (n,); at least two groups.
        level: Confidence of each end.
    """
    c, b = float(candidate.mean()), float(baseline.mean())
    t2 = _t(level, _count(groups) - 1) ** 2
    dc, db = candidate - c, baseline - b
    vc, vb = _mean_variance(dc, groups), _mean_variance(db, groups)
    vcb = (_mean_variance(dc + db, groups) - vc - vb) / 2
    # r² (b² − t² vb) − 2 r (c b − t² vcb) + (c² − t² vc) = 0
    square, cross, constant = b * b - t2 * vb, c * b - t2 * vcb, c * c - t2 * vc
    if square <= 0:
        return None
    root = math.sqrt(max(0.0, cross * cross - square * constant))
    low, high = (cross - root) / square - 1, (cross + root) / square - 1
    return Interval(
        estimate=c / b - 1, low=max(-1.0, low), high=high, level=level, method="Fieller over groups, one-sided"
    )


def degradation_p(candidate: Floats, baseline: Floats, groups: Groups, allowed: float) -> float:
    """Return the one-sided p-value of "the candidate lost at most the share `allowed` of the baseline's mean".

    The t test of mean(candidate − (1 − allowed) · baseline) ≥ 0, group-robust, that `relative_change` inverts.
    """
    margin = candidate - (1 - allowed) * baseline
    mean, error = float(margin.mean()), math.sqrt(_mean_variance(margin - margin.mean(), groups))
    if error == 0:
        return 0.0 if mean < 0 else 1.0
    return float(special.stdtr(_count(groups) - 1, mean / error))


def jackknife(estimate: float, without: Sequence[float], level: float = 0.95) -> Interval:
    """Return the delete-a-group jackknife interval of a statistic, one-sided at `level` (Tukey 1958).

    Args:
        estimate: The statistic of all cases.
        without: The statistic without group g, for each of the G groups.
        level: Confidence of each end.
    """
    values = np.asarray(without)
    count = len(values)
    error = math.sqrt((count - 1) / count * float(((values - values.mean()) ** 2).sum()))
    half = _t(level, count - 1) * error
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=level,
        method="jackknife over groups, one-sided",
    )


def _mean_variance(deviations: Floats, groups: Groups) -> float:
    """Variance of a mean from deviations around it: G/(G−1) · Σ_g (Σ_{i∈g} d_i)² / n²."""
    totals = np.bincount(groups, weights=deviations)
    count = _count(groups)
    if count < 2:
        return math.inf if np.any(deviations) else 0.0
    return count / (count - 1) * float((totals**2).sum()) / len(deviations) ** 2


def _count(groups: Groups) -> int:
    return len(np.unique(groups))


def _t(level: float, freedom: int) -> float:
    return float(special.stdtrit(max(freedom, 1), level))


# --- several tests, quantiles, calibration -------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm 1979): sorted, p_(k) · (m − k + 1), made monotone, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = worst
    return adjusted


def quantile_interval(values: Floats, q: float, level: float = 0.95) -> Interval:
    """Return a quantile with distribution-free bounds from order statistics, one-sided at `level`.

    The k-th smallest of n is below the q quantile with probability P(Binomial(n, q) ≥ k): `low` is the largest such
    value with at least `level`, `high` the smallest with P(Binomial(n, q) ≤ k − 1) ≥ level. Where n is too small for
    a bound it is the smallest or the largest value.
    """
    ordered, n = np.sort(values), len(values)
    at_most = special.bdtr(np.arange(n), n, q)  # P(Binomial ≤ k), k = 0 … n−1
    low = int(np.searchsorted(at_most, 1 - level, side="right"))  # P(Binomial ≥ k) ≥ level  ⇔  P(≤ k−1) ≤ 1 − level
    high = min(n - 1, int(np.searchsorted(at_most, level)))
    return Interval(
        estimate=float(np.quantile(ordered, q)),
        low=float(ordered[max(0, low - 1)]),
        high=float(ordered[high]),
        level=level,
        method="order statistics, one-sided",
    )


def calibration_error(confidences: Floats, outcomes: Floats, bins: int = 10, least: int = 30) -> float:
    """Return the expected calibration error (Naeini et al. 2015): Σ_bins share · |mean confidence − mean outcome|.

    Bins hold equally many cases, sorted by confidence, at least `least` where there are as many: small bins would
    show noise as miscalibration.

    Args:
        confidences: In [0, 1], shape (n,), n ≥ 1.
        outcomes: What the confidence speaks of, in [0, 1], shape (n,).
        bins: Bins at most.
        least: Cases per bin at least.
    """
    count = max(1, min(bins, len(confidences) // least))
    order = np.lexsort((outcomes, confidences))  # ties have one order, so the result has one value
    parts = np.array_split(order, count)
    gaps = [len(part) * abs(float(confidences[part].mean() - outcomes[part].mean())) for part in parts]
    return sum(gaps) / len(confidences)


def calibration_rise(
    candidate: tuple[Floats, Floats], baseline: tuple[Floats, Floats], groups: Groups, floor: float, level: float
) -> Interval:
    """Return how much larger the candidate's calibration error is than the baseline's, or than `floor` if that is more.

    A basic bootstrap of whole groups (Davison and Hinkley 1997, section 2.4; Field and Welsh 2007 for groups): the
    error of a resample is larger than that of the sample, and subtracting takes that back. `low` is one-sided.

    Args:
        candidate: Confidences and scores, shape (n,) each.
        baseline: The same of the baseline, on the same cases.
        groups: Group of each case, numbered from 0, shape (n,).
        floor: Calibration error that any model may have.
        level: Confidence of each bound.
    """
    rng = np.random.default_rng([len(groups), 11])
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])

    def rise(rows: Groups) -> float:
        before, after = (calibration_error(sure[rows], right[rows]) for sure, right in (baseline, candidate))
        return after - max(before, floor)

    found = rise(np.arange(len(groups)))
    picks = rng.integers(0, len(members), (RESAMPLES, len(members)))
    resampled = [rise(np.concatenate([members[group] for group in pick])) for pick in picks]
    low, high = (2 * found - float(np.quantile(resampled, q)) for q in (level, 1 - level))
    return Interval(estimate=found, low=low, high=high, level=level, method="basic bootstrap of groups, one-sided")


# --- how many more -------------------------------------------------------------------------------------------------


def more_for_share(share: float, trials: int, threshold: float, effect: float = 1.0, level: float = 0.95) -> int:
    """Return how many more cases would decide whether a share is above or below `threshold`, at the share seen.

    The smallest n whose Clopper-Pearson interval at `share`, with n / `effect` independent cases, excludes the
    threshold, less `trials`; at most `MOST_MORE`.
    """

    def decides(n: int) -> bool:
        interval = clopper_pearson(share * n / effect, n / effect, level)
        return interval.low >= threshold or interval.high < threshold

    low, high = 0, 1
    while high < MOST_MORE and not decides(trials + high):
        low, high = high, high * 2
    if high >= MOST_MORE:
        return MOST_MORE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(trials + middle) else (middle, high)
    return high


def more_for_mean(interval: Interval, threshold: float, trials: int) -> int:
    """Return how many more cases would decide a mean, at the mean and spread seen.

    The half-width h towards the threshold shrinks with √n, so n · (h / |estimate − threshold|)² cases are needed.
    """
    distance = abs(interval.estimate - threshold)
    half = interval.estimate - interval.low if interval.estimate > threshold else interval.high - interval.estimate
    if distance * math.sqrt(MOST_MORE) <= half:
        return MOST_MORE
    return min(MOST_MORE, max(1, math.ceil(trials * (half / distance) ** 2) - trials))
