"""The register of sources: their state, their evidence, and what blocked ones tried; every line is in the audit chain.

A source is the attribute `source` of its events, in whatever spelling (`registry.source_names`): the register has the
one that all have in common. Lines are appended and never changed; the newest of a source holds, and a block holds for
all that lies below it. A line and its audit record are written in one transaction, and who writes reads first: no
change is lost between two runs that end at once.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from registry import database
from registry.audit.chain import record_of
from registry.errors import CurationError, RatchetError
from registry.event_reading import read_event
from registry.event_rows import Rejected
from registry.home import now
from registry.records import canonical_json
from registry.source_names import MOST, canonical, places

BLOCKED = "blocked"
CODE = "E7235"
"""Of events that are refused because their source is blocked."""
QUIET_SECONDS = 60.0
"""Blocked attempts are recorded at once, and then not again for so long: a flood of them is a line a minute."""
_table = database.sources
_log = logging.getLogger(__name__)


class SourceLine(NamedTuple):
    """One line about a source."""

    sequence: int
    time: str
    source: str
    state: str
    """trial, trusted, probation or blocked."""
    by: str
    """Who: a person, or `ratchet` for what followed from outcomes."""
    body: dict[str, Any]
    """action, reason, before, score, evidence, attempts (of a blocked source, ever), run, model."""


class NewLine(NamedTuple):
    """A line to be appended."""

    source: str
    state: str
    body: Mapping[str, Any]
    by: str = "ratchet"


class Sources:
    """The register of a database."""

    def __init__(self, url: str) -> None:
        self._engine = database.connect(url)

    def current(self) -> dict[str, SourceLine]:
        """Return the newest line of each source, by name in alphabetical order."""
        with database.explained(self._engine), self._engine.connect() as connection:
            return _current(connection)

    def of(self, source: str) -> list[SourceLine]:
        """Return all lines about a source, oldest first.

        Raises:
            CurationError: E7237 there is none.
        """
        spelled = sorted({source, canonical(source)})
        query = sa.select(_table).where(_table.c.source.in_(spelled)).order_by(_table.c.sequence)
        found = [_line(row) for row in database.read(self._engine, query)]
        if not found:
            raise CurationError(
                "E7237", f"no source {source[:200]!r} is known", "`ratchet sources` lists those that are"
            )
        return found

    def fences(self) -> list[tuple[str, int]]:
        """Return how often each source was blocked or let in again, of those that ever were, by name."""
        ever = sa.select(_table.c.source).where(_table.c.state == BLOCKED)
        columns = _table.c.source, _table.c.state
        query = sa.select(*columns).where(_table.c.source.in_(ever)).order_by(_table.c.source, _table.c.sequence)
        moves: Counter[str] = Counter()
        inside: dict[str, bool] = {}
        for row in database.read(self._engine, query):
            blocked = row["state"] == BLOCKED
            moves[row["source"]] += blocked != inside.get(row["source"], False)
            inside[row["source"]] = blocked
        return sorted(moves.items())

    def update(self, key: str, decide: Callable[[dict[str, SourceLine]], Sequence[NewLine]]) -> list[SourceLine]:
        """Append the lines that `decide` makes of the newest ones, once under `key`; return those that were appended.

        Nobody writes between the reading and the appending. Of the lines of one call none, or all, are there.
        """
        with database.explained(self._engine), database.writing(self._engine) as connection:
            done = connection.execute(sa.select(_table.c.sequence).where(_table.c.key == f"{key}:0")).first()
            return [] if done else _append(connection, key, decide(_current(connection)))

    def attempted(self, key: str, attempts: Mapping[str, int], where: Mapping[str, Any]) -> list[SourceLine]:
        """Record events that were left out because their source is barred; once under `key`.

        Args:
            key: What makes it the same record when it is written again.
            attempts: Number of events by source.
            where: Where they came: `via`, and the run if there is one.
        """

        def lines(current: dict[str, SourceLine]) -> list[NewLine]:
            made = []
            counts: Counter[str] = Counter()
            for source, count in attempts.items():
                counts[_barring(source, current) or canonical(source)] += count
            for source, count in sorted(counts.items()):
                line = current.get(source)
                before: dict[str, Any] = line.body if line is not None else {}
                body = {name: before[name] for name in ("score", "evidence", "why") if name in before} | {
                    "action": "blocked_attempt", "events": count, "attempts": before.get("attempts", 0) + count,
                    "reason": f"{count:,} events left out", **where,
                }  # fmt: skip
                made.append(NewLine(source, line.state if line is not None else "trial", body))
            return made

        return self.update(key, lines) if attempts else []


def _current(connection: sa.Connection) -> dict[str, SourceLine]:
    newest = sa.select(sa.func.max(_table.c.sequence)).group_by(_table.c.source)
    rows = connection.execute(sa.select(_table).where(_table.c.sequence.in_(newest))).mappings().all()
    found: dict[str, SourceLine] = {}
    for line in sorted(map(_line, rows), key=lambda line: line.sequence):
        name = canonical(line.source)  # lines that are older than this rule have the spelling that came
        known = found.get(name)
        lets_in = known is not None and known.state == BLOCKED and line.state != BLOCKED
        if not lets_in or line.body.get("action") == "set":  # else another spelling would lift a block
            found[name] = line._replace(source=name)
    return dict(sorted(found.items()))


def _barring(source: str, current: Mapping[str, SourceLine]) -> str | None:
    """Return the name of the block that a source falls under; None where there is none."""
    return next((name for name in places(source) if name in current and current[name].state == BLOCKED), None)


def _append(connection: sa.Connection, key: str, lines: Sequence[NewLine]) -> list[SourceLine]:
    if not lines:
        return []
    last = connection.execute(sa.select(sa.func.max(_table.c.sequence))).scalar() or 0
    moment = now()
    rows = [
        {
            "sequence": last + 1 + number, "key": f"{key}:{number}", "time": moment,
            "source": canonical(line.source), "state": line.state, "by": line.by,
            "body": canonical_json(dict(line.body)),
        }
        for number, line in enumerate(lines)
    ]  # fmt: skip
    connection.execute(sa.insert(_table), rows)
    database.chain(connection, [record_of(_table.name, row) for row in rows])
    return [_line(row) for row in rows]


def _line(row: Mapping[str, Any] | sa.RowMapping) -> SourceLine:
    return SourceLine(row["sequence"], row["time"], row["source"], row["state"], row["by"], json.loads(row["body"]))


# --- the way into the event log --------------------------------------------------------------------------------------


class Barrier:
    """Keeps events of blocked sources out of the event log, and records that they tried.

    Which sources are blocked is read again within each transaction that appends, where the register has grown: an event
    that comes after a block is not in the log.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen = 0
        self._current: dict[str, SourceLine] = {}
        """Of blocked sources."""
        self._known: dict[bytes, str | None] = {}
        """By the digest of a source in the key of its events: the block that it falls under."""
        self._guard = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._next = 0.0

    def without_blocked(
        self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]], rejected: Sequence[Rejected]
    ) -> tuple[Sequence[tuple[Any, ...]], list[Rejected]]:
        """Return the rows whose source is not blocked, and what is refused of the others beside what was before.

        Args:
            connection: Of the transaction that will append the rows.
            rows: `registry.event_rows.COLUMNS`, in the order in which they were given.
            rejected: What was given beside them and is no event.
        """
        self._look(connection)
        if not self._current:
            return rows, list(rejected)
        taken = {each.position for each in rejected}
        places = (place for place in range(len(rows) + len(taken)) if place not in taken)
        kept, refused = [], list(rejected)
        for place, row in zip(places, rows, strict=True):
            name = self._block(row)
            if name is None:
                kept.append(row)
            else:
                refused.append(Rejected(place, CODE, f"source {name[:200]!r} is blocked"))
                self._count(name)
        return kept, sorted(refused)

    def _block(self, row: tuple[Any, ...]) -> str | None:
        """Return the name of the block that a row falls under; None where there is none."""
        digest = row[0][:8]
        if digest not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()  # the sender chooses how many sources there are
            self._known[digest] = _barring(read_event(row[-1].encode()).source, self._current)
        return self._known[digest]

    def _count(self, source: str) -> None:
        with self._guard:
            if not self._next:
                self._next = time.monotonic()
                atexit.register(self.close)
            self._waiting[source] += 1

    def close(self) -> None:
        """Record the attempts that were not recorded yet."""
        with contextlib.suppress(Exception):  # the database may be gone before the process is
            self.record(at_once=True)

    def record(self, *, at_once: bool = False) -> None:
        """Record the attempts so far, unless some were recorded a short while ago."""
        with self._guard:
            if not self._waiting or (not at_once and time.monotonic() < self._next):
                return
            attempts, self._waiting = self._waiting, Counter()
            self._next = time.monotonic() + QUIET_SECONDS
        try:
            Sources(self._url).attempted(f"attempts:{uuid.uuid4().hex}", attempts, {"via": "event log"})
        except RatchetError as error:  # the events beside them are on disk: that must not fail for a count
            _log.warning("attempts of blocked sources are not recorded yet: %s", error)
            with self._guard:
                self._waiting += attempts

    def _look(self, connection: sa.Connection) -> None:
        last = int(connection.exec_driver_sql("SELECT max(sequence) FROM sources").scalar() or 0)
        if last != self._seen:
            current = _current(connection)
            self._current = {name: line for name, line in current.items() if line.state == BLOCKED}
            self._known.clear()
            self._seen = last
