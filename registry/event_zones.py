"""Which times the blocks of the log hold (`registry.event_blocks`): a reader goes straight to a window of time."""

from __future__ import annotations

import sqlalchemy as sa

from registry.event_queries import Query, events, moment

ROWS = 16_384
"""Offsets of a block."""
LAYOUT = 2
"""Number of the layout of a block; blocks of another one are left alone."""
blocks = sa.table("event_blocks", *(sa.column(name) for name in ("first", "layout", "since", "until", "body")))


def narrowed(connection: sa.Connection, where: Query) -> Query:
    """Return a query with offsets between which all events of its time lie; it may be wider than they are."""
    if where.since is None and where.until is None:
        return where
    c = blocks.c
    known = connection.execute(sa.select(c.first, c.since, c.until).where(c.layout == LAYOUT).order_by(c.first))
    inside, number = [], 0
    for first, since, until in known.all():
        if first != number * ROWS + 1:
            break  # not made yet
        if (where.since is None or until >= moment(where.since)) and (
            where.until is None or since < moment(where.until)
        ):
            inside.append(number)
        number += 1
    first, last = _rest(connection, where, number * ROWS)
    after = inside[0] * ROWS if inside else first
    upto = last if last is None or last > number * ROWS or not inside else (inside[-1] + 1) * ROWS
    limits = [limit for limit in (upto, where.upto) if limit is not None]
    return where._replace(after=max(where.after, after), upto=min(limits) if limits else None)


def _rest(connection: sa.Connection, where: Query, blocked: int) -> tuple[int, int | None]:
    """Return offsets between which what is above the blocks lies: exactly where that is long, by the index of times."""
    c = events.c
    head = connection.execute(sa.select(sa.func.max(c.sequence))).scalar() or 0
    if head == blocked or 0 < blocked <= head < blocked + 2 * ROWS:
        return blocked, head
    inside = [c.time >= moment(where.since)] if where.since is not None else []
    inside += [c.time < moment(where.until)] if where.until is not None else []
    ends = sa.select(sa.func.min(c.sequence), sa.func.max(c.sequence)).where(*inside, c.sequence + 0 > blocked)
    first, last = connection.execute(ends).one()
    return (blocked, blocked) if first is None else (first - 1, last)
