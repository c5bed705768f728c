"""The Prefect side of the triggers: what each said, as a table in Prefect's UI. Outside a flow run it is skipped."""

from __future__ import annotations

import re

from prefect import runtime
from prefect.artifacts import create_table_artifact

from tasks.triggers.check import Check


def show_checks(model: str, found: Check) -> None:
    """Show what the triggers said in Prefect as a table."""
    if not runtime.flow_run.id:
        return
    rows = [
        {
            "trigger": each.kind,
            "fired": "yes" if each.fired else "no",
            "value": _number(each.value),
            "threshold": _number(each.threshold),
            "reason": each.reason,
            "would fire": each.would_fire,
        }
        for each in found.checks
    ]
    create_table_artifact(
        rows,
        key=re.sub(r"[^a-z0-9]+", "-", f"triggers-{model}".lower()).strip("-"),
        description=f"Triggers of {model}: {'retrain' if found.fired else 'no retrain'}; {found.reason}",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
