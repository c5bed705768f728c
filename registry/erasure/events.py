"""A person in the event log: which events are theirs, and the log without what these say.

A row stays, with its offset, its numbers and its time, so that figures, windows and experiments remain what they were;
its body becomes a tombstone with the digest of what was there. The names in it (trace, user, unit) become pseudonyms:
the same ones for the rows of one erasure, and nobody can compute them.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from registry import database
from registry.audit.retention import TEXTS, mutable
from registry.erasure.scrubbing import still_read
from registry.event_queries import TRACES, events
from registry.event_reading import loaded
from registry.event_rows import LONGEST_ID, MAX_NAME, trace_key
from registry.event_zones import ROWS, blocks
from registry.records import canonical_json

Kind = Literal["subject", "user", "trace"]
AT_ONCE = 500
ERASED = "ratchet.erased"
"""Type of the event that a tombstone's body is: nothing is learned from it."""
SHORTEST = 3
"""Characters of a name that is looked for within an id."""
_ESCAPED = re.compile(r"[\w .@:-]+", re.ASCII)
_USERS = ("user", "user_id", "unit")
_SESSIONS = ("session_id", "session", "conversation_id")


class Person(NamedTuple):
    """Who is asked for: the `subject` of events, the `user` that data or feedback names, or one `trace`."""

    kind: Kind
    value: str


class LoggedOf(NamedTuple):
    """What the log has of a person."""

    offsets: list[int]
    traces: list[str]
    """Ids of the traces that are theirs: every event of these is."""
    names: list[str]
    """What was asked for, and their traces and sessions: what names them elsewhere."""
    events: list[tuple[str, str]]
    """(source, id) of their events."""


def find(engine: sa.Engine, person: Person) -> LoggedOf:
    """Return the events of a person, and all events of their traces.

    A user who says something about the trace of somebody else owns what they said, not the trace.
    """
    named = {number: event for number, event in _candidates(engine, person) if _names(event, person)}
    own = person.kind == "subject"
    traces = {
        str(trace)
        for event in named.values()
        if (own or event.get("type") in TRACES) and (trace := _data(event).get("trace_id")) not in (None, "")
    }
    if person.kind == "trace":
        traces.add(person.value)
    offsets = sorted(set(named) | _of_traces(engine, sorted(traces)))
    sessions, ids = set(), []
    for _, event in bodies(engine, offsets):
        ids.append((str(event.get("source")), str(event.get("id"))))
        if person.kind != "trace" and event.get("type") in TRACES:
            sessions |= {str(name) for key in _SESSIONS if (name := _data(event).get(key)) not in (None, "")}
    return LoggedOf(offsets, sorted(traces), sorted({person.value} | traces | sessions), ids)


def bodies(engine: sa.Engine, offsets: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the events at some offsets; what was erased before is left out."""
    for start in range(0, len(offsets), AT_ONCE):
        wanted = sa.select(events.c.sequence, events.c.body).where(
            events.c.sequence.in_(list(offsets[start : start + AT_ONCE]))
        )
        for row in database.read(engine, wanted.order_by(events.c.sequence)):
            event = loaded(row["body"])
            if event.get("type") != ERASED:
                yield int(row["sequence"]), event


def erase(engine: sa.Engine, offsets: Sequence[int], names: Sequence[str]) -> int:
    """Replace what events say by tombstones, in one transaction, and return how many were not tombstones before.

    Args:
        engine: Of the log.
        offsets: Of the events.
        names: Of the person; an event id that holds one is replaced, too.
    """
    if not offsets:
        return 0
    done = 0
    pseudonyms: dict[str, str] = {}
    with database.explained(engine), database.writing(engine) as connection, mutable(connection, "events"):
        for number, event in list(bodies(engine, offsets)):
            row = connection.execute(
                sa.select(events.c.trace_id, events.c.unit, events.c.user_id, events.c.key).where(
                    events.c.sequence == number
                )
            ).one()
            connection.execute(
                sa.update(events).where(events.c.sequence == number).values(_tombstone(event, row, names, pseudonyms))
            )
            done += 1
        first = sorted({(number - 1) // ROWS * ROWS + 1 for number in offsets})
        connection.execute(sa.delete(blocks).where(blocks.c.first.in_(first)))
    return done


def overwrite_free_space(engine: sa.Engine) -> None:
    """Have the database give up what it still holds of rows that were changed: free pages, and the WAL.

    SQLite rewrites the file, PostgreSQL the tables with texts (`VACUUM FULL`); both take as long as copying them.
    """
    with database.explained(engine):
        raw: Any = engine.raw_connection()
        try:
            driver = raw.driver_connection
            if engine.dialect.name == "sqlite":
                driver.execute("VACUUM")
                if driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise still_read(engine.url)
            else:
                driver.rollback()
                driver.autocommit = True
                for table in ("events", "event_blocks", *TEXTS):
                    driver.execute(f"VACUUM FULL {table}")
                driver.autocommit = False
        finally:
            raw.close()


# --- parts ---------------------------------------------------------------------------------------------------------


def _candidates(engine: sa.Engine, person: Person) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the events that may name a person: by their columns, else by their bodies, which are searched as text."""
    c, value = events.c, person.value
    if person.kind == "trace":
        found: sa.ColumnElement[bool] = c.trace_id == value[:MAX_NAME]
    else:
        within = sa.func.instr if engine.dialect.name == "sqlite" else sa.func.strpos
        core = max(_ESCAPED.findall(value), key=len, default="")  # what no writer of JSON writes in another way
        found = within(c.body, core or "\\u") > 0
        if not core:
            found = sa.or_(found, within(c.body, value) > 0)
    with database.explained(engine), engine.connect() as connection:
        statement = sa.select(c.sequence, c.body).where(found).order_by(c.sequence)
        for number, body in connection.execution_options(yield_per=AT_ONCE).execute(statement):
            yield number, loaded(body)


def _names(event: dict[str, Any], person: Person) -> bool:
    """Tell whether an event names a person as its subject, its user, or the one who gave feedback.

    A user is looked for as the subject as well, as in datasets: many who log write the user there.
    """
    data = _data(event)
    if person.kind == "trace":
        return str(data.get("trace_id")) == person.value
    if str(event.get("subject")) == person.value:
        return True
    if person.kind == "subject":
        return False
    said = data.get("feedback")
    given = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, dict)]
    places = [data, event, *given]
    return any(str(place.get(name)) == person.value for place in places for name in _USERS) or any(
        str(data.get(name)) == person.value for name in _SESSIONS
    )


def _of_traces(engine: sa.Engine, traces: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(traces), AT_ONCE):
        some = [name[:MAX_NAME] for name in traces[start : start + AT_ONCE]]
        query = sa.select(events.c.sequence).where(events.c.trace_id.in_(some))
        found |= {int(row["sequence"]) for row in database.read(engine, query)}
    return found


def _data(event: dict[str, Any]) -> dict[str, Any]:
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def _tombstone(
    event: dict[str, Any], row: sa.Row[Any], names: Sequence[str], pseudonyms: dict[str, str]
) -> dict[str, Any]:
    """Return the columns of a row that change."""

    def instead(name: str | None) -> str | None:
        return None if name is None else pseudonyms.setdefault(name, f"erased-{secrets.token_hex(8)}")

    source, identity = str(event.get("source")), str(event.get("id"))
    key = bytes(row.key)
    if any(
        name in identity for name in names if len(name) >= SHORTEST
    ):  # who knows the id finds the event again, but cannot read it
        key = key[:8] + hashlib.blake2b(identity.encode(), digest_size=LONGEST_ID + 8).digest()
        identity = key[8:].hex()
    trace = instead(row.trace_id)
    body = {
        "specversion": "1.0", "id": identity, "source": source, "type": ERASED, "time": event.get("time"),
        "data": {"trace_id": trace, "sha256": canonical_text_digest(event)},
    }  # fmt: skip
    return {
        "key": key, "trace_id": trace, "trace_key": None if trace is None else trace_key(trace), "content": None,
        "unit": instead(row.unit), "user_id": instead(row.user_id), "feedback_value": None,
        "body": canonical_json(body),
    }  # fmt: skip


def canonical_text_digest(event: dict[str, Any]) -> str:
    """Return the sha256 of an event, however its JSON was written."""
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
