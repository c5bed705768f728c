"""Guard metrics: what must not get worse while quality is looked at. Each may be looked at after every unit.

Every guard is a bet against "it is within its tolerance" on pairs of one unit of each arm (`eprocess`), so a guard that
is within it stops a challenger with at most its share of alpha, ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from registry.records import Record
from tasks.experiments.eprocess import SUSPICIOUS, Floats, against_no_gain
from tasks.experiments.units import Units

GuardName = Literal["error_rate", "latency_p95", "cost_per_resolved", "quality"]
FIRST = 32
"""Pairs before a threshold is taken from the control's own values; it is taken again whenever their number doubles."""

CAP = 4.0
"""Costs count up to so many times the control's 95th percentile: a bet needs a bound."""
Summary = Callable[[Floats], float]


class Guard(Record):
    """What a guard found."""

    name: GuardName
    control: float | None
    challenger: float | None
    tolerance: float
    p_value: float
    """Of "within its tolerance", valid however often one looks."""
    alpha: float
    broken: bool
    suspicious: bool
    """Whether it looks bad enough now not to give the challenger more units."""
    pairs: int


class Tolerances(NamedTuple):
    """How much worse a challenger may be before its guards break."""

    error_rate: float
    """Absolutely."""
    latency: float
    """Relatively; and by `slack` milliseconds on top, which no user feels."""
    slack: float
    cost: float
    """Relatively."""


def guards(control: Units, challenger: Units, within: Tolerances, alpha: float) -> list[Guard]:
    """Return the guards on errors, latency and cost; together they break by chance with probability `alpha` at most."""
    share = alpha / 3
    return [
        error_rate(control, challenger, within.error_rate, share),
        latency_p95(control, challenger, within.latency, within.slack, share),
        cost_per_resolved(control, challenger, within.cost, share),
    ]


def error_rate(control: Units, challenger: Units, tolerance: float, alpha: float) -> Guard:
    """Guard the share of failed requests: E[X] ≤ E[Y] + tolerance."""
    left, right = _pairs(control.failed, challenger.failed)
    gains = right - left - tolerance
    values = control.failed, challenger.failed
    return _guard("error_rate", values, _mean, tolerance, (gains, 1.0 + tolerance, alpha))


def latency_p95(control: Units, challenger: Units, tolerance: float, slack: float, alpha: float) -> Guard:
    """Guard the 95th percentile of the latency.

    With T the control's percentile in the pairs before: the challenger is beyond (1 + tolerance)·T + slack no more
    often than the control is beyond T. That holds whenever the challenger's latencies are the control's, made longer by
    no more than that.
    """
    left, right = _pairs(control.latency, challenger.latency)
    limit = _thresholds(left)
    gains = (right > (1.0 + tolerance) * limit + slack).astype(np.float64) - (left > limit)
    return _guard("latency_p95", (control.latency, challenger.latency), _p95, tolerance, (gains, 1.0, alpha))


def cost_per_resolved(control: Units, challenger: Units, tolerance: float, alpha: float) -> Guard:
    """Guard the cost of a resolved task, E[cost] / E[quality].

    The units of a pair do not know of each other, so products of one's cost and the other's quality have as their mean
    the product of the means: E[cost_X]·E[quality_Y] ≤ (1 + tolerance)·E[cost_Y]·E[quality_X] can be bet on as it is.
    """
    known = [units.take(~np.isnan(units.cost) & ~np.isnan(units.quality)) for units in (control, challenger)]
    left, right = known
    count = min(len(left.arm), len(right.arm))
    cap = CAP * _thresholds(left.cost[:count])
    costs = [np.minimum(units.cost[:count], cap) for units in known]
    with np.errstate(invalid="ignore", divide="ignore"):
        gains = (costs[1] * left.quality[:count] - (1.0 + tolerance) * costs[0] * right.quality[:count]) / cap
    gains = np.where(np.isfinite(cap) & (cap > 0), gains, 0.0)
    means = [float(units.cost.mean() / max(units.quality.mean(), 1e-9)) if len(units.arm) else None for units in known]
    values = left.cost, right.cost
    found = _guard("cost_per_resolved", values, _mean, tolerance, (gains, 1.0 + tolerance, alpha))
    return found.model_copy(update={"control": means[0], "challenger": means[1]})


def quality(control: Units, challenger: Units, drop: float, alpha: float) -> Guard:
    """Guard the quality of a new champion against that of the one before: E[X] ≥ (1 − drop)·E[Y]."""
    left, right = _pairs(control.quality, challenger.quality)
    gains = (1.0 - drop) * left - right
    return _guard("quality", (control.quality, challenger.quality), _mean, drop, (gains, 1.0, alpha))


def saving(control: Floats, challenger: Floats, least: float) -> float:
    """Return ln of the evidence that the mean of `challenger` is below (1 − least) times that of `control`.

    For costs and latencies, which have no upper bound: values count up to the cap.
    """
    left, right = _pairs(control, challenger)
    cap = CAP * _thresholds(left)
    with np.errstate(invalid="ignore", divide="ignore"):
        gains = ((1.0 - least) * np.minimum(left, cap) - np.minimum(right, cap)) / cap
    gains = np.where(np.isfinite(cap) & (cap > 0), gains, 0.0)
    return float(against_no_gain(gains, 1.0).max(initial=0.0))


# --- how it is done ------------------------------------------------------------------------------------------------


def _pairs(control: Floats, challenger: Floats) -> tuple[Floats, Floats]:
    left, right = control[~np.isnan(control)], challenger[~np.isnan(challenger)]
    count = min(len(left), len(right))
    return left[:count], right[:count]


def _thresholds(values: Floats) -> Floats:
    """Return for each pair the 95th percentile of the values before it, taken anew when their number doubles."""
    limits = np.full(len(values), np.inf)
    start = FIRST
    while start < len(values):
        limits[start : 2 * start] = np.quantile(values[:start], 0.95)
        start *= 2
    return limits


def _guard(
    name: GuardName, values: tuple[Floats, Floats], summary: Summary, tolerance: float, bet: tuple[Floats, float, float]
) -> Guard:
    """Return what a bet on `gains`, never below −low, found: `bet` is (gains, low, alpha)."""
    gains, low, alpha = bet
    logs = against_no_gain(gains, low)
    most = float(logs.max(initial=0.0))
    means = [summary(each) if (~np.isnan(each)).any() else None for each in values]
    return Guard(
        name=name,
        control=means[0],
        challenger=means[1],
        tolerance=tolerance,
        p_value=float(np.exp(-most)),
        alpha=alpha,
        broken=most >= -np.log(alpha),
        suspicious=len(logs) > 0 and bool(logs[-1] >= SUSPICIOUS),
        pairs=len(gains),
    )


def _mean(values: Floats) -> float:
    return float(np.nanmean(values))


def _p95(values: Floats) -> float:
    return float(np.nanquantile(values, 0.95))
