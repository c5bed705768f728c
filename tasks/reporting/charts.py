"""Charts of the data and of the training: pure functions from numbers to SVG, without any style but classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from registry.records import EpochMetrics, Stratum
from tasks.reporting.data import BeforeAfter
from tasks.reporting.svg import Scale, circle, grid, line, path, picture, rect, text, tick_text, ticks
from tasks.reporting.words import decimal, percent, plain, shortened, whole

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
        f"{plain(name)}: {b} before, {a} after"
        for name, b, a in zip(counts.labels, counts.before, counts.after, strict=True)
    )
    return picture(WIDTH, max(len(counts.labels), 1) * ROW, f"{title}. {said}", parts)


def histogram(counts: BeforeAfter, title: str, threshold_label: str | None = None) -> str:
    """Draw a histogram before (outline) and after (filled)."""
    most = max([*counts.before, *counts.after, 1])
    left, top, bottom = 44.0, 8.0, 150.0
    scale = Scale(0, most, bottom, top)
    step = (WIDTH - left) / max(len(counts.labels), 1)
    steps = ticks(0, most, 4)
    parts = [grid(scale.at(value), left, WIDTH) for value in steps]
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
        parts.append(
            text(left - 8, top + 15, shortened(f"{plain(stratum.domain)}, {stratum.difficulty}", 21), "label", "end")
        )
        for name, count in (("train", stratum.train), ("validation", stratum.validation), ("test", stratum.test)):
            width = (right - left) * count / total if total else 0.0
            share = percent(count / total if total else 0)
            tip = f"{stratum.domain}, {stratum.difficulty}: {whole(count)} in {name} ({share})"
            parts.append(rect(x, top + 3, max(width - 1, 0), 16, f"split-{name}", tip))
            x += width
        counts = f"{whole(stratum.train)} · {whole(stratum.validation)} · {whole(stratum.test)}"
        parts.append(text(WIDTH, top + 15, counts, "value", "end"))
    said = "; ".join(
        f"{s.domain} {s.difficulty}: {s.train} train, {s.validation} validation, {s.test} test" for s in strata
    )
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
    parts = [grid(y.at(v), left, right) for v in marks]
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
    parts = [
        path([(x.at(e.epoch), y.at(e.learning_rate)) for e in epochs], "curve curve-rate"),
        line(x.start, bottom, x.end, bottom),
    ]
    parts += [
        circle(
            x.at(e.epoch),
            y.at(e.learning_rate),
            1.8,
            "dot-rate",
            f"epoch {e.epoch}, learning rate {e.learning_rate:.3g}",
        )
        for e in epochs
    ]
    parts += [
        text(x.start - 6, top + 6, f"{max(rates):.2g}", "tick", "end"),
        text(x.start - 6, bottom + 3, "0", "tick", "end"),
    ]
    parts.append(text(x.end + 7, (top + bottom) / 2 + 4, "learning rate", "note"))
    every = max(1, math.ceil(len(epochs) / 12))
    parts += [text(x.at(e.epoch), bottom + 16, str(e.epoch), "tick", "middle") for e in epochs[::every]]
    parts.append(text((x.start + x.end) / 2, bottom + 33, "epoch", "note", "middle"))
    return parts


def _apart(places: list[float], least: float) -> list[float]:
    """Move two labels apart when they are nearer than `least`."""
    first, second = places
    if abs(first - second) >= least:
        return places
    middle, sign = (first + second) / 2, 1 if second >= first else -1
    return [middle - sign * least / 2, middle + sign * least / 2]
