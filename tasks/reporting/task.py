"""The Prefect side of reporting: the task that writes the page, and the artifacts that Prefect's UI shows.

Outside a flow run the artifacts are skipped: there is no run that they could belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import runtime, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from registry.files import write_whole
from registry.records import (
    DatasetManifest,
    Decision,
    EventCounts,
    ExampleCounts,
    GateResult,
    Readiness,
    ValidationReport,
)
from tasks.reporting.page import ReportData, render
from tasks.reporting.tables import funnel_markdown, gates_markdown, judgements_markdown, validation_markdown


def save_report(data: ReportData, path: Path) -> Path:
    """Write the report to `path`, whole or not at all: a reader never sees a part of it."""
    return write_whole(path, render(data).encode())


@task(name="write report", task_run_name="write report", persist_result=False, cache_policy=NO_CACHE)
def _write_report(data: ReportData, path: Path) -> Path:
    return save_report(data, path)


def write_report(data: ReportData, path: Path) -> Path:
    """Render the report and write it to `path` atomically, as a task of the flow run."""
    return _write_report(data, path)


def show_funnel(
    model: str, events: EventCounts | None, examples: ExampleCounts | None, dataset: DatasetManifest | None
) -> None:
    """Show the funnel in Prefect as a table."""
    _markdown(f"funnel-{model}", funnel_markdown(events, examples, dataset), f"From events to a dataset, {model}")


def show_validation(model: str, report: ValidationReport, readiness: Readiness | None = None) -> None:
    """Show the five stages in Prefect as a table."""
    _markdown(f"validation-{model}", validation_markdown(report, readiness), f"Examination of a candidate of {model}")


def show_gates(model: str, version: str, verdict: str, gates: Sequence[GateResult | Mapping[str, Any]]) -> None:
    """Show the gates and the verdict in Prefect as a table."""
    found = [gate if isinstance(gate, GateResult) else GateResult.model_validate(gate) for gate in gates]
    _markdown(f"gates-{model}", gates_markdown(model, version, verdict, found), f"Gates of {model}/{version}")


def show_judgements(models: Sequence[Mapping[str, Any]]) -> None:
    """Show what live traffic says of champions and challengers in Prefect as a table."""
    _markdown("live-traffic", judgements_markdown(models), "What live traffic says")


def show_report(model: str, link: str, decision: Decision) -> None:
    """Link the report in Prefect."""
    if runtime.flow_run.id:
        said = f"{decision.model}/{decision.version}: {decision.verdict.replace('_', ' ')}"
        create_link_artifact(
            link=link,
            link_text=f"Report, {said}",
            key=artifact_key(f"report-{model}"),
            description=said,
        )


def _markdown(key: str, text: str, description: str) -> None:
    if runtime.flow_run.id:
        create_markdown_artifact(text, key=artifact_key(key), description=description)


def artifact_key(name: str) -> str:
    """Return `name` as Prefect wants the key of an artifact: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
