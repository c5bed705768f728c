"""How probable it is that an example is not of the bulk: an isolation forest, and a calibration of its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.filtering.forest import fit, score

Floats = NDArray[np.float64]

FIT_ROWS = 20_000
"""At most so many examples, drawn with the seed, are what the forest is grown from."""
MEDIAN, NINTH = 0.5, 0.9
LEAST_SCALE = 0.015
"""Scores of examples that are alike differ by so much by the forest's randomness alone."""


def outlier_probabilities(features: NDArray[np.floating[Any]], seed: int) -> Floats:
    """Return for each of n examples the probability that one at least as isolated as it is not of the bulk.

    The scores s of an isolation forest say how isolated an example is, not how probable. The bulk's tail is taken to
    fall off exponentially from the median on, with the scale of the range between the median and the ninth decile:
    expected number above s: E(s) = n · 0.5 · exp(−(s − q50) / β), β = (q90 − q50) / ln 5. The observed number above s
    is O(s). The tail's false discovery rate (Efron 2004) is E(s) / O(s), and the probability 1 − E(s) / O(s), at least
    0: of the examples that lie beyond a probability p, at least p were not expected of the bulk. To E are added two
    standard deviations of chance, and one to both numbers, so that a few examples do not make a discovery. Clean data,
    whose tail is no heavier than exponential, has hardly any; up to about 8 % of strays do not hide one another.

    Args:
        features: (n, f) numbers.
        seed: Of the forest.

    Returns:
        (n,) probabilities.
    """
    rng = np.random.default_rng(seed)
    sample = features
    if len(features) > FIT_ROWS:
        sample = features[np.sort(rng.choice(len(features), FIT_ROWS, replace=False))]
    scores = score(fit(sample.astype(np.float64), rng), features)
    return calibrated(scores)


def calibrated(scores: Floats) -> Floats:
    """Return the probabilities of `outlier_probabilities` for (n,) scores."""
    n = len(scores)
    middle, ninth = np.quantile(scores, [MEDIAN, NINTH])
    scale = max(float(ninth - middle), LEAST_SCALE * np.log(5)) / np.log(5)
    order = np.sort(scores)
    above = n - np.searchsorted(order, scores, side="left")
    expected = n * 0.5 * np.exp(-(scores - middle) / scale)
    by_chance = expected + 2.0 * np.sqrt(expected) + 1.0
    return np.where(scores > ninth, np.maximum(0.0, 1.0 - by_chance / (above + 1.0)), 0.0)
