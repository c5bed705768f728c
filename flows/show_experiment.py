"""An experiment in the terminal: its verdict, the confidence sequence drawn with plain characters, and its guards."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
from rich.text import Text

from flows.show import console, plain, table
from registry.experiments import Experiment
from tasks.experiments.judgement import Comparison, Judgement
from tasks.experiments.page import reach, ticks

WIDTH, HEIGHT = 64, 15
COLOURS = {"won": "green", "continue": "cyan", "lost": "red", "harm": "red", "inconclusive": "yellow", "stop": "yellow"}
NUMBERS = ("units", "scored", "quality", "errors", "p95 ms", "cost", "champion", "challenger", "p")
LEGEND = "estimate ●   bounds that hold at all times ▒   no lift ─   wanted lift ╌"


def show_status(experiment: Experiment, judgement: Judgement, margin: float, page: str) -> None:
    """Print how an experiment stands."""
    out = console()
    title = f"{experiment.key}: version {experiment.challenger.version} beside {experiment.control.version}"
    out.print(Text(f"{title}, {experiment.share:.0%} each, {experiment.mode}, {experiment.state}", style="bold"))
    out.print(Text(f"{judgement.verdict}: {judgement.reason}", style=COLOURS[judgement.verdict]))
    for found in judgement.comparisons:
        out.print()
        if len(judgement.comparisons) > 1:
            out.print(Text(f"version {found.version}: {found.verdict}", style="bold"))
        for line in plot(found, margin):
            out.print(Text(line))
    _arms(judgement)
    out.print(Text(f"split: {judgement.split.reason}"))
    if judgement.verdict != "continue" and experiment.state == "running":
        out.print("the next run of the deployment `judge` acts on it", soft_wrap=True)
    if judgement.next_share is not None:
        out.print(Text(f"the next look gives each arm {judgement.next_share:.0%}"))
    out.print(Text(f"page: {page}"), soft_wrap=True)


def _arms(judgement: Judgement) -> None:
    out = console()
    made = table("arm", "units", "scored", "quality", "errors", "p95 ms", "cost", right=NUMBERS)
    for arm in judgement.arms:
        cells = (arm.quality, arm.error_rate, arm.latency_p95, arm.cost)
        made.add_row(plain(f"{arm.name} ({arm.version})"), f"{arm.units:,}", f"{arm.outcomes:,}", *map(_short, cells))
    out.print()
    out.print(made)
    made = table("guard", "champion", "challenger", "p", "state", right=NUMBERS)
    for found in judgement.comparisons:
        for guard in found.guards:
            state = Text("broken", style="red") if guard.broken else Text("holds", style="green")
            made.add_row(guard.name, _short(guard.control), _short(guard.challenger), f"{guard.p_value:.2g}", state)
    out.print()
    out.print(made)
    out.print()


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}"


def show_experiments(experiments: Sequence[Experiment], model: str | None = None) -> None:
    """Print experiments as a table."""
    out = console()
    if not experiments:
        out.print(f"no experiment{f' of {plain(model)}' if model else ''} yet")
        return
    made = table("experiment", "champion", "tried", "share", "mode", "state", "started", "reason")
    for each in experiments:
        tried = ", ".join(arm.version for arm in each.arms[1:])
        made.add_row(
            plain(each.key), each.control.version, tried, f"{each.share:.0%}", each.mode, each.state,
            each.started[:19], plain(each.reason),
        )  # fmt: skip
    out.print(made)


def plot(found: Comparison, margin: float) -> list[str]:
    """Return the confidence sequence of the lift as lines of text, over a logarithmic axis of pairs of units."""
    pairs = found.series.get("pairs", [])
    if not pairs:
        return ["no unit of both arms has closed yet"]
    span = reach(found, margin)
    places = np.searchsorted(pairs, np.geomspace(1, max(pairs[-1], 2), WIDTH), side="right") - 1
    places = np.clip(places, 0, len(pairs) - 1)
    levels = np.linspace(span, -span, HEIGHT)
    half = levels[0] - levels[1]
    rows = []
    for level in levels:
        line = "─" if abs(level) < half / 2 else "╌" if abs(level - margin) < half / 2 else " "
        cells = [_cell(found, place, float(level), half / 2, line) for place in places]
        rows.append(f"{level:+7.1%} │{''.join(cells)}")
    axis = [" "] * (WIDTH + 12)
    for count in ticks(pairs[-1]):
        label = f"{count:,}"
        column = 9 + round((WIDTH - 1) * log(max(count, 1)) / max(log(pairs[-1]), 1e-9))
        column = min(column, 9 + WIDTH - len(label))  # the last one ends where the plot ends
        axis[column : column + len(label)] = label
    low, high = f"{found.low:+.1%}", "unknown" if found.high is None else f"{found.high:+.1%}"
    lift = "unknown" if found.lift is None else f"{found.lift:+.1%}"
    told = f"lift {lift}, between {low} and {high}, {found.pairs:,} pairs of units"
    return [*rows, "".join(axis).rstrip(), LEGEND, told]


def _cell(found: Comparison, place: int, level: float, half: float, line: str) -> str:
    if abs(found.series["estimate"][place] - level) <= half:
        return "●"
    return "▒" if found.series["low"][place] <= level <= found.series["high"][place] else line
