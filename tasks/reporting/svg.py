"""The little of SVG that the charts need: escaped elements, scales and ticks. Numbers in, text out.

Colours come from classes that the page's style sheet defines, so that a chart is right in light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import NamedTuple


def num(value: float) -> str:
    """Return a coordinate with at most two digits after the point, always the same way."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text


def text(x: float, y: float, words: str, kind: str = "label", anchor: str = "start") -> str:
    """Return a text whose baseline begins, is centred (`middle`) or ends (`end`) at (x, y)."""
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{num(x)}" y="{num(y)}" class="{kind}"{placed}>{escape(words)}</text>'


def counted(x: float, y: float, count: str, words: str) -> str:
    """Return a count in bold, and what it counts."""
    bold = f'<tspan class="strong">{escape(count)}</tspan>'
    return f'<text x="{num(x)}" y="{num(y)}" class="label">{bold} {escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, kind: str, tip: str = "", radius: float = 0) -> str:
    """Return a rectangle; `tip` is shown when the pointer rests on it."""
    corner = f' rx="{num(radius)}"' if radius else ""
    extent = f'width="{num(max(width, 0))}" height="{num(max(height, 0))}"'
    shape = f'<rect x="{num(x)}" y="{num(y)}" {extent} class="{kind}"{corner}'
    return f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    """Return a straight line."""
    return f'<line x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}" class="{kind}"/>'


def grid(y: float, left: float, right: float) -> str:
    """Return a faint horizontal line."""
    return line(left, y, right, y, "grid")


def circle(x: float, y: float, radius: float, kind: str, tip: str = "") -> str:
    """Return a dot; `tip` is shown when the pointer rests on it."""
    shape = f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(radius)}" class="{kind}"'
    return f"{shape}><title>{escape(tip)}</title></circle>" if tip else f"{shape}/>"


def path(points: Iterable[tuple[float, float]], kind: str) -> str:
    """Return a line through `points`."""
    steps = " ".join(f"{'L' if i else 'M'}{num(x)} {num(y)}" for i, (x, y) in enumerate(points))
    return f'<path d="{steps}" class="{kind}"/>'


def band(
    x1: float, top1: float, bottom1: float, x2: float, top2: float, bottom2: float, kind: str, tip: str = ""
) -> str:
    """Return a ribbon that flows from the edge at x1 to the edge at x2."""
    middle = num((x1 + x2) / 2)
    d = (
        f"M{num(x1)} {num(top1)} C{middle} {num(top1)} {middle} {num(top2)} {num(x2)} {num(top2)} "
        f"L{num(x2)} {num(bottom2)} C{middle} {num(bottom2)} {middle} {num(bottom1)} {num(x1)} {num(bottom1)} Z"
    )
    return f'<path d="{d}" class="{kind}">' + (f"<title>{escape(tip)}</title>" if tip else "") + "</path>"


def picture(width: float, height: float, alternative: str, parts: Iterable[str], kind: str = "") -> str:
    """Return the whole picture; `alternative` is what is read out in its place."""
    return (
        f'<svg viewBox="0 0 {num(width)} {num(height)}" role="img" aria-label="{escape(alternative)}" '
        f'class="chart {kind}" '
        f'style="max-width:{num(width)}px" preserveAspectRatio="xMinYMin meet">{"".join(parts)}</svg>'
    )


class Scale(NamedTuple):
    """A linear map from values [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of `value`; beyond the ends it is held at the end."""
        span = (self.high - self.low) or 1.0
        share = min(1.0, max(0.0, (value - self.low) / span))
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values within [low, high], some `about` of them: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """Return a tick's label with as many digits as its step needs."""
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{places}f}".replace("-", "−")
