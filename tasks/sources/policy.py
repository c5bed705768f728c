"""Settings of the trust in sources."""

from __future__ import annotations

from pydantic import Field, model_validator

from registry.records import Record


class SourcePolicy(Record):
    """What a source may bring, and when it rises or falls. A source is the attribute `source` of its events."""

    allow: tuple[str, ...] = ()
    """Sources that may teach, in any spelling, with * and ? as in file names; every other one is barred. Empty: all."""
    max_source_share: float | None = Field(default=None, gt=0, le=1)
    """Largest share of a dataset that one source may bring, where there are several. Null: any."""
    max_domain_share: float | None = Field(default=None, gt=0, le=1)
    """Largest share of a dataset that one domain may have, where there are several. Null: any."""
    trial_share: float | None = Field(default=0.3, gt=0, le=1)
    """Largest share that all sources on trial may bring together, beside trusted ones. Together, because whoever may
    name one new source may name a hundred. Null: any."""
    probation_share: float | None = Field(default=0.1, gt=0, le=1)
    """The same for all sources on probation, beside others."""
    trial_examples: int = Field(default=100, ge=1)
    """Judged examples that a source must have brought before it is trusted."""
    trial_runs: int = Field(default=2, ge=1)
    """Runs that it must have brought them in."""
    trusted_above: float = Field(default=0.65, ge=0, le=1)
    """Score from which a source on trial or on probation becomes trusted."""
    probation_below: float = Field(default=0.5, ge=0, le=1)
    """Score below which a trusted source, or one on trial, goes on probation."""
    blocked_below: float = Field(default=0.25, ge=0, le=1)
    """Score below which a source is blocked, if `blocked_harm` is reached as well."""
    blocked_harm: float = Field(default=3.0, gt=0)
    """Harm, such as suspected examples, without which nobody is blocked: poor work alone does no harm."""
    half_life_runs: float = Field(default=20.0, gt=0)
    """After so many runs with this source, what it brought before them counts half."""
    burst_votes: int | None = Field(default=20, ge=2)
    """Feedback of a few users (all of a source that name nobody are one) within `burst_minutes`, all of it saying the
    same, from which it is a burst: it counts as one vote a trace, and sends its examples to review (`feedback_burst`).
    Null: not looked for."""
    burst_minutes: float = Field(default=60.0, gt=0, le=100_000)
    """Length of the time in which votes are counted for `burst_votes`."""

    @model_validator(mode="after")
    def _levels_lie_apart(self) -> SourcePolicy:
        if not self.blocked_below < self.probation_below < self.trusted_above:
            raise ValueError("blocked_below, probation_below and trusted_above must rise in this order")
        return self
