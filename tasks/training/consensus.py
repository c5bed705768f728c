"""Which of the best-ranked turns is said: the one that agrees best with the others.

With p ∝ countᶠ · exp(score / temperature) over the best-ranked turns and y their frozen vectors, turn t's agreement is
Σ_u p_u · (y_t · y_u): the expected likeness of t to what should be said (minimum Bayes risk, Kumar and Byrne 2004). A
turn that is ranked first by a hair, and stands alone, yields to one of several that say nearly the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.training.encoder import Floats
from tasks.training.index import Ranked, best

ROWS = 64
"""Queries that are weighed at once."""
STEPS = 32_767
"""Coordinates of frozen vectors are kept in that many steps on each side of zero: half the memory, and exact enough."""

Frozen = NDArray[np.int16]


class Chosen(NamedTuple):
    """For n queries: the turn that is said, its agreement and the cosine that it was ranked by, each of shape (n,)."""

    turns: NDArray[np.int64]
    agreement: Floats
    scores: Floats


def pack(vectors: Floats) -> Frozen:
    """Return vectors of length 1 in whole steps of 1 / `STEPS`."""
    steps: Frozen = np.rint(vectors * np.float32(STEPS)).astype(np.int16)
    return steps


def frequency_prior(counts: NDArray[np.int64], power: float) -> Floats:
    """Return countᶠ, shape (t,), for f = `power`."""
    return np.power(counts.astype(np.float32), np.float32(power))


def choose(ranked: Ranked, frozen: Frozen, prior: Floats, temperature: float) -> Chosen:
    """Choose among the ranked turns.

    Args:
        ranked: The best-ranked turns of n queries.
        frozen: The packed vectors of all known turns, shape (t, d).
        prior: countᶠ of all known turns, shape (t,).
        temperature: Divides the cosines.
    """
    parts = [
        _choose(
            Ranked(ranked.turns[start : start + ROWS], ranked.scores[start : start + ROWS]), frozen, prior, temperature
        )
        for start in range(0, len(ranked.turns), ROWS)
    ]
    if not parts:
        return Chosen(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
    return Chosen(
        np.concatenate([part.turns for part in parts]),
        np.concatenate([part.agreement for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _choose(ranked: Ranked, frozen: Frozen, prior: Floats, temperature: float) -> Chosen:
    weights = np.exp((ranked.scores - ranked.scores[:, :1]) / np.float32(temperature))
    weights *= prior[ranked.turns]
    weights /= weights.sum(axis=1, keepdims=True)
    vectors = frozen[ranked.turns].astype(np.float32)
    vectors *= np.float32(1 / STEPS)
    middle = np.matmul(weights[:, None, :], vectors)
    agreement: Floats = np.matmul(vectors, middle.transpose(0, 2, 1))[:, :, 0]
    place = best(agreement, np.arange(agreement.shape[1]), 1).turns
    row = np.arange(len(place)), place[:, 0]
    return Chosen(ranked.turns[row], agreement[row], ranked.scores[row])
