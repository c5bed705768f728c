"""`ratchet audit`: show, verify, export, prune; and what flows record besides."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.audit import check, note_settings, snapshot
from flows.cli import app
from flows.policy import Policy
from flows.settings import load_settings
from flows.stores import open_stores
from registry import database
from registry.audit.log import Entry
from registry.audit.retention import mutable
from registry.errors import IntegrityError
from tests.flows import toy_home

NOBODY = 65534
READING = (
    ["audit", "verify"],
    ["audit", "show"],
    ["audit", "export"],
    ["history", toy_home.MODEL],
    ["keys", "list"],
    ["verify-model", f"{toy_home.MODEL}@champion"],
    ["replay", f"{toy_home.MODEL}/1"],
)
OLD = "2020-01-01T00:00:00.000000+00:00"


@pytest.fixture
def stores(tmp_path):
    return open_stores(load_settings(home=tmp_path / "home"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a home with a champion once; each test has a copy of it."""
    stores = open_stores(load_settings(home=tmp_path_factory.mktemp("made") / "home"))
    toy_home.with_champion(stores)
    return stores.home.root


@pytest.fixture
def promoted(made, stores):
    shutil.copytree(made, stores.home.root, dirs_exist_ok=True)
    return open_stores(stores.settings)


def audit(stores, *arguments):
    done = CliRunner().invoke(app, ["audit", *arguments, "--home", str(stores.home.root)])
    return done.exit_code, done.stdout, done.stderr


def force(stores, statement):
    with database.writing(stores.audit.engine) as connection, mutable(connection, "audit", "history", "bundles"):
        connection.exec_driver_sql(statement)


def test_a_promotion_is_in_the_chain_with_who_did_it_and_verified_by_its_checkpoints(promoted):
    code, out, _ = audit(promoted, "verify", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["findings"]) == (0, True, [])
    assert found["checkpoints"] > 0
    assert found["sealed"] <= found["last"] == found["records"]
    code, out, _ = audit(promoted, "show", "--json", "--kind", "promote")
    (record,) = json.loads(out)["records"]
    assert (code, record["by"], record["model"], record["version"]) == (0, "ann", toy_home.MODEL, "1")
    _, out, _ = audit(promoted, "verify")
    assert "the audit log is as it was recorded" in out
    assert check(promoted).startswith(f"{found['records']} records are as they were recorded")


def test_what_was_changed_is_told_with_its_place_and_exits_1(promoted):
    (promote,) = [record for record in promoted.audit.records(kind="promote")]
    force(promoted, f"UPDATE audit SET by = 'nobody' WHERE sequence = {promote.sequence}")
    code, out, err = audit(promoted, "verify")
    assert code == 1
    assert "tampered with" in out
    assert f"E7960: the audit log is not what was recorded: record {promote.sequence} edited" in err
    code, out, _ = audit(promoted, "verify", "--json")
    assert code == 1
    assert json.loads(out)["findings"][0]["first"] == promote.sequence
    with pytest.raises(IntegrityError, match="E7960"):
        check(promoted)


def test_a_log_that_was_cut_off_is_found_by_what_signed_bundles_say_when_all_checkpoints_are_gone(promoted):
    last = promoted.audit.head().sequence
    force(promoted, f"DELETE FROM audit WHERE sequence > {last - 8}")
    promoted.seals.file.unlink()
    _, out, _ = audit(promoted, "verify", "--json")
    kinds = {each["kind"] for each in json.loads(out)["findings"]}
    assert {"end cut off", "checkpoint"} <= kinds


def test_a_log_that_was_restored_from_a_backup_is_accepted_in_somebodys_name_and_goes_on(promoted, made):
    promoted.history.note("check", "m", {})
    promoted.seals.write()
    promoted.audit.engine.dispose()
    for file in ("ratchet.db", "ratchet.db-wal"):
        (promoted.home.root / file).unlink(missing_ok=True)
        if (made / file).exists():
            shutil.copy(made / file, promoted.home.root)
    promoted = open_stores(promoted.settings)
    assert [each["kind"] for each in json.loads(audit(promoted, "verify", "--json")[1])["findings"]] == ["end cut off"]
    code, out, _ = audit(promoted, "accept", "--by", "ann", "--reason", "restored")
    assert code == 0
    assert "end cut off: the log ends with record" in " ".join(out.split())
    promoted.history.note("check", "m", {})
    promoted.seals.write()
    code, out, _ = audit(promoted, "verify", "--json")
    assert (code, json.loads(out)["findings"]) == (0, [])
    (note,) = json.loads(out)["notes"]
    assert "ann accepted the log as it was (restored), although: record" in note
    (record,) = promoted.audit.records(kind="accept")
    assert (record.by, json.loads(record.body)["reason"]) == ("ann", "restored")


def test_a_changed_record_cannot_be_accepted(promoted):
    force(promoted, "UPDATE audit SET by = 'nobody' WHERE sequence = 2")
    code, _, err = audit(promoted, "accept", "--by", "ann", "--reason", "it is right")
    assert (code, err.partition(":")[0]) == (1, "E7960")


def test_a_copy_of_the_checkpoints_that_was_kept_elsewhere_is_looked_at(promoted, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(promoted.seals.file.read_bytes())
    assert audit(promoted, "verify", "--checkpoint", str(copy))[0] == 0
    copy.write_text("nothing\n")
    code, _, err = audit(promoted, "verify", "--checkpoint", str(copy))
    assert (code, "no checkpoint in" in err) == (1, True)
    code, _, err = audit(promoted, "verify", "--checkpoint", str(tmp_path / "none"))
    assert (code, err.partition(":")[0]) == (1, "E7962")


def test_nothing_is_older_than_the_calendar(promoted):
    code, out, _ = audit(promoted, "prune", "--older-than", "999999d", "--by", "ann")
    assert (code, out.startswith("nothing is older than 0001-01-01")) == (0, True)


@pytest.fixture
def unwritable(promoted):
    """Give a copy of the home that this process may read and not write, as an auditor has one."""
    for command in READING:  # what they import may lie where only we may read
        assert CliRunner().invoke(app, [*command, "--home", str(promoted.home.root)]).exit_code == 0
    promoted.audit.engine.dispose()
    folder = Path(tempfile.mkdtemp())
    home = folder / "home"
    shutil.copytree(promoted.home.root, home)
    for path in (folder, home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = os.geteuid()
    if user == 0:  # whom no permission stops
        os.seteuid(NOBODY)
    yield home
    os.seteuid(user)
    for path in (folder, *(path for path in home.rglob("*") if path.is_dir()), home):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_home_that_cannot_be_written_to_is_read_and_verified_all_the_same(unwritable):
    for command in READING:
        done = CliRunner().invoke(app, [*command, "--home", str(unwritable)])
        assert (done.exit_code, done.stderr) == (0, ""), command
    done = CliRunner().invoke(app, ["audit", "accept", "--by", "a", "--reason", "b", "--home", str(unwritable)])
    assert (done.exit_code, done.stderr.partition(":")[0]) == (1, "E7840")


def test_exported_cells_hold_no_control_characters(promoted):
    promoted.history.note("check", "m", {}, by="bob\x1b[2J\x07\x9b\n \u202e")
    promoted.history.note(" =1+1", "＝1+1", {})
    code, out, _ = audit(promoted, "export", "--format", "csv")
    first, second = list(csv.DictReader(io.StringIO(out)))[-2:]
    assert (code, first["by"]) == (0, "bob\\x1b[2J\\x07\\x9b\\n \\u202e")
    assert (second["kind"], second["model"]) == ("' =1+1", "'＝1+1")


def test_records_are_shown_a_line_each_in_words(promoted):
    promoted.history.note("check", "agent\x1b[31m", {"reason": "a\nb"}, by="bob")
    _, out, _ = audit(promoted, "show", "-n", "3")
    lines = out.splitlines()
    assert len(lines) == 4
    assert "bob" in lines[-1]
    assert "a b" in lines[-1]
    assert "\x1b" not in lines[-1]
    assert audit(promoted, "show", "--model", "none")[1].startswith("there are no such records")
    assert audit(promoted, "show", "--since", "soon")[2].startswith("E7033")


def test_exported_records_are_the_log_as_json_and_as_csv_that_no_spreadsheet_runs(promoted, tmp_path):
    promoted.history.note("=cmd|' /C calc'!A0", "-2+3", {"a": 1}, by="@SUM(A1)")
    rows = [json.loads(line) for line in audit(promoted, "export")[1].splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["body"] == {"a": 1}
    assert rows[-1]["previous"] == rows[-2]["hash"]
    table = list(csv.DictReader(io.StringIO(audit(promoted, "export", "--format", "csv")[1])))
    assert [row["hash"] for row in table] == [row["hash"] for row in rows]
    assert (table[-1]["kind"], table[-1]["model"], table[-1]["by"]) == ("'=cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)")
    out = tmp_path / "audit.jsonl"
    code, told, _ = audit(promoted, "export", "--kind", "promote", "--out", str(out), "--json")
    assert (code, json.loads(told)["records"], len(out.read_text().splitlines())) == (0, 1, 1)


def test_only_what_is_older_than_the_settings_say_can_be_removed(promoted):
    code, _, err = audit(promoted, "prune", "--older-than", "89d")
    assert (code, err.partition(":")[0]) == (1, "E7961")
    assert audit(promoted, "prune", "--older-than", "soon")[2].startswith("E7963")
    before = promoted.audit.head().sequence
    code, out, _ = audit(promoted, "prune", "--json")
    assert (code, json.loads(out)["removed"]) == (0, 0)
    assert promoted.audit.head().count == before + 1  # the snapshot


def test_what_is_old_is_removed_and_the_log_still_verifies(stores):
    stores.audit.append_many(Entry("trigger_check", "m", {"n": n}, time=OLD) for n in range(5))
    toy_home.with_champion(stores)
    code, out, _ = audit(stores, "prune", "--by", "ann")
    assert code == 0
    assert "records 1 to 5 are removed, 5 in all; 1 of them are still needed" in out
    assert json.loads(audit(stores, "verify", "--json")[1])["first"] == 6
    assert [note.body["n"] for note in stores.history.notes("trigger_check")] == [4]


def test_a_log_that_was_changed_is_not_pruned(stores):
    stores.audit.append_many(Entry("trigger_check", "m", {"n": n}, time=OLD) for n in range(5))
    force(stores, "UPDATE audit SET body = '{}' WHERE sequence = 2")
    code, _, err = audit(stores, "prune")
    assert (code, err.partition(":")[0]) == (1, "E7960")
    assert stores.audit.head().count == 5


def test_a_snapshot_has_every_version_with_its_stage_and_aliases(promoted):
    body = snapshot(promoted)
    version = body["models"][toy_home.MODEL][0]
    assert (version["version"], version["stage"], version["aliases"]) == ("1", "production", ["champion"])
    assert promoted.history.notes("snapshot")[-1].body == body


def test_settings_and_policy_are_recorded_when_they_change_and_without_secrets(stores, tmp_path):
    secret = "postgresql://ann:hunter2@db/x"
    first = open_stores(stores.settings.model_copy(update={"prefect_database_url": secret, "signing_key": None}))
    assert note_settings(first, "m", Policy())
    assert not note_settings(first, "m", Policy())
    changed = Policy.model_validate({"promotion": {"approval_days": 7}})
    assert note_settings(first, "m", changed, by="ann")
    assert note_settings(open_stores(first.settings.model_copy(update={"audit_retention_days": 30})), "m", changed)
    notes = stores.history.notes("settings", "m")
    assert [note.body["changed"] for note in notes[1:]] == [["policy"], ["audit_retention_days"]]
    assert notes[1].by == "ann"
    assert notes[0].body["settings"]["prefect_database_url"] == "postgresql://ann:***@db/x"
    assert "hunter2" not in json.dumps(notes[0].body)
