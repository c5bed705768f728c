"""The Prefect tasks of reporting: write the report, show it in Prefect."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.reporting.page import ReportData, render


def save_report(data: ReportData, path: Path) -> Path:
    """Write the report to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(render(data), encoding="utf-8")
    scratch.replace(path)
    return path


@task(name="write report", task_run_name="write report {data.model}")
def write_report(data: ReportData, path: Path) -> Path:
    """Render the report and write it to `path` atomically."""
    return save_report(data, path)
