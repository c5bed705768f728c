"""Checkpoints: where they are kept, and that one which is taken away or changed is missed."""

from __future__ import annotations

import json
import threading

import pytest

from registry import database
from registry.audit.checkpoints import PAYLOAD_TYPE, TAG
from registry.audit.log import AuditLog
from registry.audit.retention import mutable
from registry.audit.seals import Seals
from registry.connection import connect
from registry.errors import IntegrityError, SettingsError
from registry.history import History
from registry.home import Home
from registry.trust.signing import Keyring


class Sealed:
    """A home whose log is sealed after each of three notes, in its file and in MLflow."""

    def __init__(self, folder, template):
        self.home = Home(folder).create()
        self.history, self.keyring = History(self.home.database_url), Keyring(self.home.keys)
        self.connection = connect(self.home, template=template)
        self.seals = Seals(AuditLog(self.home.database_url), self.keyring, self.home, self.connection)
        self.tag_name = f"{TAG}.{self.seals.log.head().log[:12]}"
        self.written = [self.note() for _ in range(3)]

    def note(self):
        self.history.note("check", "m", {})
        return self.seals.write()

    def lines(self):
        return self.seals.file.read_text().splitlines()

    def keep(self, lines):
        self.seals.file.write_text("".join(f"{line}\n" for line in lines))

    def tag(self, envelope):
        self.connection.client.set_experiment_tag(self.connection.experiment_id, self.tag_name, envelope)


@pytest.fixture
def sealed(tmp_path, template):
    return Sealed(tmp_path / "home", template)


def test_each_says_where_the_log_stood_in_the_file_and_the_newest_in_mlflow(sealed):
    assert [each.sequence for each in sealed.written] == [
        1,
        3,
        4,
    ]  # the second record says that there are checkpoints from here on
    assert sealed.seals.standing().checkpoints == sealed.written
    experiment = sealed.connection.client.get_experiment(sealed.connection.experiment_id)
    assert experiment.tags[sealed.tag_name] == sealed.lines()[-1]
    assert sealed.seals.standing()[1:] == ([], [])


def test_none_is_written_where_nothing_happened(sealed):
    assert sealed.seals.write() is None
    assert len(sealed.lines()) == 3


def test_several_at_once_write_one_after_the_other(sealed):
    threads = [threading.Thread(target=sealed.note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sealed.seals.standing().problems == []
    assert sealed.seals.standing().checkpoints[-1].sequence == sealed.seals.log.head().sequence == 8


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([0, 2], "line 2 of checkpoints.jsonl does not follow line 1"),
        ([1, 2], "line 1 of checkpoints.jsonl does not follow the first line"),
        ([0, 1], "the file lacks the checkpoint that MLflow has"),
        ([2, 0, 1], "does not follow"),
        ([], "the file lacks the checkpoint that MLflow has"),
    ],
)
def test_one_that_is_taken_out_of_the_file_is_missed(sealed, kept, said):
    lines = sealed.lines()
    sealed.keep([lines[number] for number in kept])
    assert said in sealed.seals.standing().problems[0]


def test_a_file_that_is_taken_away_is_missed_also_without_mlflow_and_after_a_new_one(sealed):
    sealed.seals.file.unlink()
    assert len(sealed.seals.standing().problems) == 2
    alone = Seals(sealed.seals.log, sealed.keyring, sealed.home)
    assert "the checkpoints are gone" in alone.standing().problems[0]
    assert sealed.note() is None
    assert not sealed.seals.file.exists()
    assert len(sealed.seals.standing().problems) == 2


def cut_off(sealed, sequence):
    """Take the log's end and its checkpoints out of the database and the file, and leave MLflow as it is."""
    with database.writing(sealed.seals.log.engine) as connection, mutable(connection, "audit"):
        connection.exec_driver_sql(f"DELETE FROM audit WHERE sequence > {sequence}")
    sealed.keep(sealed.lines()[:-1])


def test_a_cut_off_end_is_not_signed_over_by_what_happens_next(sealed, caplog):
    newest = sealed.lines()[-1]
    cut_off(sealed, 3)
    assert sealed.note() is None
    assert "no checkpoint of the audit log is signed: checkpoints.jsonl lacks the checkpoint" in caplog.text
    assert sealed.seals._tag() == newest
    assert "the file lacks the checkpoint that MLflow has" in sealed.seals.standing().problems[0]


def test_a_file_whose_end_is_about_another_log_gets_no_more_checkpoints(sealed, caplog):
    lines = sealed.lines()
    cut_off(sealed, 2)
    sealed.keep(lines)
    assert sealed.note() is None
    assert "the log is not the one that the last checkpoint" in caplog.text
    assert sealed.lines() == lines


def test_a_file_that_is_gone_with_mlflows_checkpoint_does_not_begin_anew(sealed, caplog):
    sealed.seals.file.unlink()
    sealed.connection.client.delete_experiment_tag(sealed.connection.experiment_id, sealed.tag_name)
    assert sealed.note() is None
    assert "the checkpoints that were in checkpoints.jsonl are gone" in caplog.text
    sealed.keyring.rotate()
    assert sealed.note() is None
    assert "the checkpoints are gone" in sealed.seals.standing().problems[0]


def test_a_file_that_began_anew_without_leave_is_found(sealed):
    first = sealed.seals.file
    first.rename(first.with_name("away"))
    body = {**dict(sealed.seals.log.head()), "time": "now", "previous": ""}
    sealed.keep([sealed.keyring.own().sign(body, PAYLOAD_TYPE)])
    alone = Seals(sealed.seals.log, sealed.keyring, sealed.home)
    assert "line 1 of checkpoints.jsonl does not follow the first line" in alone.standing().problems[0]


def test_a_checkpoint_that_mlflow_missed_while_it_was_away_is_written_there_later(sealed):
    alone = Seals(sealed.seals.log, sealed.keyring, sealed.home)
    sealed.history.note("check", "m", {})
    alone.write()
    assert sealed.note() is not None
    assert sealed.seals._tag() == sealed.lines()[-1]


def test_one_that_is_changed_or_signed_by_somebody_else_does_not_count(sealed, tmp_path):
    lines = sealed.lines()
    envelope = json.loads(lines[1])
    envelope["payload"] = json.loads(lines[0])["payload"]
    sealed.keep([lines[0], json.dumps(envelope), lines[2]])
    found = sealed.seals.standing()
    assert any("line 2 of checkpoints.jsonl: the signature" in problem for problem in found.problems)
    assert found.checkpoints == [sealed.written[0], sealed.written[2]]
    theirs = (
        Keyring(tmp_path / "theirs")
        .own()
        .sign(sealed.written[1].model_dump(), "application/vnd.ratchet.checkpoint+json")
    )
    sealed.keep([lines[0], theirs, lines[2]])
    assert any("which nobody here trusts to sign" in problem for problem in sealed.seals.standing().problems)


def test_a_statement_of_another_kind_is_no_checkpoint(sealed):
    sealed.keep([*sealed.lines(), sealed.keyring.own().sign({"a": 1}, "application/vnd.ratchet.checkpoint+json")])
    assert any("it says nothing of an audit log" in problem for problem in sealed.seals.standing().problems)


def test_a_line_that_a_crash_left_half_written_is_told_and_the_next_one_goes_on(sealed):
    whole = sealed.seals.file.read_text()
    sealed.seals.file.write_text(whole + sealed.lines()[-1][:100])
    assert "line 4 of checkpoints.jsonl" in sealed.seals.standing().notes[0]
    sealed.note()
    assert len(sealed.lines()) == 5
    assert sealed.seals.standing().problems == []
    assert sealed.seals.standing().checkpoints[-1].sequence == 5


def test_an_older_checkpoint_in_mlflow_or_none_is_told(sealed):
    sealed.tag(sealed.lines()[0])
    assert "MLflow's checkpoint is not the newest" in sealed.seals.standing().notes[0]
    sealed.tag("nonsense")
    assert "MLflow's tag ratchet.audit" in sealed.seals.standing().problems[-1]


def test_mlflow_may_be_away(sealed):
    def away(*_):
        raise SettingsError("E7830", "the MLflow server stopped answering", "start it")

    sealed.connection.client.set_experiment_tag = away
    assert sealed.note().sequence == 5
    sealed.connection.client.get_experiment = away
    found = sealed.seals.standing()
    assert found.checkpoints[-1].sequence == 5
    assert found.problems == []
    assert "could not be looked at: the MLflow server stopped answering" in found.notes[0]


def test_checkpoints_of_a_revoked_key_are_told_and_do_not_count_and_a_new_key_goes_on(sealed):
    old = sealed.keyring.own()
    sealed.keyring.rotate()
    sealed.note()
    sealed.keyring.revoke(old.key_id, "stolen")
    found = sealed.seals.standing()
    assert found.problems == []
    assert found.notes[0].startswith("3 checkpoints do not count: the key")
    assert [each.sequence for each in found.checkpoints] == [5]


def test_a_copy_that_was_kept_elsewhere_counts_as_well(sealed, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_text(sealed.seals.file.read_text())
    sealed.seals.file.unlink()
    alone = Seals(sealed.seals.log, sealed.keyring, sealed.home)
    assert alone.standing(copy).checkpoints == sealed.written
    copy.write_text("nothing\n")
    assert f"no checkpoint in {copy} counts" in alone.standing(copy).problems
    with pytest.raises(IntegrityError, match=r"E7962: the checkpoints in .* cannot be read"):
        alone.standing(tmp_path / "none")


def test_what_somebody_without_the_key_accepts_is_not(sealed, tmp_path):
    mallory = Seals(sealed.seals.log, Keyring(tmp_path / "theirs"), sealed.home, sealed.connection)
    mallory.accept(reason="it is right", by="ann")
    sealed.note()
    assert any("which nobody here trusts to sign" in problem for problem in sealed.seals.standing().problems)


def test_the_file_goes_on_anew_after_it_was_accepted_and_the_old_one_stays(sealed):
    sealed.keep(sealed.lines()[:1])
    sealed.note()
    assert len(sealed.seals.standing().problems) == 1
    sealed.seals.accept(reason="a disk was lost", by="ann", findings=["lines were lost"])
    assert sealed.seals.standing().problems == []
    assert len(list(sealed.seals.file.parent.glob("checkpoints-*.jsonl"))) == 1
    (accepted,) = sealed.seals.accepted()
    assert (accepted["by"], accepted["findings"]) == ("ann", ["lines were lost"])
    sealed.note()
    assert sealed.seals.standing()[1:] == ([], [])
    sealed.seals.file.unlink()  # what was accepted then is no leave to take the new ones away
    assert sealed.note() is None
    assert len(sealed.seals.standing().problems) == 2


def test_another_home_on_the_same_log_or_the_same_mlflow_is_no_tampering(sealed, tmp_path):
    home = Home(tmp_path / "other").create()
    keyring = Keyring(home.keys)
    same_log = Seals(sealed.seals.log, keyring, home, sealed.connection)
    assert any("which nobody here trusts to sign" in problem for problem in same_log.standing().problems)
    own = sealed.keyring.own()
    keyring.add(own.crypto.public_key.keyval["public"], own.identity, ("sign",))
    assert same_log.standing().problems == []
    log = AuditLog(home.database_url)
    History(home.database_url).note("check", "m", {})
    other_log = Seals(log, keyring, home, sealed.connection)
    other_log.write()
    assert other_log.standing()[1:] == sealed.seals.standing()[1:] == ([], [])
