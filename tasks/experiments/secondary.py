"""Secondary metrics: looked at, corrected for their number, and never decisive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from registry.records import Record
from tasks.experiments.eprocess import against_no_gain
from tasks.experiments.guards import saving
from tasks.experiments.units import Floats, Units

BOUNDED = ("failed", "negative")
POSITIVE = ("latency", "cost", "tokens")
MEANINGS = {
    "failed": "share of failed requests",
    "negative": "share of negative feedback",
    "latency": "latency, ms",
    "cost": "cost of a request",
    "tokens": "tokens of a request",
}


class Secondary(Record):
    """A metric beside the one that decides."""

    name: str
    meaning: str
    control: float | None
    challenger: float | None
    p_value: float
    """Of "no difference", two-sided, valid however often one looks, not corrected."""
    adjusted: float
    """Corrected for the number of metrics (Holm 1979)."""


def secondary(control: Units, challenger: Units) -> list[Secondary]:
    """Compare two arms in everything that does not decide."""
    values = {name: (getattr(control, name), getattr(challenger, name)) for name in (*BOUNDED, *POSITIVE)}
    p_values = [two_sided(*pair, bounded=name in BOUNDED) for name, pair in values.items()]
    return [
        Secondary(
            name=name,
            meaning=MEANINGS[name],
            control=_mean(pair[0]),
            challenger=_mean(pair[1]),
            p_value=p_value,
            adjusted=adjusted,
        )
        for (name, pair), p_value, adjusted in zip(values.items(), p_values, holm(p_values), strict=True)
    ]


def two_sided(control: Floats, challenger: Floats, bounded: bool) -> float:
    """Return an anytime-valid p-value of "the means are equal": twice the smaller of the two sides."""
    left, right = control[~np.isnan(control)], challenger[~np.isnan(challenger)]
    if bounded:
        count = min(len(left), len(right))
        gains = right[:count] - left[:count]
        logs = max(float(against_no_gain(side * gains, 1.0).max(initial=0.0)) for side in (1.0, -1.0))
    else:
        logs = max(saving(left, right, 0.0), saving(right, left, 0.0))
    return min(1.0, 2.0 * float(np.exp(-logs)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, step by step: the k-th smallest of m times m − k + 1 (Holm 1979)."""
    count = len(p_values)
    adjusted, most = [0.0] * count, 0.0
    for rank, position in enumerate(np.argsort(p_values, kind="stable")):
        most = max(most, min(1.0, p_values[position] * (count - rank)))
        adjusted[int(position)] = most
    return adjusted


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
