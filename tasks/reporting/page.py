"""The report of a run: `ReportData` in, one self-contained HTML file out."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.reporting.data import BeforeAfter, Changes, Distributions, PolicyChange, ReportData, ScoreDelta
from tasks.reporting.exam_charts import bar
from tasks.reporting.headline import arguments, figures, headline
from tasks.reporting.sections import (
    accuracy_meaning,
    change_rows,
    data_section,
    gate_rows,
    lineage,
    readiness_section,
    time_rows,
    training_section,
)
from tasks.reporting.stages import shown_stage
from tasks.reporting.tables import MARKS
from tasks.reporting.words import duration, moment, printable, whole, worded

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["BeforeAfter", "Changes", "Distributions", "PolicyChange", "ReportData", "ScoreDelta", "render"]

FOLDER = Path(__file__).parent


def render(data: ReportData) -> str:
    """Return the report as one HTML document; the same data gives the same text.

    Nothing in it is loaded from elsewhere, and its content policy forbids to. Everything that came from events is
    escaped, and characters that would hide or reorder text are shown by their numbers.
    """
    return printable(_template().render(**_parts(data)))


def _parts(data: ReportData) -> dict[str, Any]:
    style, script = _asset("page.css"), _asset("page.js")
    return {
        "style": style,
        "script": script,
        "script_digest": _digest(script),
        "data": data,
        "head": headline(data),
        "figures": figures(data),
        "arguments": arguments(data),
        "created": moment(data.created),
        "funnel": data_section(data),
        "training": training_section(data),
        "stages": [shown_stage(stage) for stage in data.validation.stages] if data.validation else [],
        "readiness": readiness_section(data),
        "accuracy_meaning": accuracy_meaning(data),
        "gates": gate_rows(data.gates),
        "lineage": lineage(data),
        "changes": change_rows(data),
        "times": time_rows(data.seconds),
        "total_time": duration(sum(data.seconds.values())),
        "policy": json.dumps(data.dataset.policy, indent=2, sort_keys=True, ensure_ascii=False) if data.dataset else "",
    }


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"whole": whole, "worded": worded}
    environment.globals |= {"bar": bar, "marks": MARKS}
    return environment.from_string(_asset("page.html"))


@functools.cache
def _asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the hash by which the content policy allows an inline script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
