"""Readiness: 0.40 accuracy + 0.30 confidence + 0.20 consistency + 0.10 robustness, each measured, each in [0, 1].

- accuracy: the pass rate of the regression stage. With fewer than `regression_minimum` regression cases (a first model
  whose baseline, the frozen base, gets little right) there is no such rate worth the name; then it is the share of all
  test cases on which the candidate does as well as the baseline (`kept_rate`), which asks the same of every case.
- confidence: 1 − expected calibration error of the confidence against the token-F1, on the test cases.
- consistency: share of conversations that get the same answer when their last message changes its form only.
- robustness: share of the mean score that is kept when their last message has typing errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from registry.records import (
    Conversation,
    Predictor,
    Readiness,
    ValidationReport,
    token_f1_pairs,
)
from tasks.promotion.forms import reform, with_typos
from tasks.promotion.policy import PromotionPolicy

ACCURACY, CONFIDENCE, CONSISTENCY, ROBUSTNESS = 0.40, 0.30, 0.20, 0.10
"""The weights (DESIGN §3); they add up to 1."""


def combine(accuracy: float, confidence: float, consistency: float, robustness: float) -> Readiness:
    """Return the weighted sum, rounded to six digits so that the same parts give the same text."""
    parts = [round(min(1.0, max(0.0, part)), 6) for part in (accuracy, confidence, consistency, robustness)]
    weights = (ACCURACY, CONFIDENCE, CONSISTENCY, ROBUSTNESS)
    score = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return Readiness(
        score=round(score, 6), accuracy=parts[0], confidence=parts[1], consistency=parts[2], robustness=parts[3]
    )


def measure(
    report: ValidationReport,
    model: Predictor,
    conversations: Sequence[Conversation],
    expected: Sequence[str],
    policy: PromotionPolicy,
    seed: int = 0,
) -> Readiness | None:
    """Measure a candidate's readiness; None when nothing could be measured (no conversation, or no validation).

    Args:
        report: The report of validation: accuracy and calibration were measured there.
        model: The candidate, as it is served.
        conversations: Conversations of the test cases; at most `readiness_cases` of them are used, spread evenly.
        expected: The expected answer to each.
        policy: Limits and thresholds.
        seed: Seed of the changes.
    """
    accuracy, confidence = accuracy_of(report, policy), confidence_of(report)
    if accuracy is None or confidence is None or not conversations:
        return None
    rows = np.unique(np.linspace(0, len(conversations) - 1, policy.readiness_cases).round().astype(int))
    asked, wanted = [conversations[i] for i in rows], [expected[i] for i in rows]
    rng = np.random.default_rng([seed, 4])
    with threadpool_limits(limits=1, user_api="blas"):  # more threads for small products only wait for each other
        clean = model.answer(asked).responses
        reformed = model.answer([reform(conversation, rng) for conversation in asked]).responses
        noisy = model.answer([with_typos(conversation, policy.typo_rate, rng) for conversation in asked]).responses
    consistency = float((token_f1_pairs(clean, reformed) >= policy.same_answer).mean())
    kept, score = float(token_f1_pairs(noisy, wanted).sum()), float(token_f1_pairs(clean, wanted).sum())
    return combine(accuracy, confidence, consistency, kept / score if score > 0 else 0.0)


def accuracy_of(report: ValidationReport, policy: PromotionPolicy) -> float | None:
    """Return the regression pass rate, or `kept_rate` where the cases are too few; None without a regression stage."""
    try:
        stage = report.stage("regression")
    except KeyError:
        return None
    enough = stage.counts.get("cases", 0) >= policy.regression_minimum
    rate = stage.metrics.get("pass_rate" if enough else "kept_rate")
    return float(rate) if rate is not None else None


def confidence_of(report: ValidationReport) -> float | None:
    """Return 1 − expected calibration error, as validation measured it; None where it did not."""
    try:
        error = report.stage("performance").metrics.get("calibration_error")
    except KeyError:
        return None
    return 1 - float(error) if error is not None else None
