"""Every way to tamper with the audit log is found, and found where it is, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from registry import database
from registry.audit.chain import CHAINED, GENESIS, linked
from registry.audit.log import AuditLog, Entry
from registry.audit.retention import mutable
from registry.audit.seals import Seals
from registry.audit.tampering import examine
from registry.history import History
from registry.home import Home
from registry.trust.signing import Keyring

TABLES = ("audit", *CHAINED)
SOME = 12


class Log:
    """A log of twelve records: two of lines of history, a bundle's and a source's among them; sealed at 5 and 12."""

    def __init__(self, folder, url=None):
        self.home = Home(folder).create()
        self.url = url or self.home.database_url
        self.log, self.history = AuditLog(self.url), History(self.url)
        self.keyring = Keyring(self.home.keys)
        self.seals = Seals(self.log, self.keyring, self.home)
        line(self.history, "1")
        self.notes(3)
        bundle = {"time": "then", "model": "m", "version": "1", "action": "attest", "digest": "d", "envelope": "{}"}
        database.append(self.log.engine, database.bundles, "bundle-1", bundle)
        self.seals.write()
        source = {"time": "then", "source": "s", "state": "trial", "by": "ann", "body": "{}"}
        database.append(self.log.engine, database.sources, "source-1", source)
        line(self.history, "2")
        self.notes(4)
        self.seals.write()

    def notes(self, number):
        self.log.append_many(Entry("check", "m", {"text": f"number {n}"}) for n in range(number))

    def force(self, *statements):
        """Do what somebody does who owns the database."""
        with database.writing(self.log.engine) as connection, mutable(connection, *TABLES):
            for statement in statements:
                if isinstance(statement, str):
                    connection.exec_driver_sql(statement)
                else:
                    connection.execute(statement)

    def again(self, after, records):
        """Write the log anew after a record, with all hashes right."""
        audit = database.audit
        rows = [dict(row) for row in database.read(self.log.engine, sa.select(audit).order_by(audit.c.sequence))]
        head = rows[after - 1]["hash"] if after else GENESIS
        with database.writing(self.log.engine) as connection, mutable(connection, *TABLES):
            connection.execute(sa.delete(audit).where(audit.c.sequence > after))
            if records:
                connection.execute(sa.insert(audit), linked(records, after, head))

    def records(self, after=0):
        names = ("time", "by", "kind", "model", "version", "key", "body")
        return [{name: getattr(row, name) for name in names} for row in self.log.records() if row.sequence > after]

    def found(self, checkpoints=None):
        sealed = self.seals.standing().checkpoints if checkpoints is None else checkpoints
        examined = examine(self.log.engine, self.keyring.trust(), sealed)
        return [(each.kind, each.first, each.last) for each in examined.findings]


def line(history, version):
    history.append("m", version, "train", before=None, after="development", by="ann", reason="because")


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request, tmp_path):
    """Give a log on each database."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").fresh()
    return Log(tmp_path / "home", url)


def test_a_log_that_nobody_touched_is_in_order(log):
    assert log.log.head().sequence == log.log.head().count == SOME
    assert log.found() == []


@pytest.mark.parametrize("column", ["time", "by", "kind", "model", "version", "key", "digest", "previous", "hash"])
def test_an_edited_record_is_found_whatever_of_it_was_edited(tmp_path, column):
    log = Log(tmp_path / "home")
    log.force(f"UPDATE audit SET {column} = '{'0' * 64}' WHERE sequence = 4")
    assert ("edited", 4, 4) in log.found()


def test_an_edited_body_is_found(log):
    log.force("""UPDATE audit SET body = '{"text": "better"}' WHERE sequence IN (4, 9)""")
    assert log.found() == [("body edited", 4, 4), ("body edited", 9, 9)]


def test_an_edited_record_with_its_own_hashes_put_right_is_found_by_the_next_one(log):
    before = log.records(3)
    (right,) = linked([before[0] | {"by": "mallory"}], 3, next(r.hash for r in log.log.records() if r.sequence == 3))
    log.force(sa.update(database.audit).where(database.audit.c.sequence == 4).values(right))
    assert log.found() == [("edited", 4, 4)]


def test_records_deleted_in_the_middle_are_found(log):
    log.force("DELETE FROM audit WHERE sequence IN (3, 4, 10)")
    assert log.found() == [("deleted", 3, 4), ("deleted", 10, 10)]


def test_a_beginning_that_nobody_signed_the_removal_of_is_found(log):
    log.force("DELETE FROM audit WHERE sequence < 3")
    assert log.found() == [("row added", 0, 0), ("deleted", 1, 2)]


@pytest.mark.parametrize("pair", [(3, 4), (3, 10)])
def test_records_that_changed_places_are_found(log, pair):
    one, two = pair
    moves = ((one, 99), (two, one), (99, two))
    log.force(*(f"UPDATE audit SET sequence = {to} WHERE sequence = {of}" for of, to in moves))
    assert log.found() == [("moved", one, one), ("moved", two, two)]


def test_an_end_that_was_cut_off_is_found_with_the_head_rewound(log):
    log.force("DELETE FROM audit WHERE sequence > 8")
    assert log.found() == [("end cut off", 9, 12)]
    log.notes(1)
    assert log.found() == [
        ("end cut off", 10, 12)
    ]  # record 9 is another one, which only the next checkpoint could tell
    log.notes(3)
    assert log.found() == [("rewritten", 6, 12)]


def test_a_record_that_a_checkpoint_is_about_is_told_once_when_it_is_gone_or_moved(tmp_path):
    log, other = Log(tmp_path / "home"), Log(tmp_path / "other")
    log.force("DELETE FROM audit WHERE sequence = 5")
    assert log.found() == [("row added", 0, 0), ("deleted", 5, 5)]
    moves = ((4, 99), (5, 4), (99, 5))
    other.force(*(f"UPDATE audit SET sequence = {to} WHERE sequence = {of}" for of, to in moves))
    assert other.found() == [("moved", 4, 4), ("moved", 5, 5)]


def test_a_log_that_is_gone_is_found(log):
    log.force("DELETE FROM audit")
    assert ("end cut off", 1, 12) in log.found()


def test_a_log_that_was_written_anew_is_found(log):
    records = log.records()
    records[3]["body"] = '{"text":"better"}'
    log.again(0, records)
    assert log.found(checkpoints=[]) == []  # the chain alone proves nothing against who writes all of it
    assert log.found() == [("rewritten", 1, 12)]


def test_an_end_that_was_written_anew_is_found_after_the_last_checkpoint_that_holds(log):
    records = log.records(8)
    records[0]["body"] = '{"text":"better"}'
    log.again(8, records)
    assert log.found() == [("rewritten", 6, 12)]


def test_a_fork_is_found_where_two_copies_were_made_into_one(log):
    other = [r | {"key": f"other {n}"} for n, r in enumerate(log.records(9))]
    audit = database.audit
    head = next(row.hash for row in log.log.records() if row.sequence == 8)
    rows = linked(other, 8, head)  # of a copy that went on from record 8
    with database.writing(log.log.engine) as connection, mutable(connection, "audit"):
        connection.execute(sa.delete(audit).where(audit.c.sequence > 9))
        connection.execute(sa.insert(audit), [row | {"sequence": row["sequence"] + 1} for row in rows])
    assert log.found(checkpoints=[]) == [("moved", number, number) for number in (10, 11, 12)]
    (one,) = linked(other[:1], 9, head)  # or that counts on from record 9, and follows record 8
    with database.writing(log.log.engine) as connection, mutable(connection, "audit"):
        connection.execute(sa.delete(audit).where(audit.c.sequence > 9))
        connection.execute(sa.insert(audit), [one])
    assert log.found(checkpoints=[]) == [("forked", 10, 10)]


def test_a_fork_is_found_when_a_home_goes_on_from_a_backup(tmp_path):
    log = Log(tmp_path / "home")
    copy, before = tmp_path / "copy.db", log.seals.file.read_text()
    database.connect(log.url).dispose()
    shutil.copy(log.home.database, copy)
    log.notes(2)
    theirs = log.seals.write()
    database.connect(log.url).dispose()
    for file in log.home.root.glob("ratchet.db*"):
        file.unlink()
    shutil.copy(copy, log.home.database)
    log.log = AuditLog(log.url)
    log.seals.log = log.log
    log.notes(2)
    assert log.found() == [("rewritten", 13, 14)]
    log.seals.file.write_text(before)
    log.notes(1)
    log.seals.write()
    assert theirs.sequence == 14
    assert log.found([*log.seals.standing().checkpoints, theirs]) == [("forked", 14, 14)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE history SET after = 'production' WHERE sequence = 1", ("row edited", 1, 1)),
        ("UPDATE history SET reason = '(erased)' WHERE sequence = 2", ("row edited", 8, 8)),
        ("DELETE FROM history WHERE sequence = 2", ("row deleted", 8, 8)),
        ("UPDATE bundles SET envelope = '{ }'", ("row edited", 5, 5)),
        ("UPDATE sources SET state = 'trusted'", ("row edited", 7, 7)),
        ("INSERT INTO sources VALUES (2, 'k', 'then', 's', 'trusted', 'ann', '{}')", ("row added", 0, 0)),
    ],
)
def test_a_row_of_another_table_is_compared_with_its_record(log, change, expected):
    log.force(change)
    assert log.found() == [expected]


def with_a_run(log):
    """Let a log have two runs, an intent that is closed, and an experiment; return the number of its last record."""
    log.history.record_run("work", "r1", "m", "started")
    log.history.record_run("work", "r1", "m", "completed", {"version": "1"})
    log.history.close_intent(log.history.intend("m", {"by": "ann", "effects": []}).intent_id)
    event = {"time": "then", "model": "m", "experiment": "e", "event": "start", "body": "{}"}
    database.append(log.log.engine, database.experiments, "e", event)
    return log.log.head().sequence


def test_an_edited_deleted_or_added_run_intent_closure_or_experiment_is_found(log):
    last = with_a_run(log)
    assert last == SOME + 5
    assert log.found() == []
    log.force("""UPDATE runs SET body = '{"version":"2"}' WHERE sequence = 2""")
    log.force("""UPDATE intents SET body = '{"by":"eve"}'""", "DELETE FROM closures")
    log.force("UPDATE experiments SET event = 'end'", "INSERT INTO intents VALUES (2, 'k', 'then', 'm', '{}')")
    places = [("row edited", 14), ("row edited", 15), ("row deleted", 16), ("row edited", 17)]
    assert log.found() == [("row added", 0, 0), *((kind, at, at) for kind, at in places)]


def test_a_run_whose_text_was_erased_is_in_order_only_where_that_was_signed(log):
    with_a_run(log)
    log.force("""UPDATE runs SET body = '{"erased":true}' WHERE sequence = 2""")
    assert log.found() == [("row edited", 14, 14)]
    log.force("""UPDATE runs SET body = '{"version":"1"}' WHERE sequence = 2""")
    log.log.erase({"runs": [2], "intents": [1]}, reason="asked", by="ann", signer=log.keyring.own())
    assert log.found() == []
    log.force("""UPDATE runs SET body = '{"version":"2"}' WHERE sequence = 2""")
    assert log.found() == [("row edited", 14, 14)]


def test_a_body_that_looks_erased_is_found_where_nobody_signed_it(log):
    log.force("""UPDATE audit SET body = '{"erased":true}' WHERE sequence IN (3, 4)""")
    assert log.found() == [("body edited", 3, 4)]


def test_the_checkpoint_of_another_log_is_told(tmp_path):
    log, other = Log(tmp_path / "home"), Log(tmp_path / "other")
    assert log.found([other.seals.standing().checkpoints[0]]) == [("checkpoint", 0, 0)]


def test_a_log_is_only_looked_at_so_far_when_everything_in_it_is_wrong(tmp_path):
    log = Log(tmp_path / "home")
    log.notes(3000)
    log.force("DELETE FROM audit WHERE mod(sequence, 2) = 0")
    assert len(log.found()) >= 1000
