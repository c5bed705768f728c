"""The audit log: who did what, when, to which version; each record holds the hash of the one before.

`History` writes most records. What is here appends many at once, says where the log stands, reads it, and erases.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from registry import database
from registry.audit import retention
from registry.audit.chain import GENESIS
from registry.home import now
from registry.records import Record
from registry.trust.signing import Signer

AT_ONCE = 1000


class Head(Record):
    """Where a log stands."""

    log: str
    """Which log it is: the identity of its database."""
    sequence: int
    """Number of the last record; 0 where there is none."""
    head: str
    """Its hash."""
    count: int
    """How many records are there; fewer than `sequence` once old ones were removed."""


class Entry(NamedTuple):
    """A record that is to be appended."""

    kind: str
    model: str
    body: Mapping[str, Any]
    version: str = ""
    by: str = "ratchet"
    key: str | None = None
    """What makes it the same record when it is written again."""
    time: str | None = None
    """ISO 8601 in UTC; default now."""


class AuditRecord(NamedTuple):
    """A record as it is kept."""

    sequence: int
    time: str
    by: str
    kind: str
    model: str
    version: str
    key: str
    digest: str
    previous: str
    hash: str
    body: str


class AuditLog:
    """The audit log of a home, or of a database server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = database.connect(url)

    def head(self) -> Head:
        """Return where the log stands."""
        with database.explained(self.engine), self.engine.connect() as connection:
            return head(connection)

    def append_many(self, entries: Iterable[Entry]) -> int:
        """Append records, thousands a second, and return how many; those whose key is there already are left out.

        Each thousand is one transaction: after a crash the same call appends what is missing, where they have keys.
        """
        done, rest = 0, iter(entries)
        while batch := list(itertools.islice(rest, AT_ONCE)):
            rows = {row["key"]: row for row in map(_row, batch)}
            with database.explained(self.engine), database.writing(self.engine) as connection:
                known = sa.select(database.audit.c.key).where(database.audit.c.key.in_(list(rows)))
                for key in connection.execute(known).scalars():
                    del rows[key]
                if rows:
                    database.chain(connection, list(rows.values()))
            done += len(rows)
        return done

    def records(
        self,
        *,
        model: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
        last: int | None = None,
    ) -> Iterator[AuditRecord]:
        """Yield records, oldest first, without holding them all.

        Args:
            model: Only those about this model.
            kind: Only those of this kind.
            since: Only those from this time on (ISO 8601, UTC).
            until: Only those before this time.
            last: Only so many, the newest.
        """
        table = database.audit
        query = sa.select(*(table.c[name] for name in AuditRecord._fields))
        query = query.filter_by(
            **{name: value for name, value in (("model", model), ("kind", kind)) if value is not None}
        )
        if since is not None:
            query = query.where(table.c.time >= since)
        if until is not None:
            query = query.where(table.c.time < until)
        if last is not None:
            newest = query.order_by(table.c.sequence.desc()).limit(last).subquery()
            query = sa.select(newest).order_by(newest.c.sequence)
        else:
            query = query.order_by(table.c.sequence)
        with database.explained(self.engine), self.engine.connect() as connection:
            for row in connection.execution_options(yield_per=AT_ONCE).execute(query):
                yield AuditRecord(*row)

    # --- erasure -----------------------------------------------------------------------------------------------------

    def containing(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Return the numbers of the rows that hold any of these texts, for each table that can be erased."""
        with database.explained(self.engine), self.engine.connect() as connection:
            return retention.containing(connection, texts)

    def erase(self, rows: Mapping[str, Sequence[int]], *, reason: str, by: str, signer: Signer) -> Head:
        """Take the text out of rows for ever, and leave a signed record of it; return where the log stands then.

        Digests stay, so that the chain holds. Doing it again leaves no second record.

        Args:
            rows: Numbers of rows, for each table: audit, history, runs, intents.
            reason: Why; recorded for ever, so nothing personal.
            by: Who.
            signer: Signs the record.
        """
        with database.explained(self.engine), database.writing(self.engine) as connection:
            retention.erase(connection, head(connection).log, rows, reason=reason, by=by, signer=signer)
            return head(connection)


def head(connection: sa.Connection) -> Head:
    """Return where the log stands, in the transaction that is open."""
    table = database.audit
    identity = sa.select(sa.column("log_id")).select_from(sa.table("event_log")).scalar_subquery()
    count = sa.select(sa.func.count()).select_from(table).scalar_subquery()
    newest = sa.select(table.c.sequence, table.c.hash).order_by(table.c.sequence.desc()).limit(1).subquery()
    query = sa.select(
        identity.label("log"),
        sa.select(newest.c.sequence).scalar_subquery().label("sequence"),
        sa.select(newest.c.hash).scalar_subquery().label("head"),
        count.label("count"),
    )
    row = connection.execute(query).mappings().one()
    return Head(log=row["log"], sequence=row["sequence"] or 0, head=row["head"] or GENESIS, count=row["count"])


def _row(entry: Entry) -> dict[str, str]:
    body = json.dumps(entry.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        "key": entry.key or uuid.uuid4().hex, "time": entry.time or now(), "by": entry.by, "kind": entry.kind,
        "model": entry.model, "version": entry.version, "body": body,
    }  # fmt: skip
