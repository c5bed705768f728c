"""Thompson sampling: arms that look better get more units, as often as they are likely to be the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.experiments.units import Floats

DRAWS = 20_000


def thompson_weights(outcomes: Sequence[Floats], floor: float, seed: int) -> list[float]:
    """Return the weights of the arms: the probability that each is the best, at least `floor`, summing to 1.

    The mean outcome of an arm has a Beta(1 + Σy, 1 + Σ(1 − y)) posterior, which for graded outcomes is wider than it
    need be.

    Args:
        outcomes: Outcomes in [0, 1] of each arm.
        floor: Least weight of an arm, so that a bad start can be made good.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    draws = [random.beta(1.0 + each.sum(), 1.0 + (1.0 - each).sum(), DRAWS) for each in outcomes]
    best = np.bincount(np.argmax(draws, axis=0), minlength=len(outcomes)) / DRAWS
    floor = min(floor, 1.0 / len(outcomes))
    weights = floor + (1.0 - floor * len(outcomes)) * best
    rounded = np.round(weights, 2)  # each change moves some units to another arm: do not move for nothing
    rounded[np.argmax(rounded)] += 1.0 - rounded.sum()
    return [float(weight) for weight in rounded]
