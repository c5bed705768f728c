"""The report of a run: `ReportData` in, one self-contained HTML file out."""

from __future__ import annotations

from tasks.reporting.data import BeforeAfter, Changes, Distributions, PolicyChange, ReportData, ScoreDelta

__all__ = ["BeforeAfter", "Changes", "Distributions", "PolicyChange", "ReportData", "ScoreDelta", "render"]


def render(data: ReportData) -> str:
    """Return the report as one HTML document; the same data gives the same text."""
    from html import escape

    return f"<!doctype html><meta charset=utf-8><title>{escape(data.model)}</title><pre>{escape(data.model_dump_json(indent=1))}</pre>"
