"""The page of an experiment: one file of HTML with verdict, numbers and the confidence sequence as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import log

from tasks.experiments.judgement import Comparison, Judgement

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 320, 56, 16, 16, 40
STYLE = """
:root { color-scheme: light dark; --ink: #1a1f24; --faint: #8a949e; --paper: #fff; --one: #2f6db3; --win: #2e8b57; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14181c; --one: #6ea8e6; --win: #5bc08a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; }
th { font-weight: 600; border-bottom: 1px solid var(--faint); } td.n, th.n { text-align: right; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--ink); } .faint { fill: var(--faint); }
.band { fill: var(--one); opacity: .18; } .estimate { fill: none; stroke: var(--one); stroke-width: 2; }
.zero { stroke: var(--ink); } .margin { stroke: var(--win); stroke-dasharray: 5 4; } .grid { stroke: var(--faint);
opacity: .3; } .verdict { font-size: 1.15rem; font-weight: 600; }
"""


def render_html(
    judgement: Judgement, title: str, facts: Sequence[tuple[str, str]], margin: float, note: str = ""
) -> str:
    """Return the page.

    Args:
        judgement: What the judge says.
        title: Name of the experiment.
        facts: What else is to be said of it, as pairs of words and value.
        margin: The lift that is wanted, drawn as a line.
        note: A sentence under the title.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(judgement.verdict)}: {escape(judgement.reason)}</p>',
        f"<p>{escape(note)}</p>" if note else "",
        _table(["", ""], facts),
    ]
    for found in judgement.comparisons:
        parts += [f"<h2>Version {escape(found.version)} beside the champion</h2>", picture(found, margin)]
        low, high = _percent(found.low), _percent(found.high)
        parts.append(
            f"<p>Relative lift of quality {_percent(found.lift)}, between {low} and {high}, after {found.pairs:,} "
            f"pairs of units. The bounds hold at every moment at once: the lower one with a probability of "
            f"{1 - found.alpha_low:.2%}, the upper one with {1 - found.alpha_high:.2%}.</p>"
        )
        parts += [_guards(found), _secondary(found)]
    parts += [_arms(judgement), f"<p>Split: {escape(judgement.split.reason)}.</p>"]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    styled = f"<head>{head}<style>{STYLE}</style></head>"
    return f'<!doctype html>\n<html lang="en">{styled}<body>\n{body}\n</body></html>\n'


def picture(found: Comparison, margin: float) -> str:
    """Return the confidence sequence as SVG: the band of the bounds, the estimate, no lift and the margin."""
    pairs = found.series.get("pairs", [])
    if not pairs:
        return "<p>No unit has closed yet.</p>"
    span = reach(found, margin)

    def x(count: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * log(max(count, 1)) / max(log(pairs[-1]), 1e-9)

    def y(lift: float) -> float:
        inside = min(max(lift, -span), span)
        return TOP + (HEIGHT - TOP - BOTTOM) * (span - inside) / (2 * span)

    low = [(x(count), y(value)) for count, value in zip(pairs, found.series["low"], strict=True)]
    high = [(x(count), y(value)) for count, value in zip(pairs, found.series["high"], strict=True)]
    middle = [(x(count), y(value)) for count, value in zip(pairs, found.series["estimate"], strict=True)]
    parts = [
        f'<path class="band" d="{_path([*high, *low[::-1]])} Z"/>',
        f'<path class="estimate" d="{_path(middle)}"/>',
    ]
    for lift, kind in ((0.0, "zero"), (margin, "margin"), (span, "grid"), (-span, "grid")):
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(lift):.1f}" y2="{y(lift):.1f}"/>')
        if kind != "margin":
            parts.append(f'<text x="{LEFT - 6}" y="{y(lift) + 4:.1f}" text-anchor="end">{lift:+.0%}</text>')
    wanted = f"wanted {margin:+.0%}"  # inside, because 0 may be next to it
    parts.append(f'<text class="faint" x="{LEFT + 6}" y="{y(margin) - 4:.1f}">{wanted}</text>')
    for count in ticks(pairs[-1]):
        parts.append(f'<text x="{x(count):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{count:,}</text>')
    parts.append(f'<text class="faint" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">pairs of units</text>')
    words = f"Relative lift of version {found.version} over pairs of units, with bounds that hold at all times"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">{"".join(parts)}</svg>'


def reach(found: Comparison, margin: float) -> float:
    """Return how far from 0 a plot of the lift must go to show what matters at the end."""
    widest = [abs(found.series["low"][-1]), abs(found.series["estimate"][-1]), 2 * margin, 0.1]
    if found.series["high"][-1] < 1.0:
        widest.append(abs(found.series["high"][-1]))
    return min(max(widest) * 1.6, 1.0)


def ticks(last: float) -> list[int]:
    """Return the numbers of pairs to write below a logarithmic axis: powers of ten, and the last."""
    powers = [10**power for power in range(8) if 10**power < last / 1.8]
    return [*powers, int(last)]


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{'L' if place else 'M'}{x:.1f} {y:.1f}" for place, (x, y) in enumerate(points))


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns after the first are numbers where it has more than two."""
    kind = ["" if column == 0 or len(head) == 2 else ' class="n"' for column in range(len(head))]
    top = "".join(f"<th{mark}>{escape(word)}</th>" for word, mark in zip(head, kind, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, kind, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table>{f'<tr>{top}</tr>' if any(head) else ''}{''.join(lines)}</table>"


def _arms(judgement: Judgement) -> str:
    rows = [
        [
            f"{arm.name} (version {arm.version})",
            *(f"{count:,}" for count in (arm.units, arm.closed, arm.outcomes)),
            *map(_number, (arm.quality, arm.error_rate, arm.latency_p95, arm.cost)),
        ]
        for arm in judgement.arms
    ]
    return _table(["arm", "units", "closed", "scored", "quality", "errors", "latency p95, ms", "cost"], rows)


def _guards(found: Comparison) -> str:
    rows = [
        [guard.name, _number(guard.control), _number(guard.challenger), f"{guard.p_value:.2g}", _state(guard.broken)]
        for guard in found.guards
    ]
    return _table(["guard", "champion", "challenger", "p", "state"], rows)


def _state(broken: bool) -> str:
    return "broken" if broken else "holds"


def _secondary(found: Comparison) -> str:
    rows = [
        [each.meaning, _number(each.control), _number(each.challenger), f"{each.p_value:.2g}", f"{each.adjusted:.2g}"]
        for each in found.secondary
    ]
    return _table(["beside that", "champion", "challenger", "p", "p, all five corrected"], rows)
