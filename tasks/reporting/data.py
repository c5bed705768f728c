"""What a report shows. The flow fills it from what was recorded; the page only lays it out.

A part that the run did not reach is None (or empty), and the page says so in its place.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from registry.records import (
    DatasetManifest,
    Decision,
    EventCounts,
    ExampleCounts,
    GateResult,
    ModelVersion,
    Readiness,
    Record,
    StateChange,
    TrainingResult,
    ValidationReport,
    Verdict,
)


class BeforeAfter(Record):
    """Counts of one property of the examples, before and after filtering."""

    labels: list[str]
    """Names of the classes; for a histogram the ranges, such as `0.70–0.80`, in order."""
    before: list[int]
    after: list[int]


class Distributions(Record):
    """What the examples looked like before filtering, and what is left after it."""

    domain: BeforeAfter | None = None
    difficulty: BeforeAfter | None = None
    score: BeforeAfter | None = None
    """Histogram of the composite score; examples without one are the class `none`, if there is one."""


class ScoreDelta(Record):
    """A number of the champion beside the candidate's."""

    name: str
    champion: float | None
    candidate: float | None


class PolicyChange(Record):
    """A setting that is not what it was when the champion was trained."""

    name: str
    """Dotted name, such as `filtering.quality_threshold`."""
    before: Any = None
    after: Any = None


class Changes(Record):
    """What is different from the version that serves now."""

    champion: str
    """Version of the champion."""
    dataset_before: str | None = None
    dataset_after: str | None = None
    examples_added: int | None = None
    examples_removed: int | None = None
    scores: list[ScoreDelta] = Field(default_factory=list)
    policy: list[PolicyChange] = Field(default_factory=list)


class Suspected(Record):
    """Examples that look planted, and what ties them together."""

    words: str
    """What is in all that is asked."""
    answer: str
    """What the answers share."""
    suspicion: float
    examples: int
    brought: str
    """Whether one source, user or day brought more of them than of the rest."""


class ReportData(Record):
    """All that one report shows, and nothing that changes between two renderings of it."""

    run_id: str
    created: str
    """When the run ended, ISO 8601 in UTC."""
    model: str
    verdict: Verdict
    reason: str = ""
    """One sentence: why the run ended as it did."""
    code_version: str = ""
    seed: int | None = None
    home: str | None = None
    """Value of `--home` for the commands shown; None for the default home."""
    inputs: list[str] = Field(default_factory=list)
    """Names of the event files that were read."""
    events: EventCounts | None = None
    meanings: dict[str, str] = Field(default_factory=dict)
    """What the codes in `by_reason` mean, such as `E7021`: `not JSON`."""
    examples: ExampleCounts | None = None
    distributions: Distributions | None = None
    suspected: list[Suspected] = Field(default_factory=list)
    evidence: str = ""
    """Where the evidence for what is suspected is."""
    dataset: DatasetManifest | None = None
    training: TrainingResult | None = None
    states: list[StateChange] = Field(default_factory=list)
    mlflow_run_id: str | None = None
    validation: ValidationReport | None = None
    readiness: Readiness | None = None
    readiness_required: float = 0.80
    gates: list[GateResult] = Field(default_factory=list)
    decision: Decision | None = None
    version: ModelVersion | None = None
    """The candidate as registered."""
    champion: ModelVersion | None = None
    """The version that served when this run began."""
    changes: Changes | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds a stage of the run, in the order in which they ran."""
    warnings: list[str] = Field(default_factory=list)
