"""What leaves the records: bodies that are erased, and the beginning of the audit log once it is old enough.

Both leave a signed statement in the audit log of what went, so that `registry.audit.tampering` tells them from
tampering. The statement is a DSSE envelope, in the record's body under `signed`:

    erase   {log, rows: {table: [sequence]}, reason, by, time}
    prune   {log, first, last, count, root, rows: {TABLE#SEQUENCE: digest}, carried: {new: old}, earlier: [segments],
             before, by, time}

`root` is the hash of the last record that went; each record before is in it. `rows` has the digests of the rows of
other tables whose records went: those rows stay, and are compared with these.
"""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from registry import database
from registry.audit.chain import ERASED, is_of_row
from registry.home import now
from registry.records import Record, canonical_json
from registry.trust.signing import Signer

ERASE, PRUNE, DECISION = "erase", "prune", "decision"
ERASURE_TYPE = "application/vnd.ratchet.erasure+json"
PRUNING_TYPE = "application/vnd.ratchet.pruning+json"
BLANK = "(erased)"
"""What an erased reason of a line of history is replaced by."""
TEXTS = {"audit": ("body", ERASED), "history": ("reason", BLANK), "runs": ("body", ERASED), "intents": ("body", ERASED)}
"""Where a table has text that can be erased, and what takes its place."""
ROUTINE = frozenset({"trigger_check", "retrain", "experiment", "bake", "snapshot", "settings"})
"""Kinds of which the newest of a model and version says all that is still needed."""
AT_ONCE = 500
"""Values in one statement; SQLite takes no more than some thousands."""


@contextlib.contextmanager
def mutable(connection: sa.Connection, *tables: str) -> Iterator[None]:
    """Let rows of tables that only grow be changed until the block ends, within the write transaction that is open.

    Nobody else sees the tables unprotected: what fails in the block leaves everything as it was.
    """
    if connection.dialect.name != "sqlite":
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        return
    connection.exec_driver_sql("PRAGMA secure_delete=ON")
    master = sa.table("sqlite_master", sa.column("name"), sa.column("sql"), sa.column("type"), sa.column("tbl_name"))
    of_tables = sa.select(master.c.name, master.c.sql).where(master.c.type == "trigger", master.c.tbl_name.in_(tables))
    triggers = connection.execute(of_tables).all()
    for name, _ in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    yield
    for _, text in triggers:
        connection.exec_driver_sql(text)


# --- erasure -------------------------------------------------------------------------------------------------------


def containing(connection: sa.Connection, texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of the rows that hold any of some texts, as they are or as JSON writes them."""
    forms = {form for text in texts for form in (text, _in_json(text, False), _in_json(text, True)) if form}
    within = sa.func.instr if connection.dialect.name == "sqlite" else sa.func.strpos
    found: dict[str, list[int]] = {}
    for name, (column, _) in TEXTS.items():
        table = database.metadata.tables[name]
        numbers: set[int] = set()
        for form in forms:
            query = sa.select(table.c.sequence).where(within(table.c[column], form) > 0)
            numbers |= set(connection.execute(query).scalars())
        found[name] = sorted(numbers)
    return found


def erase(
    connection: sa.Connection, log: str, rows: Mapping[str, Sequence[int]], *, reason: str, by: str, signer: Signer
) -> None:
    """Replace the texts of rows, and append a signed record of which they were (see `AuditLog.erase`)."""
    present = {name: _with_text(connection, name, numbers) for name, numbers in rows.items() if numbers}
    gone = {name: numbers for name, numbers in sorted(present.items()) if numbers}
    if not gone:
        return
    with mutable(connection, *gone):
        for name, numbers in gone.items():
            table, (column, instead) = database.metadata.tables[name], TEXTS[name]
            for some in _parts(numbers):
                change = sa.update(table).where(table.c.sequence.in_(some)).values({column: instead})
                connection.execute(change)
    statement = {"log": log, "rows": gone, "reason": reason, "by": by, "time": now()}
    body = {"rows": gone, "reason": reason, "signed": signer.sign(statement, ERASURE_TYPE)}
    database.chain(connection, [_record(ERASE, by, body)])


def _with_text(connection: sa.Connection, name: str, numbers: Sequence[int]) -> list[int]:
    """Return those of the rows that are there and were not erased before."""
    table, (column, instead) = database.metadata.tables[name], TEXTS[name]
    found: list[int] = []
    for some in _parts(sorted(set(numbers))):
        query = sa.select(table.c.sequence).where(table.c.sequence.in_(some), table.c[column] != instead)
        if name == "intents":  # what a crash left half done is still needed
            query = query.where(table.c.key.in_(sa.select(database.closures.c.key)))
        found += connection.execute(query).scalars()
    return sorted(found)


def _in_json(text: str, ascii_only: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


# --- retention -----------------------------------------------------------------------------------------------------


class Pruned(Record):
    """What was removed from the beginning of the log."""

    first: int
    last: int
    removed: int
    """How many records went; those that were carried over are among them."""
    root: str
    """Hash of the last one."""
    carried: int
    """How many of them are still needed, and were appended again."""
    envelope: str
    """The signed statement."""


def prune(connection: sa.Connection, log: str, before: str, *, by: str, signer: Signer) -> Pruned | None:
    """Remove the beginning of the log up to the first record that is not older, in the transaction that is open.

    What is still needed is appended again first, with its key, time and author: the last decision about each version
    that is not archived, the newest of each routine kind, and everything of a kind that is not known to be routine.

    Args:
        connection: In a write transaction.
        log: Identity of the log.
        before: Time; what is younger stays (ISO 8601, UTC).
        by: Who.
        signer: Signs the statement.

    Returns:
        None where nothing is to be removed.
    """
    table = database.audit
    newest = connection.execute(
        sa.select(table.c.sequence, table.c.hash).order_by(table.c.sequence.desc()).limit(1)
    ).first()
    rows = _beginning(connection, before)
    kept = _needed(connection, rows)
    if newest is None or len(kept) == sum(row["kind"] != PRUNE for row in rows):
        return None  # nothing is old enough, or all of it would only be written anew
    segment: dict[str, Any] = {
        "first": rows[0]["sequence"],
        "last": rows[-1]["sequence"],
        "count": len(rows),
        "root": rows[-1]["hash"],
    }
    covered, earlier = _of_earlier(connection, segment["last"])
    covered |= {row["key"]: row["digest"] for row in rows if is_of_row(row["key"])}
    carried = {str(newest.sequence + number): row["sequence"] for number, row in enumerate(kept, 1)}
    said = {"log": log, "by": by, "time": now(), "before": before, "carried": carried}
    envelope = signer.sign({**segment, **said, "rows": covered, "earlier": earlier}, PRUNING_TYPE)
    with mutable(connection, "audit"):
        connection.execute(sa.delete(table).where(table.c.sequence <= segment["last"]))
        record = _record(PRUNE, by, {**segment, "signed": envelope})
        database.chain(connection, [*kept, record], after=(newest.sequence, newest.hash))
    ends = {name: segment[name] for name in ("first", "last", "root")}
    return Pruned(**ends, removed=len(rows), carried=len(kept), envelope=envelope)


def _beginning(connection: sa.Connection, before: str) -> list[dict[str, Any]]:
    """Return the records up to the first one that is not older, without their bodies."""
    table = database.audit
    younger = sa.select(sa.func.min(table.c.sequence)).where(table.c.time >= before)
    columns = [column for column in table.c if column.name != "body"]
    query = sa.select(*columns).order_by(table.c.sequence)
    if (first := connection.execute(younger).scalar()) is not None:
        query = query.where(table.c.sequence < first)
    return [dict(row) for row in connection.execute(query).mappings()]


def _needed(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is still needed of the beginning of the log, as records to be appended."""
    table, numbers = database.audit, list[int]()
    if not rows:
        return []
    after = sa.select(table.c.kind, table.c.model, table.c.version).distinct().where(
        table.c.sequence > rows[-1]["sequence"], table.c.kind.in_([*ROUTINE, DECISION])
    )  # fmt: skip
    newer = {tuple(row) for row in connection.execute(after)}
    archived = _archived(connection)
    for row in reversed(rows):
        what = (row["kind"], row["model"], row["version"])
        if row["kind"] == PRUNE or is_of_row(row["key"]) or what in newer:
            continue
        if row["kind"] == DECISION and what[1:] in archived:
            continue
        if row["kind"] == DECISION or row["kind"] in ROUTINE:
            newer.add(what)
        numbers.append(row["sequence"])
    names = ("sequence", "key", "time", "by", "kind", "model", "version", "body")
    found: list[dict[str, Any]] = []
    for some in _parts(sorted(numbers)):
        query = sa.select(*(table.c[name] for name in names)).where(table.c.sequence.in_(some), table.c.body != ERASED)
        found += [dict(row) for row in connection.execute(query.order_by(table.c.sequence)).mappings()]
    return found


def _archived(connection: sa.Connection) -> set[tuple[str, str]]:
    table = database.history
    query = sa.select(table.c.model, table.c.version, table.c.after).order_by(table.c.sequence)
    last = {(model, version): after for model, version, after in connection.execute(query) if after}
    return {version for version, stage in last.items() if stage == "archived"}


def _of_earlier(connection: sa.Connection, last: int) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the digests of rows that the statements up to a record have, and the segments that they are of."""
    table = database.audit
    query = sa.select(table.c.body).where(table.c.kind == PRUNE, table.c.sequence <= last).order_by(table.c.sequence)
    covered: dict[str, str] = {}
    earlier: list[dict[str, Any]] = []
    for (body,) in connection.execute(query):
        statement = unverified(json.loads(body)["signed"])
        covered |= statement["rows"]
        earlier += [
            *statement["earlier"],
            {name: statement[name] for name in ("first", "last", "count", "root", "time")},
        ]
    return covered, earlier


# --- parts ---------------------------------------------------------------------------------------------------------


def unverified(envelope: str) -> dict[str, Any]:
    """Return what an envelope holds, whoever signed it; nothing where it is none."""
    try:
        found = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    except (ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _record(kind: str, by: str, body: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": uuid.uuid4().hex, "time": now(), "by": by, "kind": kind, "model": "", "version": "",
        "body": canonical_json(body),
    }  # fmt: skip


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE))
