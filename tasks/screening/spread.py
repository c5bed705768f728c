"""Who a group of examples comes from: does one source, user or day bring most of it?"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc


class Share(NamedTuple):
    """The commonest value among the examples of a group."""

    value: str
    share: float
    """Its share of the group."""
    usual: float
    """Its share of all examples that were searched."""
    distinct: int
    """Values in the group."""


def share(group: pa.ChunkedArray, every: pa.ChunkedArray) -> Share | None:
    """Return the commonest value of a group, the first by name of several; None where it has none.

    Args:
        group: The values of the group's examples.
        every: Those of all examples.
    """
    counts = group.drop_null().value_counts()
    if not len(counts):
        return None
    values = sorted((-int(each["counts"]), str(each["values"]), each["values"]) for each in counts.to_pylist())
    count, name, value = values[0]
    usual = pc.sum(pc.equal(every, pa.scalar(value, every.type))).as_py() or 0
    return Share(name, round(-count / len(group), 3), round(usual / max(1, len(every)), 3), len(counts))
