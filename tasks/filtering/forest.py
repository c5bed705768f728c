"""An isolation forest (Liu, Ting and Zhou 2008) grown and read as arrays.

scikit-learn's takes 0.9 s to import alone, more than a small run may take in all; this one needs numpy. Trees are
complete binary trees in flat arrays: node i has the children 2i + 1 and 2i + 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TREES, SAMPLE = 100, 256
CHUNK = 8_192


class Forest(NamedTuple):
    """Trees of the same depth."""

    feature: NDArray[np.int64]
    """(trees, inner nodes): the feature that a node looks at."""
    threshold: Floats
    """(trees, inner nodes): greater values go right. Infinite in and below a leaf: the way goes left."""
    length: Floats
    """(trees, nodes of the last level): length of the path that ends there."""
    norm: float
    """Mean length of an unsuccessful search among the sample."""


def mean_path(n: NDArray[np.int64] | int) -> Floats:
    """Return the mean length of an unsuccessful search in a binary tree of n: 2·H(n − 1) − 2·(n − 1)/n."""
    size = np.asarray(n, dtype=np.float64)
    safe = np.maximum(size, 3.0)
    harmonic = np.log(safe - 1.0) + np.euler_gamma
    return np.where(size > 2, 2.0 * harmonic - 2.0 * (safe - 1.0) / safe, np.where(size == 2, 1.0, 0.0))


def fit(features: Floats, rng: np.random.Generator, trees: int = TREES, sample: int = SAMPLE) -> Forest:
    """Grow a forest on (n, f) features, each tree on `sample` rows, to a depth of ⌈log2 sample⌉."""
    size = min(sample, len(features))
    depth = max(1, int(np.ceil(np.log2(max(size, 2)))))
    rows = np.stack([rng.choice(len(features), size, replace=False) for _ in range(trees)])
    points = features[rows]
    inner = 2**depth - 1
    feature = np.zeros((trees, inner), dtype=np.int64)
    threshold = np.full((trees, inner), np.inf)
    node = np.zeros((trees, size), dtype=np.int64)
    ended = np.zeros((trees, 1), dtype=bool)
    length = np.zeros((trees, 1))
    for level in range(depth):
        first, width = 2**level - 1, 2**level
        split = _splits(points, node, width, rng)
        leaf = ended | ~split.possible
        length = np.where(ended, length, level + mean_path(split.size))
        here = slice(first, first + width)
        feature[:, here] = split.feature
        threshold[:, here] = np.where(leaf, np.inf, split.threshold)
        value = np.take_along_axis(points, np.take_along_axis(split.feature, node, 1)[:, :, None], 2)[:, :, 0]
        node = 2 * node + (value > np.take_along_axis(threshold[:, here], node, 1))
        ended, length = np.repeat(leaf, 2, axis=1), np.repeat(length, 2, axis=1)
    size_left = _sizes(node, 2**depth)
    length = np.where(ended, length, depth + mean_path(size_left))
    return Forest(feature, threshold, length, float(mean_path(size)))


class _Splits(NamedTuple):
    possible: NDArray[np.bool_]
    feature: NDArray[np.int64]
    threshold: Floats
    size: NDArray[np.int64]


def _sizes(node: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return how many points are in each node of a level, (trees, width)."""
    trees = len(node)
    flat = (np.arange(trees)[:, None] * width + node).ravel()
    return np.bincount(flat, minlength=trees * width).reshape(trees, width)


def _splits(points: Floats, node: NDArray[np.int64], width: int, rng: np.random.Generator) -> _Splits:
    """Draw a feature that is not constant, and a threshold in its range, for every node of a level."""
    trees, _, kinds = points.shape
    flat = (np.arange(trees)[:, None] * width + node).ravel()
    low = np.full((trees * width, kinds), np.inf)
    high = np.full((trees * width, kinds), -np.inf)
    np.minimum.at(low, flat, points.reshape(-1, kinds))
    np.maximum.at(high, flat, points.reshape(-1, kinds))
    draws = rng.random((trees * width, kinds)) * (high > low)
    chosen = draws.argmax(axis=1)
    every = np.arange(trees * width)
    low, high = low[every, chosen], high[every, chosen]
    possible = draws[every, chosen] > 0
    with np.errstate(invalid="ignore"):
        threshold = low + rng.random(trees * width) * (high - low)
    shape = (trees, width)
    return _Splits(possible.reshape(shape), chosen.reshape(shape), threshold.reshape(shape), _sizes(node, width))


def score(forest: Forest, features: Floats) -> Floats:
    """Return the score of each of (n, f) features, 2^(−mean path / norm): below 0.5 in a crowd, towards 1 alone."""
    total = np.empty(len(features))
    for start in range(0, len(features), CHUNK):
        total[start : start + CHUNK] = _paths(forest, features[start : start + CHUNK])
    return np.exp2(-total / (len(forest.feature) * forest.norm))


def _paths(forest: Forest, features: Floats) -> Floats:
    """Return the sum of the path lengths over all trees, for (n, f) features."""
    n, kinds = features.shape
    flat = features.ravel()
    offset = np.arange(n) * kinds
    total = np.zeros(n)
    depth = forest.length.shape[1].bit_length() - 1
    for tree in range(len(forest.feature)):
        feature, threshold = forest.feature[tree], forest.threshold[tree]
        node = np.zeros(n, dtype=np.int64)
        for _ in range(depth):
            node = 2 * node + 1 + (flat[offset + feature[node]] > threshold[node])
        total += forest.length[tree][node - (2**depth - 1)]
    return total
