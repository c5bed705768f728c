"""An isolation forest (Liu, Ting and Zhou 2008) grown and read as arrays.

scikit-learn's takes 0.9 s to import alone, more than a small run may take in all; this one needs numpy. Trees are
complete binary trees in flat arrays: node i has the children 2i + 1 and 2i + 2.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.filtering.kernels import path_sums

Floats = NDArray[np.float64]

TREES, SAMPLE = 100, 256
CHUNK = 8_192
COMPILE_FROM = 20_000
"""From so many rows on, a compiled loop is faster than numpy even if numba must be imported for it."""
THREADS = 2


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
    order = np.argsort(flat, kind="stable")
    grouped, flat = points.reshape(-1, kinds)[order], flat[order]
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    low = np.zeros((trees * width, kinds))
    high = np.zeros((trees * width, kinds))
    low[flat[starts]] = np.minimum.reduceat(grouped, starts, axis=0)
    high[flat[starts]] = np.maximum.reduceat(grouped, starts, axis=0)
    draws = rng.random((trees * width, kinds)) * (high > low)
    chosen = draws.argmax(axis=1)
    every = np.arange(trees * width)
    low, high = low[every, chosen], high[every, chosen]
    threshold = low + rng.random(trees * width) * (high - low)
    shape = (trees, width)
    possible = (draws[every, chosen] > 0).reshape(shape)
    return _Splits(possible, chosen.reshape(shape), threshold.reshape(shape), _sizes(node, width))


def score(forest: Forest, features: NDArray[np.floating[Any]]) -> Floats:
    """Return the score of each of (n, f) features, 2^(−mean path / norm): below 0.5 in a crowd, towards 1 alone."""
    chunks = (features[start : start + CHUNK] for start in range(0, len(features), CHUNK))
    if len(features) < COMPILE_FROM:
        sums = [_paths(forest, chunk.astype(np.float64)) for chunk in chunks]
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            sums = list(pool.map(partial(_compiled_paths, forest), chunks))
    return np.exp2(-np.concatenate(sums) / (len(forest.feature) * forest.norm))


def _compiled_paths(forest: Forest, features: NDArray[np.floating[Any]]) -> Floats:
    """Return the same as `_paths`, bit by bit, by a compiled loop that leaves other threads alone."""
    total = np.empty(len(features))
    depth = forest.length.shape[1].bit_length() - 1
    compiled(path_sums)(np.ascontiguousarray(features, dtype=np.float64), *forest[:3], depth, total)
    return total


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
