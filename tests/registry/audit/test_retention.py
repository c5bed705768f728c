"""Removing what is old from the audit log, on SQLite and on PostgreSQL: what goes and what stays."""

from __future__ import annotations

import json

import pytest

from registry import database
from registry.audit.log import AuditLog, Entry
from registry.audit.retention import mutable, unverified
from registry.audit.seals import Seals
from registry.audit.tampering import examine
from registry.history import History
from registry.home import Home
from registry.records import Decision, Evidence
from registry.trust.signing import Keyring

OLD, YOUNG, CUT = (f"2026-0{month}-01T00:00:00.000000+00:00" for month in (1, 9, 6))


class Place:
    """A home with its records in either database."""

    def __init__(self, folder, url):
        self.home = Home(folder).create()
        self.url = url or self.home.database_url
        self.log, self.history = AuditLog(self.url), History(self.url)
        self.keyring = Keyring(self.home.keys)
        self.seals = Seals(self.log, self.keyring, self.home)

    def line(self, version, action, after, time=OLD):
        self.history.append("m", version, action, before=None, after=after, by="ann", time=time)

    def note(self, kind, number, model="m", time=OLD, key=None):
        self.log.append_many([Entry(kind, model, {"n": number}, time=time, key=key)])

    def prune(self, before=CUT):
        return self.seals.prune(before, by="ann")

    def found(self):
        checkpoints = self.seals.standing().checkpoints
        return [(each.kind, each.first, each.last) for each in self.examined(checkpoints)]

    def examined(self, checkpoints=()):
        return examine(self.log.engine, self.keyring.trust(), checkpoints).findings

    def kinds(self):
        return [(record.kind, json.loads(record.body).get("n")) for record in self.log.records()]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    return Place(tmp_path / "home", None if request.param == "sqlite" else request.getfixturevalue("postgres").fresh())


def decide(place, version, evidence_digest="e"):
    decision = Decision(
        model="m", version=version, verdict="staged", target="staging", gates=[], evidence_digest=evidence_digest,
        reason="r",
    )  # fmt: skip
    evidence = Evidence(
        model="m", version=version, stage="development", training_state="COMPLETED", artifact_present=True,
        artifact_loadable=True, artifact_digest="a", signed=True, metrics_recorded=True, strategy="full_retrain",
        report_digest=None, report=None, readiness=None,
    )  # fmt: skip
    place.history.record_decision(decision, evidence)


def test_the_old_beginning_goes_and_leaves_a_signed_record_of_its_range_and_root(place):
    place.line("1", "train", "development")
    for number in range(3):
        place.note("trigger_check", number)
    root = place.log.head().head
    place.note("trigger_check", 3, time=YOUNG)
    place.seals.write()
    pruned = place.prune()
    assert (pruned.first, pruned.last, pruned.removed, pruned.carried, pruned.root) == (1, 4, 4, 0, root)
    assert place.kinds()[0] == ("trigger_check", 3)
    assert place.kinds()[-1][0] == "prune"
    assert place.found() == []
    envelope = (place.seals.file.parent / "pruned.jsonl").read_text().strip()
    assert envelope == pruned.envelope
    assert place.keyring.trust().opened(envelope, "application/vnd.ratchet.pruning+json").payload["root"] == root


def test_nothing_younger_goes_also_when_something_old_comes_after_it(place):
    place.note("trigger_check", 0, time=YOUNG)
    place.note("trigger_check", 1)
    place.note("trigger_check", 2, time=YOUNG)
    assert place.prune() is None
    assert [number for _, number in place.kinds()] == [0, 1, 2]


def test_what_is_still_needed_is_carried_over_with_its_key_and_time(place):
    for version in "12":
        place.line(version, "train", "development")
        decide(place, version, "first")
        decide(place, version, "second")
    place.line("2", "archive", "archived")
    place.note("settled", 1, key="settled:x")
    place.note("trigger_check", 1)
    place.note("trigger_check", 2)
    place.note("trigger_check", 3, model="other")
    checked = place.history.notes("trigger_check", "m")[-1]
    later = "2999-01-01T00:00:00.000000+00:00"
    pruned = place.prune(later)
    assert pruned.carried == 4
    assert [d.evidence_digest for d, _ in place.history.decisions("m")] == ["second"]
    assert [(note.body, note.time) for note in place.history.notes("trigger_check", "m")] == [({"n": 2}, checked.time)]
    assert [note.body for note in place.history.notes("trigger_check", "other")] == [{"n": 3}]
    place.note("settled", 99, key="settled:x")
    assert [note.body["n"] for note in place.history.notes("settled")] == [1]
    decide(place, "1", "second")
    assert len(place.history.decisions("m")) == 1
    assert place.found() == []
    assert place.log.head().sequence == place.log.head().count + pruned.last


def test_pruning_again_finds_nothing_that_would_not_be_carried_over_again(place):
    place.note("settled", 1)
    place.note("trigger_check", 1)
    place.note("trigger_check", 2)
    assert place.prune("2999").removed == 3
    assert place.prune("2999") is None
    place.note("trigger_check", 3)
    again = place.prune("2999")
    assert (again.first, again.carried) == (4, 3)
    statement = unverified(again.envelope)
    assert [(each["first"], each["last"]) for each in statement["earlier"]] == [(1, 3)]
    assert place.found() == []


def test_rows_of_history_are_compared_after_their_records_went(place):
    place.line("1", "train", "development")
    place.line("1", "stage", "staging")
    place.note("trigger_check", 1, time=YOUNG)
    place.prune()
    place.note("trigger_check", 2)
    place.prune("2999")
    assert place.found() == []
    with database.writing(place.log.engine) as connection, mutable(connection, "history"):
        connection.exec_driver_sql("UPDATE history SET after = 'production' WHERE sequence = 2")
    ((kind, _, _),) = place.found()
    assert kind == "row edited"


def test_a_removal_that_nobody_signed_is_found(place):
    for number in range(4):
        place.note("trigger_check", number)
    place.seals.write()
    place.prune("2999")
    mallory = Seals(place.log, Keyring(place.home.root / "theirs"), place.home)
    place.note("trigger_check", 9)
    place.note("trigger_check", 10)
    mallory.prune("2999", by="mallory")
    assert ("deleted", 1, 10) in place.found()
    assert "unsigned" in {kind for kind, _, _ in place.found()}


def test_a_removal_that_fails_leaves_everything_as_it_was(place):
    for number in range(4):
        place.note("trigger_check", number)
    before = list(place.log.records())

    class Broken:
        def sign(self, payload, payload_type):
            return {"no": object()}

    place.keyring.own = Broken
    with pytest.raises(TypeError):
        place.prune("2999")
    assert list(place.log.records()) == before


def test_a_removal_whose_key_was_revoked_since_counts_once_a_checkpoint_of_another_key_came_after(place):
    for number in range(4):
        place.note("trigger_check", number)
    place.prune("2999")
    old = place.keyring.own()
    place.keyring.rotate()
    place.keyring.revoke(old.key_id, "stolen")
    assert {kind for kind, _, _ in place.found()} == {"deleted", "unsigned"}
    place.seals.write()
    assert place.found() == []
