"""The settings of the triggers."""

from __future__ import annotations

from pydantic import Field

from registry.records import Record


class TriggerPolicy(Record):
    """When to retrain. A trigger whose limit is null is off."""

    sample_count: int | None = Field(default=1_000, ge=1)
    """Examples of accepted quality that no dataset has taken in yet."""
    schedule_hours: float | None = Field(default=168.0, gt=0.0)
    """Age of the last training."""
    quality_drop: float | None = Field(default=0.03, gt=0.0, lt=1.0)
    """Share of the reference's mean quality that may be lost."""
    reference: int = Field(default=1_000, ge=50, le=1_000_000)
    """Scored observations since the last training that the quality is compared with."""
    domain_reference: int = Field(default=500, ge=50, le=1_000_000)
    """The same for each domain; one with fewer is not watched by itself."""
    quality_level: float = Field(default=0.03, gt=0.0, le=0.5)
    """ADWIN's δ for all tests of quality together. Its bound is cautious: at the default fewer than 1 of 100 runs of
    10,000 observations without a change raise an alarm."""
    failure_rate: float | None = Field(default=0.10, gt=0.0, lt=1.0)
    """Share of the answers that may fail."""
    negative_rate: float | None = Field(default=0.30, gt=0.0, lt=1.0)
    """Share of the feedback that may be negative. Who is unhappy says so more often, hence more than failures."""
    confidence: float = Field(default=0.99, gt=0.5, lt=1.0)
    """Of the lower bound that must lie above such a rate."""
    error_window: int = Field(default=2_000, ge=20, le=1_000_000)
    """The latest observations that the rates are taken from."""
    cooldown_hours: float = Field(default=24.0, ge=0.0)
    """Wait after a training, a rejected candidate or a lost experiment. A person's wish does not wait."""
