"""A window of the log as a file of events, for a run that learns from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from registry import database
from registry.event_queries import Query, conditions, events
from registry.event_store import stream
from registry.records import LogWindow

if TYPE_CHECKING:
    from sqlalchemy import Engine

T = TypeVar("T")
ROWS = 4_096
KEYS_AT_ONCE = 500


def has_events(engine: Engine, window: LogWindow) -> bool:
    """Tell whether anything in a window can be learned from."""
    statement = sa.select(events.c.sequence).where(*conditions(_query(window))).limit(1)
    return bool(database.read(engine, statement))


def write_window(engine: Engine, window: LogWindow, path: Path, known: Callable[[], Container[bytes]]) -> int:
    """Write the events of a window to a file, as they came, in the order of their offsets; return how many.

    Feedback may come long after its trace, or before it. So the earlier events of every trace that the window says
    something about are written again, before the others, unless the trace is among what is `known` already.

    Args:
        engine: Of the log.
        window: Which events. Answers that were never served are left out.
        path: There whole or not at all.
        known: Asked once, where there are such traces: the keys of the events that examples were made of.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with aside.open("wb") as out:
        for offsets in _batches(_earlier(engine, window, known)):
            statement = sa.select(events.c.body).where(events.c.sequence.in_(offsets)).order_by(events.c.sequence)
            bodies = [row["body"] for row in database.read(engine, statement)]
            written += _write(out, pa.array(bodies, pa.large_string()))
        for batch in stream(engine, _query(window), ["body"], ROWS):
            written += _write(out, batch.column(0).cast(pa.large_string()))
    aside.replace(path)
    return written


def _query(window: LogWindow) -> Query:
    return Query(after=window.start, upto=window.end, agent=window.agent)


def _write(out: IO[bytes], bodies: pa.Array) -> int:
    ended = pc.binary_join_element_wise(bodies, pa.scalar("\n", pa.large_string()), pa.scalar("", pa.large_string()))
    if len(ended):
        _, offsets, data = ended.buffers()
        bounds = pa.Array.from_buffers(pa.int64(), len(ended) + ended.offset + 1, [None, offsets])
        out.write(memoryview(data)[bounds[ended.offset].as_py() : bounds[len(bounds) - 1].as_py()])
    return len(ended)


def _earlier(engine: Engine, window: LogWindow, known: Callable[[], Container[bytes]]) -> list[int]:
    """Return the offsets before the window of events whose traces it speaks of and that nothing was learned from."""
    if window.start == 0:
        return []
    touched = sa.select(events.c.trace_id).where(*conditions(_query(window)), events.c.trace_id.is_not(None))
    with database.explained(engine), engine.connect() as connection:
        traces = connection.execute(touched.distinct()).scalars().all()
        found: list[tuple[int, str, bytes]] = []
        for names in _batches(traces):
            before = sa.select(events.c.sequence, events.c.trace_id, events.c.key).where(
                events.c.trace_id.in_(names), events.c.sequence <= window.start, events.c.shadow == 0
            )
            found += [(row[0], row[1], bytes(row[2])) for row in connection.execute(before)]
    if not found:
        return []
    learned = known()
    spent = {trace for _, trace, key in found if key in learned}
    return sorted(number for number, trace, _ in found if trace not in spent)


def _batches(values: Sequence[T]) -> Iterator[list[T]]:
    for first in range(0, len(values), KEYS_AT_ONCE):
        yield list(values[first : first + KEYS_AT_ONCE])
