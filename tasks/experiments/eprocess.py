"""Evidence that may be looked at after every observation: betting e-processes, and the confidence sequence they give.

One outcome a unit, in [0, 1]. The i-th outcome of the control, Yᵢ, and the i-th of the challenger, Xᵢ, make a pair.
Against "the relative lift is at most r", E[X] ≤ (1 + r)·E[Y], somebody starts with 1 and bets before each pair a stake
λᵢ ≥ 0 that depends on earlier pairs only:

    Kₙ(r) = Πᵢ (1 + λᵢ·(Xᵢ − (1 + r)·Yᵢ)),   with λᵢ·(1 + r) < 1, so that Kₙ stays positive

If the hypothesis is true each factor has a conditional mean of at most 1: Kₙ is a nonnegative supermartingale, and by
Ville's inequality the probability that it *ever* reaches 1/α is at most α. Nothing but boundedness is used, so it is
exact at a base rate of 0.05 as at 0.5, for yes/no outcomes and for graded ones (Waudby-Smith & Ramdas 2024, "Estimating
means of bounded random variables by betting"). A weighted mean of such processes is one too; this is how several
stakes are held at once. Kₙ(r) falls with r for given stakes, so {r: supₙ Kₙ(r) < 1/α} is a half line: the bound that
holds at all times. A bound above 0 and an e-process at r = 0 that has reached 1/α are therefore the same statement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SUSPICIOUS = float(np.log(5.0))
"""Evidence of harm, as ln K, from which a challenger gets no more units: it is five times what it was at first."""
MOST = 0.75
"""Largest stake: a lost bet never costs more of the capital."""
BETTER = ((0.8, 0.9), (3.0, 0.1))
WORSE = ((1.0, 0.85), (4.0, 0.15))
"""What lifts to bet on, as multiples of the expected one, and with which part of the capital. Stakes for a little less
than is expected cross the bound sooner on most paths, the small second part finds large effects early."""
CONSTANT = tuple(MOST * 0.5**step for step in range(7))
"""Stakes where nothing is known of the effect's size, as shares of the largest: equal parts of the capital."""


class Stakes(NamedTuple):
    """What is bet on each of n pairs: k stakes held at once, shape (k, …, n), and their parts of the capital (k,)."""

    values: Floats
    parts: Floats


def lift_stakes(control: Floats, challenger: Floats, expected: float, plan: tuple[tuple[float, float], ...]) -> Stakes:
    """Return stakes for a lift of about `expected`, each from the pairs before it alone.

    The capital grows fastest at λ = E[D] / E[D²] with D = X − Y; at a lift of l, E[D] = l·E[Y]. Both are estimated from
    the earlier pairs: the mean with one success and one failure added, E[D²] with one observation of 1/4.

    Args:
        control: Outcomes Y, shape (…, n).
        challenger: Outcomes X, the same shape.
        expected: Relative lift that is hoped for (or feared), above 0.
        plan: Multiples of it to bet on, with their parts of the capital.
    """
    seen = np.arange(control.shape[-1], dtype=np.float64)
    both, squares = control + challenger, (challenger - control) ** 2
    mean = (np.cumsum(both, axis=-1) - both + 1.0) / (2.0 * seen + 2.0)
    spread = (np.cumsum(squares, axis=-1) - squares + 0.25) / (seen + 1.0)
    best = mean / spread
    values = [np.minimum(multiple * expected * best, MOST) for multiple, _ in plan]
    return Stakes(np.stack(values), np.array([part for _, part in plan]))


def log_capital(stakes: Floats, parts: Floats, gains: Floats) -> Floats:
    """Return ln Kₙ after each pair: the parts of the capital bet their stakes on `gains`, and are added up."""
    axes = (slice(None), *[None] * gains.ndim)
    logs = np.cumsum(np.log1p(stakes * gains), axis=-1)
    logs += np.log(parts)[axes]
    return np.asarray(np.logaddexp.reduce(logs, axis=0))


def against_at_most(lift: float, control: Floats, challenger: Floats, stakes: Stakes) -> Floats:
    """Return ln Kₙ against "the lift is at most `lift`", shape (…, n)."""
    most = 0.95 / max(1.0 + lift, 0.95)  # falls with the lift as 1/(1 + lift), which keeps Kₙ falling
    gains = challenger - (1.0 + lift) * control
    return log_capital(np.minimum(stakes.values, most), stakes.parts, gains)


def against_at_least(lift: float, control: Floats, challenger: Floats, stakes: Stakes) -> Floats:
    """Return ln Kₙ against "the lift is at least `lift`", shape (…, n)."""
    return log_capital(stakes.values, stakes.parts, (1.0 + lift) * control - challenger)


def against_no_gain(gains: Floats, low: float) -> Floats:
    """Return ln Kₙ against "the mean of `gains` is at most 0", for gains that are never below −`low`: shape (…, n)."""
    axes = (slice(None), *[None] * gains.ndim)
    stakes = np.array(CONSTANT)[axes] / low
    return log_capital(stakes, np.full(len(CONSTANT), 1.0 / len(CONSTANT)), gains)


class LiftBounds(NamedTuple):
    """The confidence sequence of the relative lift after some numbers of pairs, shape (points,)."""

    pairs: NDArray[np.int64]
    estimate: Floats
    low: Floats
    high: Floats
    """−1 and infinity where nothing is known yet."""


class LiftEvidence(NamedTuple):
    """The outcomes of two arms in pairs, with the stakes that are bet on them."""

    control: Floats
    challenger: Floats
    up: Stakes
    down: Stakes

    def above(self, lift: float) -> float:
        """Return the largest ln K there was against "the lift is at most `lift`"; 0 before the first pair."""
        return float(against_at_most(lift, self.control, self.challenger, self.up).max(initial=0.0))

    def below(self, lift: float) -> float:
        """Return the largest ln K there was against "the lift is at least `lift`"; 0 before the first pair."""
        return float(against_at_least(lift, self.control, self.challenger, self.down).max(initial=0.0))

    def worse_now(self) -> float:
        """Return ln K against "the challenger is no worse" as it stands after the last pair."""
        logs = against_at_least(0.0, self.control, self.challenger, self.down)
        return float(logs[-1]) if len(logs) else 0.0


def pair(control: Floats, challenger: Floats, expected: float) -> LiftEvidence:
    """Pair the i-th outcomes of two arms; what is over in one of them waits for its partner."""
    count = min(len(control), len(challenger))
    left, right = control[:count], challenger[:count]
    return LiftEvidence(
        left, right, lift_stakes(left, right, expected, BETTER), lift_stakes(left, right, expected, WORSE)
    )


def confidence_sequence(
    evidence: LiftEvidence, alpha_low: float, alpha_high: float, marks: tuple[float, ...] = (0.0,), points: int = 120
) -> LiftBounds:
    """Return the bounds of the lift over time.

    The true lift is above every lower bound with probability 1 − alpha_low, below every upper one with 1 − alpha_high.
    Bounds are rounded outwards to a grid around the estimate, which has the `marks` in it: where a decision is made at
    a mark, the bounds agree with it exactly.
    """
    count = len(evidence.control)
    if count == 0:
        empty = np.zeros(0)
        return LiftBounds(empty.astype(np.int64), empty, empty, empty)
    at = np.unique(np.round(np.geomspace(1, count, points)).astype(np.int64))
    lifts = _grid(evidence, marks)
    low, high = np.full(len(at), -1.0), np.full(len(at), np.inf)
    for lift in lifts:  # from below: the highest that is refuted stays
        refuted = _reached(against_at_most(lift, evidence.control, evidence.challenger, evidence.up), alpha_low, at)
        if not refuted.any():
            break  # so is no higher one
        low[refuted] = lift
    for lift in lifts[::-1]:
        refuted = _reached(against_at_least(lift, evidence.control, evidence.challenger, evidence.down), alpha_high, at)
        if not refuted.any():
            break
        high[refuted] = lift
    sums = np.cumsum(evidence.control)[at - 1], np.cumsum(evidence.challenger)[at - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = sums[1] / sums[0] - 1.0
    return LiftBounds(at, estimate, low, high)


def _reached(logs: Floats, alpha: float, at: NDArray[np.int64]) -> NDArray[np.bool_]:
    crossed = logs >= -np.log(alpha)
    first = int(crossed.argmax()) if crossed.any() else len(logs)
    return at > first


def _grid(evidence: LiftEvidence, marks: tuple[float, ...]) -> Floats:
    """Return the lifts at which bounds may stand: dense near the estimate, sparse further out."""
    mean = max(float(evidence.control.mean()), 1e-9)
    differences = evidence.challenger - evidence.control
    error = max(float(differences.std()) / mean / np.sqrt(len(differences)), 1e-3)
    steps = np.sinh(np.linspace(-5.0, 5.0, 41)) * 0.6
    lifts = float(differences.mean()) / mean + error * steps
    return np.unique(np.concatenate([np.clip(lifts, -1.0, 10.0), marks]))
