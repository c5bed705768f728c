"""The contrastive loss: InfoNCE over the turns of a batch (van den Oord et al. 2018), aware of duplicates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.training.encoder import Floats

NEVER = np.float32(-1e9)


class Loss(NamedTuple):
    """The weighted mean loss of a batch, and its gradients by both sides' vectors, shape (n, d)."""

    value: float
    by_context: Floats
    by_turn: Floats


def info_nce(contexts: Floats, turns: Floats, ids: NDArray[np.int64], weights: Floats, temperature: float) -> Loss:
    """Return how well each context finds its own turn among those of the batch.

    With S = contexts · turnsᵀ / temperature, row i's loss is −log(exp S_ii / Σ_j exp S_ij), where j runs over i and
    every turn of another text: the same text said in two contexts is not a negative of itself.

    Args:
        contexts: Vectors of length 1, shape (n, d).
        turns: The turn of each, shape (n, d).
        ids: Number of each turn's text, shape (n,).
        weights: Weight of each pair, shape (n,).
        temperature: Divides the cosines.
    """
    chosen = _choice(contexts, turns, ids, temperature)
    value = _value(chosen, weights)
    np.einsum("ii->i", chosen)[:] -= 1  # the gradient of −log softmax by S: what was chosen less what is right
    chosen *= (weights / np.float32(weights.sum() * temperature))[:, None]
    return Loss(value, chosen @ turns, chosen.T @ contexts)


def info_nce_value(
    contexts: Floats, turns: Floats, ids: NDArray[np.int64], weights: Floats, temperature: float
) -> float:
    """Return the value of `info_nce` alone."""
    return _value(_choice(contexts, turns, ids, temperature), weights)


def _choice(contexts: Floats, turns: Floats, ids: NDArray[np.int64], temperature: float) -> Floats:
    """Return the probability that context i chooses turn j, shape (n, n)."""
    scores = contexts @ turns.T
    scores /= np.float32(temperature)
    same = ids[:, None] == ids[None, :]
    np.fill_diagonal(same, val=False)
    scores[same] = NEVER
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def _value(chosen: Floats, weights: Floats) -> float:
    right = np.maximum(np.einsum("ii->i", chosen), np.float32(1e-30))
    return float(-(np.log(right) @ weights) / weights.sum())
