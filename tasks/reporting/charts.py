"""The charts of the report: pure functions from numbers to SVG. No clock, no random numbers, no style but classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from registry.records import EpochMetrics, Readiness, Stratum
from tasks.reporting.data import BeforeAfter
from tasks.reporting.svg import Scale, circle, line, num, path, picture, rect, text, tick_text, ticks
from tasks.reporting.words import decimal, milliseconds, percent, plain, shortened, whole

WIDTH = 460.0
ROW = 34.0


# --- before and after ----------------------------------------------------------------------------------------------


def bar_pairs(counts: BeforeAfter, title: str) -> str:
    """Draw one row a class: how many before (outline) and after (filled), with the share that stayed."""
    most = max([*counts.before, *counts.after, 1])
    left, right = 96.0, WIDTH - 120
    scale = Scale(0, most, left, right)
    parts: list[str] = []
    for row, (label, before, after) in enumerate(zip(counts.labels, counts.before, counts.after, strict=True)):
        top = row * ROW
        kept = percent(after / before, 0) if before else "–"
        tip = f"{plain(label)}: {whole(before)} before, {whole(after)} after, {kept} kept"
        parts += [
            text(left - 8, top + 19, shortened(plain(label), 15), "label", "end"),
            rect(left, top + 4, scale.at(before) - left, 22, "before", tip, 2),
            rect(left, top + 8, scale.at(after) - left, 14, "after", tip, 1.5),
            text(scale.at(max(before, after)) + 6, top + 19, f"{whole(after)} of {whole(before)} · {kept}", "value"),
        ]
    said = "; ".join(
        f"{plain(name)}: {b} before, {a} after" for name, b, a in zip(counts.labels, counts.before, counts.after, strict=True)
    )
    return picture(WIDTH, max(len(counts.labels), 1) * ROW, f"{title}. {said}", parts)


def histogram(counts: BeforeAfter, title: str, threshold_label: str | None = None) -> str:
    """Draw a histogram before (outline) and after (filled)."""
    most = max([*counts.before, *counts.after, 1])
    left, top, bottom = 44.0, 8.0, 150.0
    scale = Scale(0, most, bottom, top)
    step = (WIDTH - left) / max(len(counts.labels), 1)
    steps = ticks(0, most, 4)
    parts = [_grid(scale.at(value), left, WIDTH) for value in steps]
    parts += [text(left - 6, scale.at(value) + 4, whole(value), "tick", "end") for value in steps]
    for i, (label, before, after) in enumerate(zip(counts.labels, counts.before, counts.after, strict=True)):
        x, tip = left + i * step, f"{label}: {whole(before)} before, {whole(after)} after"
        parts += [
            rect(x + 1.5, scale.at(before), step - 3, bottom - scale.at(before), "before", tip),
            rect(x + 4.5, scale.at(after), step - 9, bottom - scale.at(after), "after", tip),
        ]
        if i % max(1, math.ceil(len(counts.labels) / 10)) == 0:
            parts.append(text(x + step / 2, bottom + 16, shortened(label.split("–")[0], 8), "tick", "middle"))
    parts.append(line(left, bottom, WIDTH, bottom))
    said = "; ".join(f"{n}: {b}, {a}" for n, b, a in zip(counts.labels, counts.before, counts.after, strict=True))
    return picture(WIDTH, bottom + 24, f"{title}, before and after: {said}", parts)


def strata_chart(strata: Sequence[Stratum]) -> str:
    """Draw one row a stratum: its examples' shares of train, validation and test."""
    left, right = 128.0, WIDTH - 104
    parts: list[str] = []
    for row, stratum in enumerate(strata):
        top, x = row * 24.0, left
        total = stratum.train + stratum.validation + stratum.test
        parts.append(text(left - 8, top + 15, shortened(f"{plain(stratum.domain)}, {stratum.difficulty}", 21), "label", "end"))
        for name, count in (("train", stratum.train), ("validation", stratum.validation), ("test", stratum.test)):
            width = (right - left) * count / total if total else 0.0
            tip = f"{stratum.domain}, {stratum.difficulty}: {whole(count)} in {name} ({percent(count / total if total else 0)})"
            parts.append(rect(x, top + 3, max(width - 1, 0), 16, f"split-{name}", tip))
            x += width
        counts = f"{whole(stratum.train)} · {whole(stratum.validation)} · {whole(stratum.test)}"
        parts.append(text(WIDTH, top + 15, counts, "value", "end"))
    said = "; ".join(f"{s.domain} {s.difficulty}: {s.train} train, {s.validation} validation, {s.test} test" for s in strata)
    return picture(WIDTH, max(len(strata), 1) * 24.0 + 2, f"Splits by stratum. {said}", parts)


# --- training ------------------------------------------------------------------------------------------------------


def loss_chart(epochs: Sequence[EpochMetrics], best: int) -> str:
    """Draw train and validation loss an epoch, the kept epoch, and below it the learning rate."""
    left, right, top, bottom = 48.0, WIDTH - 78, 14.0, 190.0
    losses = [v for e in epochs for v in (e.train_loss, e.validation_loss) if math.isfinite(v)] or [0.0, 1.0]
    pad = (max(losses) - min(losses)) * 0.06 or 0.05
    y = Scale(min(losses) - pad, max(losses) + pad, bottom, top)
    x = Scale(epochs[0].epoch, max(epochs[-1].epoch, epochs[0].epoch + 1), left, right)
    marks = ticks(y.low, y.high, 5)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    parts = [_grid(y.at(v), left, right) for v in marks]
    parts += [text(left - 6, y.at(v) + 4, tick_text(v, step), "tick", "end") for v in marks]
    parts += [line(x.at(best), top, x.at(best), bottom, "mark")]
    series = (("train", [e.train_loss for e in epochs]), ("validation", [e.validation_loss for e in epochs]))
    ends = _apart([y.at(values[-1]) if math.isfinite(values[-1]) else top for _, values in series], 14)
    for (name, values), end in zip(series, ends, strict=True):
        points = [(x.at(e.epoch), y.at(v)) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]
        parts += [path(points, f"curve curve-{name}"), text(right + 7, end + 4, name, f"label ink-{name}")]
        parts += [
            circle(x.at(e.epoch), y.at(v), 2.6, f"dot-{name}", f"epoch {e.epoch}, {name} loss {decimal(v)}")
            for e, v in zip(epochs, values, strict=True)
            if math.isfinite(v)
        ]
    anchor = "end" if x.at(best) > (left + right) / 2 else "start"
    parts.append(text(x.at(best) + (-5 if anchor == "end" else 5), top + 4, f"kept: epoch {best}", "note", anchor))
    parts += _learning_rate(epochs, x, bottom)
    said = ", ".join(f"epoch {e.epoch}: {decimal(e.train_loss)} and {decimal(e.validation_loss)}" for e in epochs)
    return picture(WIDTH, bottom + 92, f"Train and validation loss. {said}. Kept is epoch {best}.", parts)


def _learning_rate(epochs: Sequence[EpochMetrics], x: Scale, above: float) -> list[str]:
    top, bottom = above + 18, above + 54
    rates = [e.learning_rate for e in epochs]
    y = Scale(0, max(rates) or 1.0, bottom, top)
    parts = [path([(x.at(e.epoch), y.at(e.learning_rate)) for e in epochs], "curve curve-rate"), line(x.start, bottom, x.end, bottom)]
    parts += [
        circle(x.at(e.epoch), y.at(e.learning_rate), 1.8, "dot-rate", f"epoch {e.epoch}, learning rate {e.learning_rate:.3g}")
        for e in epochs
    ]
    parts += [text(x.start - 6, top + 6, f"{max(rates):.2g}", "tick", "end"), text(x.start - 6, bottom + 3, "0", "tick", "end")]
    parts.append(text(x.end + 7, (top + bottom) / 2 + 4, "learning rate", "note"))
    every = max(1, math.ceil(len(epochs) / 12))
    parts += [text(x.at(e.epoch), bottom + 16, str(e.epoch), "tick", "middle") for e in epochs[::every]]
    parts.append(text((x.start + x.end) / 2, bottom + 33, "epoch", "note", "middle"))
    return parts


# --- validation ----------------------------------------------------------------------------------------------------


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
        if abs(at - edge) > 70:
            parts.append(text(at, y + 34, f"baseline {show(measured.baseline)}", "tick", "middle"))
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


def latency_plot(baseline: Sequence[float], candidate: Sequence[float], allowed_p95: float | None) -> str:
    """Draw what share of the requests was answered within how many milliseconds, for both models."""
    left, right, top, bottom = 48.0, WIDTH - 14, 12.0, 170.0
    both = sorted([*baseline, *candidate])
    cut = both[min(len(both) - 1, int(0.985 * len(both)))]
    high = max(cut, allowed_p95 or 0.0) * 1.08 or 1.0
    x, y = Scale(0, high, left, right), Scale(0, 1, bottom, top)
    parts = [_grid(y.at(v), left, right) for v in (0.25, 0.5, 0.75, 0.95)]
    parts += [text(left - 6, y.at(v) + 4, f"{100 * v:.0f} %", "tick", "end") for v in (0.0, 0.25, 0.5, 0.75, 0.95)]
    marks = ticks(0, high, 6)
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    parts += [text(x.at(v), bottom + 16, tick_text(v, step), "tick", "middle") for v in marks]
    parts += [line(left, bottom, right, bottom), text((left + right) / 2, bottom + 34, "milliseconds a request", "note", "middle")]
    for name, values in (("baseline", sorted(baseline)), ("candidate", sorted(candidate))):
        if values:
            parts.append(path(_staircase(values, x, y), f"curve curve-{name}"))
    if allowed_p95 is not None:
        at = x.at(allowed_p95)
        parts += [line(at, top, at, bottom, "threshold"), text(at - 5, bottom - 8, "allowed at 95 %", "note", "end")]
    shares = [f"{n}: p50 {milliseconds(_quantile(v, 0.5))}, p95 {milliseconds(_quantile(v, 0.95))}" for n, v in (("baseline", sorted(baseline)), ("candidate", sorted(candidate)))]
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
    left, right = 96.0, WIDTH - 62
    x = Scale(0, 1, left, right)
    edge = x.at(required)
    parts = [rect(left, 20, right - left, 24, "track", radius=2), text(left - 8, 37, "readiness", "label strong", "end")]
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
        line(edge, 14, edge, 50, "threshold"), text(edge, 10, f"more than {required:.2f}", "tick", "middle"),
    ]  # fmt: skip
    said = ", ".join(f"{name} {decimal(getattr(readiness, name))}" for name, _ in weights)
    return picture(WIDTH, 168, f"Readiness {decimal(readiness.score)}, more than {required:.2f} required: {said}", parts)


def _grid(y: float, left: float, right: float) -> str:
    return line(left, y, right, y, "grid")


def _apart(places: list[float], least: float) -> list[float]:
    """Move two labels apart when they are nearer than `least`."""
    first, second = places
    if abs(first - second) >= least:
        return places
    middle, sign = (first + second) / 2, 1 if second >= first else -1
    return [middle - sign * least / 2, middle + sign * least / 2]


def bar(share: float, kind: str = "after") -> str:
    """Draw a small bar for a table's cell, `share` in [0, 1]; it repeats a number that stands beside it."""
    width = max(0.0, min(1.0, share)) * 80
    return f'<svg viewBox="0 0 80 8" width="80" height="8" aria-hidden="true"><rect width="{num(width)}" height="8" class="{kind}" rx="1"/></svg>'
