"""What curation may be told."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from registry.records import Record

Kind = Literal[
    "PRIVATE_KEY", "JWT", "API_KEY", "PASSWORD", "BEARER_TOKEN", "EMAIL", "CRYPTO_WALLET", "MAC_ADDRESS", "IBAN",
    "CARD", "SSN", "NATIONAL_ID", "DATE_OF_BIRTH", "PHONE", "IP_ADDRESS",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "PRIVATE_KEY", "JWT", "API_KEY", "PASSWORD", "BEARER_TOKEN", "EMAIL", "CRYPTO_WALLET", "MAC_ADDRESS", "IBAN",
    "CARD", "SSN", "NATIONAL_ID", "DATE_OF_BIRTH", "PHONE", "IP_ADDRESS",
)  # fmt: skip
"""Every kind of personal data and secret, in the order in which the rules are tried."""
USUAL_KINDS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "DATE_OF_BIRTH")
"""What is replaced where the policy names no kinds: a date is seldom anybody's, and much of a text is about dates."""


class CurationPolicy(Record):
    """How accepted examples become a dataset version."""

    redact: tuple[Kind, ...] = USUAL_KINDS
    """Kinds of personal data and secrets that are replaced by a placeholder such as `[EMAIL]`."""
    near_duplicate_jaccard: float = Field(default=0.8, ge=0.5, le=1.0)
    """Two conversations are near-duplicates from this Jaccard similarity of their word 3-grams on."""
    train_share: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Share of the examples in train."""
    validation_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the examples in validation."""
    test_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the examples in test."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if not math.isclose(sum(self.shares), 1.0, abs_tol=1e-9):
            raise ValueError(f"train_share + validation_share + test_share is {sum(self.shares):g}, and must be 1")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """The wanted shares in the order of `records.SPLITS`."""
        return self.train_share, self.validation_share, self.test_share
