"""Times of events: RFC 3339, from the year 0001 to 9999, to microseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?([Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TYPE = pa.timestamp("us", "UTC")
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def microseconds(text: str) -> int | None:
    """Return the microseconds from 1970-01-01T00:00:00Z to a time, or None if it is none.

    RFC 3339, and what is read beside it: a blank for the T, no seconds, and no zone, which then is UTC. A leap second
    (`:60`) is the second after; digits beyond microseconds are cut.
    """
    if (match := _RFC3339.fullmatch(text)) is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    fraction = int((match[7] or "")[:6].ljust(6, "0"))
    result = (moment - _EPOCH) // _MICROSECOND + fraction + leap * 1_000_000 - _shift(match[8])
    return result if _FIRST <= result <= _LAST else None


def _shift(zone: str | None) -> int:
    """Return how many microseconds a zone is ahead of UTC."""
    if not zone or zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000


def has_zone(text: str) -> bool:
    """Return whether a readable time says its zone, as RFC 3339 asks."""
    return text[-1:] in "Zz" or "+" in text or "-" in text[10:]


class Times(NamedTuple):
    """n times, read."""

    column: pa.Array
    """timestamp[us, UTC], null where an event has none."""
    unreadable: list[int]
    """Rows whose time is not a time."""
    zoneless: int
    """How many say no zone and were read as UTC."""


def read_times(texts: Sequence[str | None]) -> Times:
    """Read the times of n events: all at once, or one by one if Arrow refuses any. Both ways take the same forms."""
    try:
        column = pc.cast(pa.array(texts, pa.string()), _TYPE)
        limits = pc.min_max(column.cast(pa.int64())).as_py()
        if limits["min"] is None or (limits["min"] >= _FIRST and limits["max"] <= _LAST):
            return Times(column, [], 0)
    except pa.ArrowInvalid:
        pass
    numbers = [None if text is None else microseconds(text) for text in texts]
    unreadable = [row for row, text in enumerate(texts) if text is not None and numbers[row] is None]
    zoneless = sum(
        text is not None and numbers[row] is not None and not has_zone(text) for row, text in enumerate(texts)
    )
    return Times(pa.array(numbers, pa.int64()).cast(_TYPE), unreadable, zoneless)
