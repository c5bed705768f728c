"""The report of a verification: one self-contained HTML page with the table as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.verification.policy import STRENGTHS

TEMPLATE = Path(__file__).with_name("page.html")


def render(result: dict[str, Any]) -> str:
    """Return the page of a verification; the same result gives the same text. Nothing is loaded from elsewhere."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(result=result, rows=_rows(result), strengths=STRENGTHS)


def shade(cell: dict[str, Any] | None) -> str:
    """Return the class of a cell's colour, by the share that was caught."""
    if cell is None or not cell["tried"]:
        return "none"
    share = cell["caught"] / cell["tried"]
    if share == 1:
        return "all"
    if share >= 0.5:
        return "most"
    return "held" if cell["passed"] == 0 else "missed"


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    cells = {(cell["fault"], cell["strength"]): cell for cell in result["cells"]}
    faults = dict.fromkeys(cell["fault"] for cell in result["cells"])
    return [
        {
            "fault": fault,
            "cells": [
                {"shade": shade(cells.get((fault, strength))), "cell": cells.get((fault, strength))}
                for strength in STRENGTHS
            ],
        }
        for fault in faults
    ]
