"""The funnel as a picture: what flows on in the upper part, what leaves it below, heights in proportion to counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.reporting.svg import band, counted, picture, rect, text
from tasks.reporting.tables import Step
from tasks.reporting.words import percent, shortened, whole

WIDTH, LEFT, TOP, HEIGHT = 1080.0, 4.0, 46.0, 168.0
NODE, SLOT, LAST = 10.0, 19.0, 116.0


def funnel_picture(steps: Sequence[Step], splits: Mapping[str, int]) -> str:
    """Draw the steps from left to right, and the splits of the dataset at the end."""
    most = max([step.count for step in steps] + [1])
    unit = HEIGHT / most
    columns = max(len(steps) - 1, 1) + (1 if splits else 0)
    gap = (WIDTH - LEFT - LAST - NODE) / columns
    xs = [LEFT + i * gap for i in range(len(steps))]
    lowest = TOP + HEIGHT
    parts: list[str] = []
    for i, step in enumerate(steps):
        if i + 1 < len(steps):
            parts += _onward(step, steps[i + 1], xs[i], xs[i + 1], unit)
            below, bottom = _losses(step, xs[i], unit)
            parts += below
            lowest = max(lowest, bottom)
        parts += _node(step, xs[i], unit, steps[0].count)
    if splits and steps:
        parts += _splits(steps[-1], splits, xs[-1], xs[-1] + gap, unit)
    lost = "; ".join(f"{s.name} {s.count}" + "".join(f", {each.count} {each.name}" for each in s.lost) for s in steps)
    return picture(WIDTH, lowest + 12, f"The funnel. {lost}", parts, "wide")


def _node(step: Step, x: float, unit: float, first: int) -> list[str]:
    height = max(step.count * unit, 1.5)
    share = f" · {percent(step.count / first, 0)}" if first and step.count <= first else ""
    return [
        rect(x, TOP, NODE, height, "node", f"{step.name}: {whole(step.count)}{share}", 1.5),
        text(x, TOP - 24, whole(step.count), "figure"),
        text(x, TOP - 8, step.name, "label"),
    ]


def _onward(step: Step, following: Step, x1: float, x2: float, unit: float) -> list[str]:
    """Draw what goes on, and what joins it from the parent dataset."""
    going = following.count - following.inherited
    height = going * unit
    tip = f"{whole(going)} of {whole(step.count)} go on"
    parts = [band(x1 + NODE, TOP, TOP + height, x2, TOP, TOP + height, "flow", tip)]
    if following.inherited:
        top, thick = TOP + height, following.inherited * unit
        parts.append(
            band(
                x2 - 46,
                top + 14,
                top + 14 + thick,
                x2,
                top,
                top + thick,
                "flow inherited",
                f"{whole(following.inherited)} from the parent version",
            )
        )
        parts.append(
            text(x2 - 50, top + 14 + thick / 2 + 4, f"+{whole(following.inherited)} of the parent", "tick", "end")
        )
    return parts


def _losses(step: Step, x: float, unit: float) -> tuple[list[str], float]:
    """Draw what leaves at a step, each loss down to its own label; return the parts, and how far down they go."""
    going = step.count - sum(each.count for each in step.lost)
    from_y, to_y = TOP + max(going, 0) * unit, TOP + HEIGHT + 22
    parts: list[str] = []
    bottom = to_y
    for each in step.lost:
        name, count, thick = each.name, each.count, each.count * unit
        parts.append(
            band(
                x + NODE,
                from_y,
                from_y + thick,
                x + NODE + 34,
                to_y,
                to_y + max(thick, 1.2),
                "lost",
                f"{name}: {whole(count)}",
            )
        )
        label = to_y + min(max(thick, 1.2), 14) / 2 + 4
        parts.append(counted(x + NODE + 40, label, whole(count), shortened(name, 30)))
        from_y += thick
        to_y += max(thick, SLOT)
        bottom = to_y
    return parts, bottom


def _splits(step: Step, splits: Mapping[str, int], x1: float, x2: float, unit: float) -> list[str]:
    parts: list[str] = []
    from_y, to_y = TOP, TOP
    total = sum(splits.values()) or 1
    for name, count in splits.items():
        thick = count * unit
        label = f"{whole(count)} · {percent(count / total, 1)}"
        parts += [
            band(x1 + NODE, from_y, from_y + thick, x2, to_y, to_y + thick, f"flow flow-{name}", f"{name}: {label}"),
            rect(x2, to_y, NODE, max(thick, 1.5), f"split-{name}", f"{name}: {label}", 1.5),
            text(x2 + NODE + 7, to_y + max(thick, 1.5) / 2 - 1, name, "label strong"),
            text(x2 + NODE + 7, to_y + max(thick, 1.5) / 2 + 14, label, "value"),
        ]
        from_y += thick
        to_y += max(thick, 20) + 18
    return parts
