"""What may be asked of the event log, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from registry.errors import ExtractionError
from registry.event_rows import COLUMNS, EXECUTION, MAX_NAME, PLANNING, microseconds

TRACES = (EXECUTION, PLANNING)
"""Types of the events that are traces."""
GOOD_FROM = 50.0
"""Feedback that scores less is negative."""
_LONG = ("sequence", "time", "trace_key", "content")
events = sa.table(
    "events", *(sa.column(name, sa.BigInteger if name in _LONG else None) for name in ("sequence", *COLUMNS))
)


class Query(NamedTuple):
    """Which events; everything that is given must hold."""

    types: Sequence[str] = ()
    since: str | None = None
    """ISO 8601, inclusive; without a zone it is UTC."""
    until: str | None = None
    """ISO 8601, exclusive."""
    model_versions: Sequence[str] = ()
    agent: str | None = None
    domains: Sequence[str] = ()
    trace_ids: Sequence[str] = ()
    quality: tuple[float | None, float | None] | None = None
    """From and to, 0 to 100, both inclusive: of the event's own score, else of its own feedback."""
    feedback: Literal["negative", "positive", "any"] | None = None
    """What the last feedback about the trace says."""
    experiment: str | None = None
    after: int = 0
    """Offsets above this one."""
    upto: int | None = None
    """Offsets up to and with this one."""
    shadow: bool | None = False
    """Answers that were never served: False leaves them out, True takes them alone, None takes both."""


def moment(text: str) -> int:
    """Return a time that a user gave as microseconds from 1970.

    Raises:
        ExtractionError: E7033 it is none.
    """
    try:
        given = datetime.fromisoformat(text)
        return microseconds(given if given.tzinfo else given.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ExtractionError(
            "E7033", f"{text[:60]!r} is no time", "give ISO 8601, such as 2026-11-21 or 2026-11-21T14:30:00Z"
        ) from None


def conditions(where: Query) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a query on the table `events`."""
    c = events.c
    several = ((c.type, where.types), (c.model_version, where.model_versions), (c.domain, where.domains))
    found: list[sa.ColumnElement[bool]] = [column.in_(list(values)) for column, values in several if values]
    if where.trace_ids:
        found.append(c.trace_id.in_([name[:MAX_NAME] for name in where.trace_ids]))
    if where.experiment is not None:
        found.append(c.experiment == where.experiment)
    if where.shadow is not None:
        found.append(c.shadow == int(where.shadow))
    if where.agent is not None:
        found.append(_of_agent(where.agent))
    return _in_window(where) + found + _of_quality(where.quality) + _of_feedback(where.feedback)


def _in_window(where: Query) -> list[sa.ColumnElement[bool]]:
    c = events.c
    found: list[sa.ColumnElement[bool]] = [c.sequence > where.after] if where.after > 0 else []
    if where.upto is not None:
        found.append(c.sequence <= where.upto)
    if where.since is not None:
        found.append(c.time + 0 >= moment(where.since))  # not by the index, which would mix the order
    if where.until is not None:
        found.append(c.time + 0 < moment(where.until))
    return found


def _of_agent(agent: str) -> sa.ColumnElement[bool]:
    """An event is its agent's; feedback, which does not say one, is its trace's agent's."""
    c, trace = events.c, events.alias("trace")
    its = sa.exists().where(trace.c.trace_id == c.trace_id, trace.c.agent == agent)
    return sa.or_(c.agent == agent, sa.and_(c.agent.is_(None), its))


def _of_quality(limits: tuple[float | None, float | None] | None) -> list[sa.ColumnElement[bool]]:
    if limits is None:
        return []
    value = sa.func.coalesce(events.c.quality, events.c.score)
    low, high = limits
    found: list[sa.ColumnElement[bool]] = [value.is_not(None)]
    found += [value >= low] if low is not None else []
    return found + ([value <= high] if high is not None else [])


def _of_feedback(wanted: str | None) -> list[sa.ColumnElement[bool]]:
    if wanted is None:
        return []
    said, later = events.alias("said"), events.alias("later")
    overtaken = sa.exists().where(
        later.c.trace_id == said.c.trace_id,
        later.c.score.is_not(None),
        sa.tuple_(later.c.time, later.c.sequence) > sa.tuple_(said.c.time, said.c.sequence),
    )
    last = [events.c.shadow == 0, said.c.trace_id == events.c.trace_id, said.c.score.is_not(None)]
    if wanted != "any":
        last += [said.c.score < GOOD_FROM if wanted == "negative" else said.c.score >= GOOD_FROM, ~overtaken]
    return [sa.exists().where(*last)]


def select(columns: Sequence[str], where: Query) -> sa.Select[Any]:
    """Return the statement for columns of the events that are wanted, in the order of their offsets."""
    return sa.select(*(events.c[name] for name in columns)).where(*conditions(where)).order_by(events.c.sequence)


def literal(engine: sa.Engine, statement: sa.Select[Any]) -> str:
    """Return a statement as text with its values in it, for a driver that is not SQLAlchemy's."""
    return str(statement.compile(engine, compile_kwargs={"literal_binds": True}))
