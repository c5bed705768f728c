"""Whether anybody tampered with the audit log, and where.

What the records themselves show: an edited record or body, missing ones, moved ones, a fork. What only signed
checkpoints show: an end that was cut off, a log that was written anew. What the other tables show: a line of history,
a bundle, a source, a run, an intent or an experiment that was edited, taken away or added. Erasures and removals that
were signed are no tampering.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from registry import database
from registry.audit.chain import CHAINED, ERASED, GENESIS, digest, is_of_row, record_hash, row_text
from registry.audit.checkpoints import Checkpoint
from registry.audit.log import Head, head
from registry.audit.retention import ERASE, ERASURE_TYPE, PRUNE, PRUNING_TYPE, TEXTS, unverified
from registry.errors import IntegrityError
from registry.records import Record
from registry.trust.signing import Trust

Kind = Literal[
    "edited", "body edited", "deleted", "moved", "forked", "end cut off", "rewritten", "row edited", "row deleted",
    "row added", "unsigned", "checkpoint",
]  # fmt: skip
AT_ONCE = 5000
NEAR = 1000
"""How far from its place a moved record is looked for."""
MOST = 1000
"""Findings after which a log is not looked at any further."""
_COLUMNS = ("sequence", "key", "time", "kind", "model", "version", "body", "by", "digest", "previous", "hash")


class Finding(Record):
    """Something that is not as it was recorded."""

    kind: Kind
    first: int
    """Number of the first record that it is about; 0 where it is about none."""
    last: int
    what: str


class Examination(NamedTuple):
    """What was looked at, and what was found."""

    head: Head
    first: int
    """Number of the first record that is there."""
    findings: list[Finding]


def examine(engine: sa.Engine, trust: Trust, checkpoints: Sequence[Checkpoint] = ()) -> Examination:
    """Look at every record, at the rows of other tables that have records, and at what checkpoints say.

    Args:
        engine: Of the database.
        trust: Whose signatures of erasures and removals count.
        checkpoints: Signed, by keys that count. Read them before this is called: the log may grow meanwhile.
    """
    isolation = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with database.explained(engine), engine.connect() as plain, plain.execution_options(**isolation) as connection:
        stands = head(connection)
        walk = _Walk(connection, stands, frozenset(each.sequence for each in checkpoints))
        columns = (database.audit.c[name] for name in _COLUMNS)
        query = sa.select(*columns).order_by(database.audit.c.sequence)
        with connection.execution_options(yield_per=AT_ONCE).execute(query) as found:
            for batch in found.partitions():
                walk.begin(batch[0])
                walk.take(batch)
                if len(walk.findings) >= MOST:
                    break
        if len(walk.findings) < MOST:
            walk.signed(trust, walk.sealed(checkpoints))
            walk.rows()
            walk.compare(checkpoints)
    return Examination(stands, walk.first, sorted(walk.findings, key=lambda each: (each.first, each.last)))


class _Walk:
    """A way through a log, from its first record to its last."""

    def __init__(self, connection: sa.Connection, stands: Head, marks: frozenset[int]) -> None:
        self.connection, self.stands, self.marks = connection, stands, marks
        self.findings: list[Finding] = []
        self.first = 0
        self.before_first = GENESIS
        self.sequence, self.head, self.moved = 0, GENESIS, False
        self.erased: dict[str, set[int]] = {}
        """Numbers of the rows whose text was erased, for each table, as was signed."""
        self.hashes: dict[int, str] = {}
        """Hashes of the records that checkpoints are about."""
        self.of_rows: dict[str, tuple[str, int]] = {}
        """Digest and number of the record of each row of a chained table."""
        self.blanks: list[int] = []
        """Records whose body looks erased."""
        self.statements: list[tuple[int, str, str]] = []
        """Number, kind and body of what says that something went."""

    def begin(self, record: sa.Row[Any]) -> None:
        """Begin at a record, unless the way began before. Whether the log may begin there, `signed` says."""
        if not self.first:
            self.first, self.before_first = record.sequence, record.previous
            self.sequence, self.head = self.first - 1, self.before_first

    def take(self, batch: Sequence[sa.Row[Any]]) -> None:
        """Look at the next records. This is the loop that counts: one turn takes some microseconds."""
        sha256, marks = hashlib.sha256, self.marks
        for sequence, key, time, kind, model, version, body, by, digest_, previous, hash_ in batch:
            if sha256(body.encode()).hexdigest() != digest_:
                self._body(sequence, body)
            if record_hash(sequence, time, by, kind, model, version, key, digest_, previous) != hash_:
                self._gap(sequence)
                self._changed(sequence, (time, by, kind, model, version, key, digest_, previous), hash_)
            elif previous != self.head or sequence != self.sequence + 1:
                self._unlinked(sequence, previous)
            if sequence in marks:
                self.hashes[sequence] = hash_
            if "#" in key and is_of_row(key):
                self.of_rows[key] = (digest_, sequence)
            if kind in {ERASE, PRUNE}:
                self.statements.append((sequence, kind, body))
            self.sequence, self.head = sequence, hash_

    def _found(self, kind: Kind, first: int, last: int, what: str) -> None:
        """Note a finding; what goes on in the next record is one with it."""
        before = self.findings[-1] if self.findings else None
        if before is not None and (before.kind, before.what, before.last + 1) == (kind, what, first):
            self.findings[-1] = before.model_copy(update={"last": last})
        else:
            self.findings.append(Finding(kind=kind, first=first, last=last, what=what))

    # --- what the records show ---------------------------------------------------------------------------------------

    def _body(self, sequence: int, body: str) -> None:
        if body == ERASED:
            self.blanks.append(sequence)
        else:
            self._found("body edited", sequence, sequence, "the body is not the one that was recorded")

    def _gap(self, sequence: int) -> bool:
        """Note what is missing before a record; tell whether anything is."""
        if sequence == self.sequence + 1:
            return False
        self._found("deleted", self.sequence + 1, sequence - 1, "the records are gone")
        return True

    def _changed(self, sequence: int, fields: tuple[str, ...], hash_: str) -> None:
        near = range(max(sequence - NEAR, 1), sequence + NEAR + 1)
        place = next((number for number in near if record_hash(number, *fields) == hash_), None)
        if place is None:
            self._found("edited", sequence, sequence, "the record is not the one that was recorded")
        else:
            self._found("moved", sequence, sequence, f"the record was number {place}")
        self.moved = place is not None

    def _unlinked(self, sequence: int, previous: str) -> None:
        moved, self.moved = self.moved, False
        if self._gap(sequence) or moved:
            return
        table = database.audit
        query = sa.select(table.c.sequence).where(table.c.hash == previous).order_by(table.c.sequence).limit(1)
        # On a connection of its own: this one streams.
        with self.connection.engine.connect() as other:
            earlier = other.execute(query).scalar()
        if previous == GENESIS:
            earlier = 0
        if earlier is None:
            what = "the record after it was written after another one: it was replaced, or the log goes on from a copy"
            self._found("edited", self.sequence, self.sequence, what)
        else:
            what = f"it follows record {earlier}, as record {earlier + 1} does: two logs were made into one"
            self._found("forked", sequence, sequence, what)

    # --- what was signed ---------------------------------------------------------------------------------------------

    def sealed(self, checkpoints: Sequence[Checkpoint]) -> int:
        """Return the last record up to which a checkpoint says that the log is right."""
        return max((each.sequence for each in checkpoints if self.hashes.get(each.sequence) == each.head), default=0)

    def signed(self, trust: Trust, sealed: int) -> None:
        """Take what signed erasures and removals say; find what went without.

        Of a key that was revoked since, those count that a checkpoint of another key came after.
        """
        starts = {1: GENESIS}
        for sequence, kind, body in self.statements:
            statement = self._statement(trust, sequence, kind, body, sealed)
            if statement is None:
                continue
            if kind == PRUNE:
                starts[statement["last"] + 1] = statement["root"]
                self.of_rows = {key: (value, sequence) for key, value in statement["rows"].items()} | self.of_rows
            else:
                for table, numbers in statement["rows"].items():
                    self.erased.setdefault(table, set()).update(numbers)
        for sequence in sorted({*self.blanks} - self.erased.get("audit", set())):
            self._found("body edited", sequence, sequence, "the body is gone, and nobody signed that it was erased")
        if self.first and starts.get(self.first) != self.before_first:
            self._beginning()

    def _beginning(self) -> None:
        if self.first == 1:
            self._found("forked", 1, 1, "the first record follows another one: the log begins elsewhere")
        else:
            self._found("deleted", 1, self.first - 1, "the log's beginning is gone, and nobody signed its removal")

    def _statement(self, trust: Trust, sequence: int, kind: str, body: str, sealed: int) -> dict[str, Any] | None:
        try:
            envelope = json.loads(body).get("signed")
            if envelope is None:
                return None  # a record of this kind that claims nothing
            statement = trust.opened(envelope, PRUNING_TYPE if kind == PRUNE else ERASURE_TYPE).payload
            if statement["log"] != self.stands.log:
                raise IntegrityError("E7960", "it is about another log", "restore the log from a backup")
        except IntegrityError as error:
            if error.code == "E7943" and sequence <= sealed:
                return unverified(envelope)
            self._found("unsigned", sequence, sequence, f"the record of what went does not count: {error.what}")
            return None
        except (ValueError, LookupError, TypeError, AttributeError):
            self._found("unsigned", sequence, sequence, "the record of what went cannot be read")
            return None
        return statement

    # --- what other tables show --------------------------------------------------------------------------------------

    def rows(self) -> None:
        """Compare the rows of other tables with the records that they have."""
        for name in CHAINED:
            table = database.metadata.tables[name]
            query = sa.select(table).order_by(table.c.sequence)
            with self.connection.execution_options(yield_per=AT_ONCE).execute(query) as found:
                for row in found.mappings():
                    self._row(name, dict(row))
        for key, (_, sequence) in self.of_rows.items():
            table_, _, number = key.partition("#")
            self._found("row deleted", sequence, sequence, f"row {number} of {table_}, which it is of, is gone")

    def _row(self, table: str, row: dict[str, Any]) -> None:
        recorded = self.of_rows.pop(f"{table}#{row['sequence']}", None)
        if recorded is None:
            self._found(
                "row added", 0, 0, f"row {row['sequence']} of {table} has no record: it was added, or that is gone"
            )
        elif digest(row_text(table, row)) != recorded[0]:
            column, blank = TEXTS.get(table, ("", ""))
            if row["sequence"] in self.erased.get(table, set()) and row[column] == blank:
                return
            what = f"row {row['sequence']} of {table} is not the one that was recorded"
            self._found("row edited", recorded[1], recorded[1], what)

    # --- what checkpoints show ---------------------------------------------------------------------------------------

    def compare(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Compare where the log stood with where it stands."""
        good, end = self.first - 1, self.stands.sequence
        wrong: list[Checkpoint] = []
        ordered = sorted(checkpoints, key=lambda each: (each.sequence, each.time))
        for each in (each for each in ordered if each.log != self.stands.log):
            self._found("checkpoint", 0, 0, f"the checkpoint of {each.time} is of another log")
        mine = [each for each in ordered if each.log == self.stands.log]
        told = [(each.first, each.last) for each in self.findings]
        for each in (each for each in mine if self.first <= each.sequence <= end):
            if any(first <= each.sequence <= last for first, last in told):
                continue  # that record itself is not what was recorded, which is known
            if self.hashes.get(each.sequence) != each.head:
                wrong.append(each)
            else:
                self._branches(wrong, each)
                good, wrong = each.sequence, []
        if mine and mine[-1].sequence > end:
            what = f"the log ends with record {end}; on {mine[-1].time} it had {mine[-1].sequence}"
            self._found("end cut off", end + 1, mine[-1].sequence, what)
        if wrong:
            what = f"they are not those of which the checkpoint of {wrong[0].time} was signed"
            self._found("rewritten", good + 1, wrong[-1].sequence, what)

    def _branches(self, wrong: Sequence[Checkpoint], good: Checkpoint) -> None:
        for each in wrong:
            what = f"the checkpoint of {each.time} has another record here, that of {good.time} has these: two logs"
            self._found("forked", each.sequence, each.sequence, what)
