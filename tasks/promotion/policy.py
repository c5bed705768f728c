"""The settings of readiness and of the gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from registry.records import Record


class PromotionPolicy(Record):
    """What a version needs before it may serve."""

    min_regression: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of the regression cases that must still be right, as observed."""
    regression_minimum: int = Field(default=20, ge=1, le=1000)
    """Regression cases below which the observed share says nothing, so that a person must decide."""
    min_readiness: float = Field(default=0.80, ge=0.0, lt=1.0)
    """What readiness must exceed."""
    approval: Literal["manual", "auto"] = "manual"
    """Whether a person must approve each version, or `auto`: a recommendation of DEPLOY is enough. REVIEW always needs
    a person."""
    approvers_needed: int = Field(default=1, ge=1, le=20)
    """How many people must approve, where people must. One person counts once."""
    approvers: tuple[str, ...] = ()
    """Names of those whose approvals count; where none is named, anybody's do."""
    approval_days: float = Field(default=30.0, gt=0.0, le=3650.0)
    """Days after which an approval does not count any more."""
    separate_duties: bool = True
    """Whether the identity that started the training may not approve what came of it."""
    allow_unsigned: bool = False
    """Whether an artifact without a signature may serve."""

    readiness_cases: int = Field(default=200, ge=20, le=10_000)
    """Conversations that are asked again in other forms, to measure consistency and robustness."""
    same_answer: float = Field(default=0.8, gt=0.0, le=1.0)
    """Token-F1 of two answers from which they count as the same."""
    typo_rate: float = Field(default=0.05, gt=0.0, le=0.5)
    """Share of the letters of a message that the noise of robustness changes."""
