"""Charts of the examination: intervals, latency, readiness. Pure functions from numbers to SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from registry.records import Readiness
from tasks.reporting.svg import Scale, circle, grid, line, num, path, picture, rect, text, tick_text, ticks
from tasks.reporting.words import decimal, milliseconds, shortened

WIDTH = 460.0


class Measured(NamedTuple):
    """A tested quantity: an interval, the threshold, and on which side of it things are good."""

    name: str
    estimate: float
    low: float
    high: float
    threshold: float
    good: str
    """`above` or `below` the threshold."""
    show: Callable[[float], str]
    baseline: float | None = None


def interval_plot(measured: Measured) -> str:
    """Draw an interval on its axis, with the threshold and the good side shaded."""
    left, right, y = 10.0, WIDTH - 10, 40.0
    inside = [measured.low, measured.high, measured.estimate, measured.threshold]
    inside += [] if measured.baseline is None else [measured.baseline]
    low, high = min(inside), max(inside)
    pad = (high - low) * 0.14 or abs(high) * 0.05 or 0.01
    x = Scale(low - pad, high + pad, left, right)
    edge = x.at(measured.threshold)
    good = (edge, right - edge) if measured.good == "above" else (left, edge - left)
    show = measured.show
    parts = [
        rect(left, y - 16, right - left, 32, "bad-side", radius=3),
        rect(good[0], y - 16, good[1], 32, "good-side", radius=3),
        line(edge, y - 22, edge, y + 20, "threshold"),
    ]
    if measured.baseline is not None:
        at = x.at(measured.baseline)
        parts += [line(at, y - 16, at, y + 16, "baseline-line")]
        if abs(at - edge) > 130:
            parts.append(
                text(*_held(at, 50, left, right), y + 34, f"baseline {show(measured.baseline)}", "tick", "middle")
            )
    said = f"{measured.name} {show(measured.estimate)}, interval {show(measured.low)} to {show(measured.high)}"
    parts += [
        line(x.at(measured.low), y, x.at(measured.high), y, "interval"),
        line(x.at(measured.low), y - 6, x.at(measured.low), y + 6, "interval"),
        line(x.at(measured.high), y - 6, x.at(measured.high), y + 6, "interval"),
        circle(x.at(measured.estimate), y, 5, "estimate", said),
        text(*_held(x.at(measured.estimate), 90, left, right), 13, _caption(measured), "value strong", "middle"),
        text(*_held(edge, 60, left, right), y + 34, f"threshold {show(measured.threshold)}", "tick", "middle"),
    ]
    return picture(WIDTH, 80, f"{said}; threshold {show(measured.threshold)}, good is {measured.good} it", parts)


def _caption(measured: Measured) -> str:
    return f"{measured.show(measured.estimate)}  ({measured.show(measured.low)} to {measured.show(measured.high)})"


def _held(x: float, half: float, left: float, right: float) -> tuple[float]:
    return (min(max(x, left + half), right - half),)


def forest_plot(rows: Sequence[Measured]) -> str:
    """Draw one interval a row on a common axis; all rows have the first one's threshold and units."""
    left, right, top = 96.0, WIDTH - 118, 20.0
    first, bottom = rows[0], top + len(rows) * 30.0
    inside = [value for row in rows for value in (row.low, row.high, row.threshold, row.baseline or 0.0)]
    pad = (max(inside) - min(inside)) * 0.06 or 0.05
    x = Scale(min(inside) - pad, max(inside) + pad, left, right)
    edge, show = x.at(first.threshold), first.show
    parts = [
        rect(left, top, edge - left, bottom - top, "bad-side", radius=3),
        rect(edge, top, right - edge, bottom - top, "good-side", radius=3),
        line(edge, top - 4, edge, bottom + 6, "threshold"),
        text(edge, top - 8, f"allowed {show(first.threshold)}", "tick", "middle"),
    ]
    if first.baseline is not None:
        at = x.at(first.baseline)
        parts += [line(at, top, at, bottom + 4, "baseline-line"), text(at, bottom + 17, "baseline", "tick", "middle")]
    for i, row in enumerate(rows):
        y = top + 15 + i * 30.0
        said = f"{row.name}: {_caption(row)}"
        parts += [
            text(left - 8, y + 4, shortened(row.name, 14), "label", "end"),
            line(x.at(row.low), y, x.at(row.high), y, "interval"),
            circle(x.at(row.estimate), y, 4.5, "estimate", said),
            text(right + 7, y + 4, f"{show(row.low)} to {show(row.high)}", "value"),
        ]
    return picture(
        WIDTH, bottom + 24, "Against the baseline: " + "; ".join(f"{r.name} {_caption(r)}" for r in rows), parts
    )


def latency_plot(baseline: Sequence[float], candidate: Sequence[float], allowed_p95: float | None) -> str:
    """Draw what share of the requests was answered within how many milliseconds, for both models."""
    left, right, top, bottom = 48.0, WIDTH - 14, 12.0, 170.0
    both = sorted([*baseline, *candidate])
    cut = both[min(len(both) - 1, int(0.985 * len(both)))]
    high = max(cut, allowed_p95 or 0.0) * 1.08 or 1.0
    x, y = Scale(0, high, left, right), Scale(0, 1, bottom, top)
    parts = [grid(y.at(v), left, right) for v in (0.25, 0.5, 0.75, 0.95)]
    parts += [text(left - 6, y.at(v) + 4, f"{100 * v:.0f} %", "tick", "end") for v in (0.0, 0.25, 0.5, 0.75, 0.95)]
    marks = ticks(0, high, 6)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    parts += [text(x.at(v), bottom + 16, tick_text(v, step), "tick", "middle") for v in marks]
    parts += [
        line(left, bottom, right, bottom),
        text((left + right) / 2, bottom + 34, "milliseconds a request", "note", "middle"),
    ]
    for name, values in (("baseline", sorted(baseline)), ("candidate", sorted(candidate))):
        if values:
            parts.append(path(_staircase(values, x, y), f"curve curve-{name}"))
    if allowed_p95 is not None:
        at = x.at(allowed_p95)
        parts += [line(at, top, at, bottom, "threshold"), text(at - 5, bottom - 8, "allowed at 95 %", "note", "end")]
    shares = [
        f"{n}: p50 {milliseconds(_quantile(v, 0.5))}, p95 {milliseconds(_quantile(v, 0.95))}"
        for n, v in (("baseline", sorted(baseline)), ("candidate", sorted(candidate)))
    ]
    return picture(WIDTH, bottom + 42, "Latency, share of requests answered in time. " + "; ".join(shares), parts)


def _staircase(values: Sequence[float], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Return the points of an empirical distribution, thinned to 160 steps."""
    every = max(1, len(values) // 160)
    points = [(x.at(0), y.at(0))]
    for i in range(0, len(values), every):
        points += [(x.at(values[i]), points[-1][1]), (x.at(values[i]), y.at((i + 1) / len(values)))]
    return [*points, (x.at(values[-1]), y.at(1.0)), (x.end, y.at(1.0))]


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def readiness_chart(readiness: Readiness, required: float) -> str:
    """Draw what each part adds to the score, and the score against what is required."""
    left, right = 96.0, WIDTH - 80
    x = Scale(0, 1, left, right)
    edge = x.at(required)
    parts = [
        rect(left, 20, right - left, 24, "track", radius=2),
        text(left - 8, 37, "readiness", "label strong", "end"),
    ]
    at = 0.0
    weights = (("accuracy", 0.40), ("confidence", 0.30), ("consistency", 0.20), ("robustness", 0.10))
    for i, (name, weight) in enumerate(weights):
        value = getattr(readiness, name)
        tip = f"{name} {decimal(value)} × {weight:.2f} = {decimal(value * weight)}"
        parts.append(rect(x.at(at), 20, x.at(at + weight * value) - x.at(at) - 1, 24, f"part part-{i}", tip))
        at += weight * value
        top = 60 + i * 26.0
        parts += [
            text(left - 8, top + 13, name, "label", "end"),
            rect(left, top + 3, right - left, 13, "track", radius=2),
            rect(left, top + 3, x.at(value) - left, 13, f"part part-{i}", tip, 2),
            text(right + 7, top + 13, f"{decimal(value, 2)} × {weight:.1f}", "value"),
        ]
    parts += [
        text(right + 7, 37, decimal(readiness.score), "value strong"),
        line(edge, 14, edge, 50, "threshold"),
        text(edge, 10, f"more than {required:.2f}", "tick", "middle"),
    ]
    said = ", ".join(f"{name} {decimal(getattr(readiness, name))}" for name, _ in weights)
    return picture(
        WIDTH, 168, f"Readiness {decimal(readiness.score)}, more than {required:.2f} required: {said}", parts
    )


def bar(share: float, kind: str = "after") -> str:
    """Draw a small bar for a table's cell, `share` in [0, 1]; it repeats a number that stands beside it."""
    width = max(0.0, min(1.0, share)) * 80
    drawn = f'<rect width="{num(width)}" height="8" class="{kind}" rx="1"/>'
    return f'<svg viewBox="0 0 80 8" width="80" height="8" aria-hidden="true">{drawn}</svg>'
