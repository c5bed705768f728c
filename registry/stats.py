"""The counters that operators watch, from the run ledger, the history and the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from registry.history import History, LedgerEntry
from registry.records import ModelVersion, Record, Stage


class Stats(Record):
    """What happened in a home so far. Events and examples are those of completed runs."""

    events_read: int = 0
    events_rejected: int = 0
    error_rate: float | None = None
    """Rejected lines / lines read; None before anything was read."""
    examples_extracted: int = 0
    examples_accepted: int = 0
    acceptance_rate: float | None = None
    """Accepted examples / extracted examples."""
    dataset_versions: int = 0
    models: int = 0
    versions_by_stage: dict[Stage, int] = Field(default_factory=dict)
    jobs_started: int = 0
    jobs_completed: int = 0
    jobs_failed: int = 0
    jobs_cancelled: int = 0
    jobs_unfinished: int = 0
    """Started and not ended: running now, or killed."""
    job_success_rate: float | None = None
    """Completed / (completed + failed)."""
    validations: int = 0
    validations_by_recommendation: dict[str, int] = Field(default_factory=dict)
    decisions: dict[str, int] = Field(default_factory=dict)
    """Completed runs by their decision."""


def stats(history: History, versions: Sequence[ModelVersion], dataset_versions: int) -> Stats:
    """Count.

    Args:
        history: Stage history and run ledger.
        versions: All model versions (`ModelRegistry.versions()`).
        dataset_versions: How many dataset versions there are.
    """
    ledger = history.ledger()
    jobs = Counter(_last_events(ledger).values())
    summaries = [entry.body for entry in ledger if entry.event == "completed" and entry.body]
    funnel = _funnel([summary for summary in summaries if summary.get("decision") != "unchanged"])
    validated = [line for name in history.models() for line in history.of(name) if line.action == "validate"]
    return Stats(
        **funnel,
        error_rate=_rate(funnel["events_rejected"], funnel["events_read"]),
        acceptance_rate=_rate(funnel["examples_accepted"], funnel["examples_extracted"]),
        dataset_versions=dataset_versions,
        models=len({version.name for version in versions}),
        versions_by_stage=dict(Counter(version.stage for version in versions)),
        jobs_started=sum(jobs.values()),
        jobs_completed=jobs["completed"],
        jobs_failed=jobs["failed"],
        jobs_cancelled=jobs["cancelled"],
        jobs_unfinished=jobs["started"],
        job_success_rate=_rate(jobs["completed"], jobs["completed"] + jobs["failed"]),
        validations=len(validated),
        validations_by_recommendation=dict(Counter(line.reason.split(" ")[0] for line in validated)),
        decisions=dict(Counter(str(summary.get("decision")) for summary in summaries)),
    )


def _last_events(ledger: Sequence[LedgerEntry]) -> dict[str, str]:
    """Return what last happened to each run."""
    return {entry.run_id: entry.event for entry in ledger}


def _funnel(summaries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    def total(part: str, name: str) -> int:
        return sum(int((summary.get(part) or {}).get(name) or 0) for summary in summaries)

    return {
        "events_read": total("events", "read"),
        "events_rejected": total("events", "rejected"),
        "examples_extracted": total("examples", "extracted"),
        "examples_accepted": total("examples", "accepted"),
    }


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
