"""The event log: every CloudEvent that came, once, in the order in which it came, for ever.

An event has an offset: 1, 2, 3, … in the order of commits, so that a reader who has seen offset n has seen all up to n.
What arrives late has an old `time` and a new offset. Nothing is changed in place: feedback is an event of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from registry import database, event_store
from registry.event_memory import uncollected
from registry.event_queries import Query, events, select
from registry.event_reading import loaded
from registry.event_rows import Rejected, read_events
from registry.event_zones import narrowed
from registry.sources import Barrier

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.event_statistics import Twins, VersionDay

__all__ = ["Appended", "EventLog", "LoggedEvent", "Query", "Rejected"]

BATCH_ROWS = 65_536
EVERYTHING = Query()


class Appended(NamedTuple):
    """What became of events that were to be appended."""

    appended: int
    duplicate: int
    """Events whose (source, id) is in the log already: the first one stays."""
    rejected: list[Rejected]
    head: int
    """The last offset of the log."""


class LoggedEvent(NamedTuple):
    """An event of the log."""

    offset: int
    event: dict[str, Any]


class EventLog:
    """The event log of a database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = database.connect(url)
        with database.explained(self.engine), self.engine.connect() as connection:
            self.log_id = str(connection.exec_driver_sql("SELECT log_id FROM event_log").scalar_one())
            """Identity of this log: the offsets of another one mean nothing here."""
        self._barrier = Barrier(url)

    def close(self) -> None:
        """Close the connections."""
        self._barrier.close()
        self.engine.dispose()

    def append(self, batch: Sequence[bytes | str | Mapping[str, Any]]) -> Appended:
        """Append events; they are on disk when this returns. What is there already is counted and left as it is.

        Events of a blocked source are rejected (E7235) and recorded as attempts (`registry.sources`).
        """
        with uncollected(len(batch)):
            given, invalid = read_events(batch)
            with database.explained(self.engine), database.writing(self.engine) as connection:
                rows, rejected = self._barrier.without_blocked(connection, given, invalid)
                appended = event_store.insert(connection, rows) if rows else 0
                head = _head(connection)
            self._barrier.record()
        return Appended(appended, len(rows) - appended, rejected, head)

    def head(self) -> int:
        """Return the last offset, 0 for an empty log."""
        with database.explained(self.engine), self.engine.connect() as connection:
            return _head(connection)

    def query(
        self,
        where: Query = EVERYTHING,
        *,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[LoggedEvent]:
        """Return events in the order of their offsets.

        Raises:
            ExtractionError: E7033 a time is none.
        """
        with database.explained(self.engine), self.engine.connect() as connection:
            statement = select(("sequence", "body"), narrowed(connection, where))
            if newest_first:
                statement = statement.order_by(None).order_by(events.c.sequence.desc())
            rows = connection.execute(statement.limit(limit)).all()
            with uncollected(len(rows)):
                return [LoggedEvent(number, loaded(body)) for number, body in rows]

    def arrow(
        self,
        where: Query = EVERYTHING,
        columns: Sequence[str] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield events as Arrow, in the order of their offsets, at most `batch_rows` in memory at once.

        Args:
            where: Which.
            columns: `offset`, and the columns of the log (`registry.event_rows.COLUMNS`); default all but the keys.
            batch_rows: Rows a batch.
        """
        from registry.event_stream import stream

        return stream(self.engine, where, columns, batch_rows)

    def traces(self, where: Query = EVERYTHING, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a row for each trace, with the feedback about it (`registry.event_traces.SCHEMA`)."""
        from registry.event_traces import traces

        return traces(self.engine, where, columns)

    def statistics(self, where: Query = EVERYTHING) -> list[VersionDay]:
        """Return the figures of each agent's model versions by day (UTC)."""
        from registry.event_statistics import statistics

        return statistics(self.engine, where)

    def make_blocks(self) -> None:
        """Make the blocks of columns that figures are made of, where they are missing; the first reader would."""
        from registry.event_blocks import make

        make(self.engine)

    def deduplicate(self, where: Query = EVERYTHING) -> list[Twins]:
        """Return the traces that say the same as an earlier one under another id; nothing is deleted.

        Only the window of offsets and `shadow` of `where` are looked at.
        """
        from registry.event_statistics import duplicates

        return duplicates(self.engine, where)


def _head(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT max(sequence) FROM events").scalar() or 0)
