"""A measured figure beside what was wanted, and how a table of them looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of RESULTS.md."""

    name: str
    value: str
    wanted: str = ""
    reached: bool | None = None
    """None where nothing was wanted."""


def figure(name: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None) -> Figure:
    """Return a figure that should be at most `most` or at least `least`."""
    wanted = [f"≤ {most:,g} {unit}"] if most is not None else []
    wanted += [f"≥ {least:,g} {unit}"] if least is not None else []
    reached = (most is None or value <= most) and (least is None or value >= least) if wanted else None
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
    return Figure(name, f"{shown} {unit}".strip(), " and ".join(wanted).strip(), reached)


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table."""
    marks = {None: "", True: "yes", False: "**no**"}
    rows = [f"| {each.name} | {each.value} | {each.wanted} | {marks[each.reached]} |" for each in figures]
    return "\n".join(["| what | measured | wanted | reached |", "| --- | --- | --- | --- |", *rows])
