"""Appending to the audit log, from several at once, on SQLite and on PostgreSQL; reading it; erasing from it."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from registry import database
from registry.audit.chain import ERASED, GENESIS
from registry.audit.log import AuditLog, Entry
from registry.audit.retention import BLANK
from registry.audit.tampering import examine
from registry.history import History
from registry.trust.signing import Keyring


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ratchet.db'}"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def keyring(tmp_path):
    return Keyring(tmp_path / "keys")


def findings(log, keyring=None):
    from registry.trust.signing import Trust

    return examine(log.engine, keyring.trust() if keyring else Trust([])).findings


def write_some(url, writer):
    log, history = AuditLog(url), History(url)
    for number in range(10):
        history.append("m", str(writer), "train", before=None, after="development", by="ann")
        log.append_many(Entry("check", "m", {"n": n}, key=f"{writer}:{number}:{n}") for n in range(3))
        history.note("check", "m", {}, by="bob")


def test_a_new_log_is_empty(url):
    head = AuditLog(url).head()
    assert (head.sequence, head.head, head.count, len(head.log)) == (0, GENESIS, 0, 32)


def test_several_writers_at_once_keep_one_chain(url):
    AuditLog(url)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_some, args=(url, 0))]
    writers += [threading.Thread(target=write_some, args=(url, writer)) for writer in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log = AuditLog(url)
    assert log.head().sequence == log.head().count == 3 * 10 * (1 + 3 + 1)
    assert findings(log) == []


def test_records_are_appended_once_under_a_key_also_when_some_of_a_batch_are_there(url):
    log = AuditLog(url)
    entries = [Entry("check", "m", {"n": n}, key=f"k{n}") for n in range(2500)]
    assert log.append_many(entries[:1200]) == 1200
    assert log.append_many(entries) == 1300
    assert log.append_many(entries) == 0
    assert [record.key for record in log.records()] == [entry.key for entry in entries]


def test_records_are_read_by_model_kind_time_and_the_last_so_many(url):
    log = AuditLog(url)
    log.append_many(
        Entry(kind, model, {}, version=str(n), by="ann", time=f"2026-01-0{n}T00:00:00.000000+00:00")
        for n, (kind, model) in enumerate([("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")], 1)
    )

    def versions(**asked):
        return "".join(record.version for record in log.records(**asked))

    assert versions() == "1234"
    assert versions(model="x") == "124"
    assert versions(kind="a", model="x") == "14"
    assert versions(since="2026-01-02", until="2026-01-04") == "23"
    assert versions(last=2) == "34"
    assert versions(kind="a", last=2) == "34"
    assert (versions(model="z"), versions(last=9)) == ("", "1234")


def test_every_line_of_history_has_its_record_in_the_same_chain(url):
    history = History(url)
    line = history.append("m", "1", "promote", before="staging", after="production", by="ann", reason="all gates pass")
    (record,) = AuditLog(url).records()
    assert (record.kind, record.by, record.model, record.version, record.time) == (
        "promote",
        "ann",
        "m",
        "1",
        line.time,
    )
    assert '"reason":"all gates pass"' in record.body
    assert history.notes("promote")[0].by == "ann"


def test_a_line_that_is_there_already_gets_no_second_record(url):
    history = History(url)
    for _ in "12":
        history.append("m", "1", "train", before=None, after="development", by="ann", key="train:m:1")
    assert AuditLog(url).head().sequence == 1


# --- erasure -------------------------------------------------------------------------------------------------------


def test_erased_texts_are_gone_their_digests_stay_and_the_chain_holds(url, keyring):
    log, history = AuditLog(url), History(url)
    history.append("m", "1", "approve", before=None, after="staging", by="ann", reason="asked Erika Mustermann")
    history.note("check", "m", {"said": 'Erika\n"Mustermann"'})
    history.note("check", "m", {"said": "nothing"})
    history.close_intent(history.intend("m", {"by": "Erika Mustermann"}).intent_id)
    history.intend("m", {"by": "Erika Mustermann"})
    history.record_run("w", "r", "m", "completed", {"report": "Erika Mustermann"})
    texts = ["Erika Mustermann", 'Erika\n"Mustermann"']
    rows = log.containing(texts)
    assert rows == {"audit": [1, 2], "history": [1], "runs": [1], "intents": [1, 2]}
    digests = {record.sequence: record.digest for record in log.records()}
    log.erase(rows, reason="asked to be forgotten", by="bob", signer=keyring.own())
    assert log.containing(texts) == {"audit": [], "history": [], "runs": [], "intents": [2]}  # that one is still open
    records = list(log.records())
    assert [record.sequence for record in records if record.body == ERASED] == [1, 2]
    assert all(record.digest == digests[record.sequence] for record in records[:-1])
    assert (records[-1].kind, records[-1].by) == ("erase", "bob")
    assert findings(log, keyring) == []
    assert history.of("m")[0].reason == BLANK
    assert [note.body for note in history.notes("check")] == [{"said": "nothing"}]
    assert history.completed("w") is None
    assert len(history.open_intents()) == 1


def test_erasing_again_leaves_no_second_record(url, keyring):
    log, history = AuditLog(url), History(url)
    history.note("check", "m", {"said": "Erika"})
    erased = [log.erase({"audit": [1, 99], "runs": []}, reason="r", by="b", signer=keyring.own()) for _ in "12"]
    assert erased[0] == erased[1]
    assert erased[0].sequence == 2


def test_an_erasure_that_somebody_else_signed_does_not_count(url, keyring, tmp_path):
    log = AuditLog(url)
    History(url).note("check", "m", {"said": "Erika"})
    log.erase({"audit": [1]}, reason="r", by="mallory", signer=Keyring(tmp_path / "theirs").own())
    keyring.own()
    assert [(each.kind, each.first) for each in findings(log, keyring)] == [("body edited", 1), ("unsigned", 2)]


def test_tables_only_grow_again_after_an_erasure(url, keyring):
    import sqlalchemy as sa

    log = AuditLog(url)
    History(url).note("check", "m", {"said": "Erika"})
    log.erase({"audit": [1]}, reason="r", by="b", signer=keyring.own())
    for statement in ("UPDATE audit SET body = '{}'", "DELETE FROM audit"):
        with pytest.raises(sa.exc.IntegrityError, match="audit only grows"), database.writing(log.engine) as connection:
            connection.exec_driver_sql(statement)
