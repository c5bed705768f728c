"""What the judge sees, and what the judge says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from registry.records import Metric, Record
from tasks.experiments.guards import Guard
from tasks.experiments.secondary import Secondary
from tasks.experiments.srm import SplitCheck
from tasks.experiments.units import Exposure, Units

Outcome = Literal["continue", "won", "lost", "harm", "inconclusive", "stop"]


@dataclass(frozen=True)
class ExperimentEvidence:
    """Everything that is known of an experiment at one moment."""

    key: str
    arms: list[str]
    """Their names, the control first."""
    versions: list[str]
    mode: Literal["live", "shadow"]
    share: float
    weights: list[float] | None
    """None: all equal, and always were."""
    units: Units
    exposure: Exposure
    hours: float
    """Since the start."""
    step_hours: float
    """Since the share was last changed."""
    step_units: int
    """Closed units of the arm with the fewest that opened since."""
    agreement: list[float] = field(default_factory=list)
    """Shadow mode: likeness of the challenger's answers to the champion's, 0–1, where both are known."""


class ArmNumbers(Record):
    """What was counted of an arm."""

    name: str
    version: str
    units: int
    """Exposed and in this arm alone."""
    closed: int
    outcomes: int
    """Closed units with a known quality: what decides."""
    quality: float | None
    """Mean outcome, 0–1."""
    error_rate: float | None
    latency_p95: float | None
    cost: float | None


class Comparison(Record):
    """A challenger beside the control."""

    arm: str
    version: str
    pairs: int
    lift: float | None
    """Estimated relative lift of the mean outcome."""
    low: float
    """Confidence sequence of the lift, at all times at once: 1 − alpha_low that it is above, 1 − alpha_high below."""
    high: float | None
    """None: nothing is known above."""
    alpha_low: float
    alpha_high: float
    p_better: float
    """Of "no better", valid however often one looks."""
    p_worse: float
    """Of "no worse", valid however often one looks."""
    verdict: Literal["better", "no worse", "harm", "too little", "open"]
    reason: str
    suspicious: bool
    """Whether it looks worse now, so that it gets no more units."""
    guards: list[Guard]
    secondary: list[Secondary]
    series: dict[str, list[float]] = Field(default_factory=dict)
    """To plot: pairs, estimate, low, high. −1 and `top` stand for bounds that are not known yet."""


class Judgement(Record):
    """What the judge says of an experiment, with its numbers."""

    verdict: Outcome
    reason: str
    winner: str | None = None
    """Version of the arm that won."""
    missing: list[str] = Field(default_factory=list)
    """What a verdict waits for."""
    arms: list[ArmNumbers]
    split: SplitCheck
    comparisons: list[Comparison]
    numbers: dict[str, Metric]
    next_share: float | None = None
    """The next step of the ramp, where it may be taken."""
    weights: list[float] | None = None
    """Of the arms, where they should change."""

    @property
    def series(self) -> dict[str, list[float]]:
        """The confidence sequence of the leading challenger, to plot."""
        return self.comparisons[0].series
