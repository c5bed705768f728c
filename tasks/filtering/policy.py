"""Settings of the filtering."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from registry.records import Record


class FilteringPolicy(Record):
    """What an example must be like to be learned from."""

    quality_threshold: float = Field(default=70.0, ge=0, le=100)
    """Least quality, 0 to 100. Below it an example is rejected (`low_quality`)."""
    confidence_threshold: float = Field(default=0.6, ge=0, le=1)
    """Least confidence where an event gives one. Below it an example goes to review (`low_confidence`)."""
    outlier_threshold: float = Field(default=0.15, ge=0, le=1)
    """Greatest outlier probability. Above it an example goes to review (`outlier`)."""
    outlier_minimum: int = Field(default=100, ge=10)
    """Outliers are looked for only among more examples than this."""
    quality_weight: float = Field(default=0.60, ge=0, le=1)
    """Weight of quality in the composite score."""
    confidence_weight: float = Field(default=0.20, ge=0, le=1)
    """Weight of confidence in the composite score."""
    diversity_weight: float = Field(default=0.10, ge=0, le=1)
    """Weight of diversity in the composite score."""
    informativeness_weight: float = Field(default=0.10, ge=0, le=1)
    """Weight of informativeness in the composite score."""

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Weights of quality, confidence, diversity and informativeness."""
        return (self.quality_weight, self.confidence_weight, self.diversity_weight, self.informativeness_weight)

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> FilteringPolicy:
        total = sum(self.weights)
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"the four weights must sum to 1, not {total:g}")
        return self
