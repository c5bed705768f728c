"""Confidence: how good, in expected token-F1, an answer will be. Fitted on the validation split, three numbers.

confidence = σ(a · logit(agreement) + c · score + b). Without evidence a = 1, c = b = 0: the agreement itself. The fit
(Platt 1999, with the score in [0, 1] as a soft label) is penalised for leaving that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.records import Record
from tasks.training.encoder import Floats

PENALTY = 1.0
"""Weight of the squared distance to the default, in cases."""
ROUNDS = 25
EDGE = 1e-3


class Calibration(Record):
    """The fitted numbers."""

    agreement: float = 1.0
    score: float = 0.0
    bias: float = 0.0

    def confidences(self, agreement: Floats, scores: Floats) -> NDArray[np.float64]:
        """Return the confidence of n answers."""
        features = _features(agreement, scores)
        return _sigmoid(features @ np.array([self.agreement, self.score, self.bias]))


def calibrate(agreement: Floats, scores: Floats, outcomes: NDArray[np.float64]) -> Calibration:
    """Fit the confidence to the outcomes (token-F1) of n answers by Newton's method.

    Minimises Σ cross-entropy(outcome, confidence) + PENALTY/2 · |w − (1, 0, 0)|².
    """
    features, default = _features(agreement, scores), np.array([1.0, 0.0, 0.0])
    weights = default.copy()
    for _ in range(ROUNDS):
        expected = _sigmoid(features @ weights)
        gradient = features.T @ (expected - outcomes) + PENALTY * (weights - default)
        curvature = (features.T * (expected * (1 - expected))) @ features + PENALTY * np.eye(3)
        move = np.linalg.solve(curvature, gradient)
        weights = weights - move * min(1.0, 2.0 / max(float(np.abs(move).max()), 1e-12))
    a, c, b = (round(float(weight), 6) for weight in weights)
    return Calibration(agreement=a, score=c, bias=b)


def _features(agreement: Floats, scores: Floats) -> NDArray[np.float64]:
    shares = np.clip(agreement.astype(np.float64), EDGE, 1 - EDGE)
    return np.column_stack([np.log(shares / (1 - shares)), scores.astype(np.float64), np.ones(len(shares))])


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30, 30))))
