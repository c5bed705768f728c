"""The settings of experiments and of the bake period."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from registry.records import Record

Share = Annotated[float, Field(gt=0.0, le=0.5)]


class ExperimentPolicy(Record):
    """How a challenger is tried, and when it wins."""

    ramp: list[Share] = Field(default=[0.10, 0.25, 0.50], min_length=1, max_length=10)
    """Share of the units that each arm gets, step by step."""
    ramp_hours: float = Field(default=6.0, ge=0.0)
    """Least hours of a step."""
    ramp_units: int = Field(default=100, ge=0)
    """Units of each arm that must have closed in a step before the next."""
    holdout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the units that no experiment of a model ever gets."""

    outcome_hours: float = Field(default=1.0, ge=0.0)
    """A unit closes so long after its first request; what it did until then is its outcome. 0: its first request is."""
    alpha: float = Field(default=0.01, gt=0.0, le=0.2)
    """Probability of promoting a challenger that is not better, at most, however often one looks."""
    harm_alpha: float = Field(default=0.05, gt=0.0, le=0.2)
    """Probability of stopping one that does no harm, at most; also of giving up one that is better by the margin."""
    margin: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Relative lift that a challenger must be estimated to have, besides being shown to be better."""
    expected_lift: float = Field(default=0.10, gt=0.0, le=1.0)
    """Relative lift that the bets are tuned to. A wrong guess costs time, never validity."""
    min_hours: float = Field(default=24.0, ge=0.0)
    """No verdict but harm before."""
    min_units: int = Field(default=200, ge=0)
    """No verdict but harm before so many closed units with an outcome in each arm."""
    max_hours: float = Field(default=336.0, gt=0.0)
    """Ends an experiment that has not decided."""
    max_units: int = Field(default=20_000, gt=0)
    """Units of an arm with an outcome that end an experiment which has not decided."""

    accept_no_worse: Literal["never", "cheaper", "faster", "either"] = "never"
    """Whether a challenger wins that is no worse, and shown to be cheaper or faster. Each way has half of `alpha`."""
    no_worse: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Relative loss of quality that counts as no worse."""
    saving: float = Field(default=0.10, ge=0.0, lt=1.0)
    """Relative saving of cost or time that must be shown."""

    srm_alpha: float = Field(default=0.001, gt=0.0, le=0.1)
    """Probability of calling a sound assignment broken, at most, however often one looks."""
    guard_alpha: float = Field(default=0.05, gt=0.0, le=0.2)
    """Probability that any guard stops a challenger that breaks none, at most."""
    error_rate_worse: float = Field(default=0.02, ge=0.0, le=1.0)
    """Guard: failed requests may be more by this, absolutely."""
    latency_worse: float = Field(default=0.25, ge=0.0)
    """Guard: the 95th percentile of the latency may be longer by this, relatively."""
    latency_slack_ms: float = Field(default=50.0, ge=0.0)
    """Milliseconds more that the guard on latency lets pass on top: nobody feels them."""
    cost_worse: float = Field(default=0.25, ge=0.0)
    """Guard: the cost of a resolved task may be higher by this, relatively."""
    price_in: float = Field(default=0.15, ge=0.0)
    """Price of a million input tokens, for requests that say no cost."""
    price_out: float = Field(default=0.60, ge=0.0)
    """Price of a million output tokens."""

    thompson: bool = False
    """Whether the judge gives better arms more units (Thompson sampling); for more than two arms."""
    thompson_floor: float = Field(default=0.1, ge=0.0, le=0.3)
    """Least weight of an arm."""
    seed: int = 0
    """Of the draws of Thompson sampling."""

    bake_hours: float = Field(default=24.0, ge=0.0)
    """How long a new champion is watched after its promotion; 0: not at all."""
    bake_alpha: float = Field(default=0.01, gt=0.0, le=0.2)
    """Probability of rolling back a champion that breaks nothing, at most."""
    bake_quality_drop: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Relative loss of quality against the champion before that is tolerated."""
    bake_reference_hours: float = Field(default=168.0, gt=0.0)
    """How far back the champion before is looked at."""
