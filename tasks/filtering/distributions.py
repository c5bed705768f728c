"""What the examples were like before filtering, and what is left after it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.filtering.decide import ACCEPT, Decisions

BINS = 10
NONE = "none"


class Shape(NamedTuple):
    """Counts of some examples."""

    domain: dict[str, int]
    """Most frequent first, then by name."""
    difficulty: dict[str, int]
    quality: dict[str, int]
    """Ten ranges of ten points, in order, such as `70–80`; then `none`, the examples without a quality."""
    score: dict[str, int]
    """Ten ranges of the composite score, such as `0.7–0.8`; then `none`, the examples that were not scored."""


class Distributions(NamedTuple):
    """All extracted examples, and the accepted ones. Both have the same labels in the same order."""

    before: Shape
    after: Shape


def distributions(
    domain: pa.Array | pa.ChunkedArray,
    difficulty: pa.Array | pa.ChunkedArray,
    quality: NDArray[np.float64],
    decisions: Decisions,
) -> Distributions:
    """Count n examples by domain, difficulty, quality and composite score, before and after filtering.

    Args:
        domain: n names, plain or dictionary-encoded; likewise `difficulty`.
        difficulty: n of easy, medium, hard.
        quality: 0 to 100, NaN where missing.
        decisions: What was decided of them.
    """
    kept = decisions.status == ACCEPT
    counted = [
        _by_name(domain, kept),
        _by_name(difficulty, kept, ("easy", "medium", "hard")),
        _by_range(quality, kept, 100.0),
        _by_range(decisions.composite, kept, 1.0),
    ]
    return Distributions(Shape(*(pair[0] for pair in counted)), Shape(*(pair[1] for pair in counted)))


def _by_name(
    names: pa.Array | pa.ChunkedArray, kept: NDArray[np.bool_], order: tuple[str, ...] = ()
) -> tuple[dict[str, int], dict[str, int]]:
    before, after = _counts(names), _counts(names.filter(pa.array(kept)))
    labels = [*order, *sorted(before.keys() - set(order), key=lambda name: (-before[name], name))]
    return {name: before.get(name, 0) for name in labels}, {name: after.get(name, 0) for name in labels}


def _counts(names: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    return {str(item["values"]): int(item["counts"]) for item in pc.value_counts(names).to_pylist()}


def _by_range(
    values: NDArray[np.float64], kept: NDArray[np.bool_], top: float
) -> tuple[dict[str, int], dict[str, int]]:
    edges = np.linspace(0.0, top, BINS + 1)
    labels = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(edges)]

    def count(some: NDArray[np.float64]) -> dict[str, int]:
        missing = np.isnan(some)
        histogram, _ = np.histogram(some[~missing], bins=edges)
        return dict(zip([*labels, NONE], [*histogram.tolist(), int(missing.sum())], strict=True))

    return count(values), count(values[kept])
