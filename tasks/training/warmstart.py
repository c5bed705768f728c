"""Where a full training begins: the best low-rank linear map from contexts to their turns, in closed form.

Reduced-rank regression (Izenman 1975): with contexts X (n, d), turns Y (n, d) and ridge λ, W = (XᵀX + λI)⁻¹ XᵀY; its
best approximation of rank r on the data is W V Vᵀ, where V are the first r right singular vectors of X W. It has one
answer, whatever the seed, so that two trainings on nearly the same data begin, and end, near each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.training.adapter import Adapter, Tower
from tasks.training.encoder import Floats
from tasks.training.fit import Pairs
from tasks.training.policy import TrainingPolicy

MOST = 16_384
"""Pairs that the regression sees at most, evenly spread."""


def warm_start(train: Pairs, base: Adapter, policy: TrainingPolicy) -> Adapter:
    """Return `base` with the context side's update set to `warm_gain` times the reduced-rank regression."""
    if policy.warm_gain == 0:
        return base
    rows = np.unique(np.linspace(0, len(train.ids) - 1, min(len(train.ids), MOST)).round().astype(np.int64))
    weights = np.sqrt(train.weights[rows])[:, None]
    down, up = reduced_rank(
        train.contexts[rows] * weights, train.turns[train.ids[rows]] * weights, policy.ridge, policy.rank
    )
    down *= policy.warm_gain / base.scale
    balance = np.sqrt(np.linalg.norm(down) / np.linalg.norm(up)) or 1.0  # the same length on both sides suits Adam
    tower = Tower((down / balance).astype(np.float32), (up * balance).astype(np.float32))
    return Adapter(tower, base.turn, base.scale)


def reduced_rank(
    contexts: Floats, turns: Floats, ridge: float, rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return W V, shape (d, rank), and Vᵀ, shape (rank, d); see the module's docstring."""
    x, y = contexts.astype(np.float64), turns.astype(np.float64)
    gram = x.T @ x
    solved = np.linalg.solve(gram + ridge * np.eye(gram.shape[0]), x.T @ y)
    _, vectors = np.linalg.eigh(solved.T @ gram @ solved)
    right = vectors[:, ::-1][:, :rank]
    return solved @ right, right.T.copy()
