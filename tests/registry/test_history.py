import math
import multiprocessing
import sqlite3

import pytest

from registry.errors import IntegrityError, SettingsError
from registry.history import History
from registry.records import Decision, Evidence, StageResult, ValidationReport


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ratchet.db'}"


@pytest.fixture
def history(url):
    opened = History(url)
    yield opened
    opened.close()


def train(history, version="1", **more):
    return history.append("support", version, "train", before=None, after="development", by="ann", **more)


def write_some(url, writer, lines):
    history = History(url)
    for line in range(lines):
        train(history, str(writer), key=f"{writer}:{line}")
        train(history, "shared", key=f"shared:{line}")


def test_lines_are_numbered_from_one_and_read_back_in_order(history):
    first = train(history, reason="because")
    second = history.append(
        "support", "1", "stage", before="development", after="staging", by="bob", run_id="r", evidence_digest="e"
    )
    train(history, "7")
    assert (first.sequence, second.sequence) == (1, 2)
    assert history.of("support", "1") == [first, second]
    assert [line.version for line in history.of("support")] == ["1", "1", "7"]
    assert history.of("unknown") == []
    assert history.models() == ["support"]


def test_appending_under_the_same_key_leaves_one_line(history):
    assert train(history, key="k") == train(history, key="k", reason="another")
    assert len(history.of("support")) == 1


def test_several_writers_at_once_leave_no_gap_and_no_double(url, history):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_some, args=(url, writer, 20)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = history.of("support")
    assert [line.sequence for line in lines] == list(range(1, 3 * 20 + 20 + 1))  # 3 × 20 of their own, 20 shared once
    history.verify()


@pytest.mark.parametrize("table", ["history", "audit", "intents", "closures", "runs"])
@pytest.mark.parametrize("change", ["UPDATE {} SET time = 'x'", "DELETE FROM {}", "REPLACE INTO {0} SELECT * FROM {0}"])
def test_nobody_can_change_or_delete_a_line(tmp_path, history, table, change):
    train(history)
    history.record_decision(DECISION, EVIDENCE)
    history.close_intent(history.intend("support", {}).intent_id)
    history.record_run("work", "run", "support", "started")
    with sqlite3.connect(tmp_path / "ratchet.db") as database:
        before = database.execute(f"SELECT * FROM {table}").fetchall()
        assert before
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            database.execute(change.format(table))
        assert database.execute(f"SELECT * FROM {table}").fetchall() == before


def test_a_line_removed_by_force_is_noticed(tmp_path, history):
    for version in "123":
        train(history, version)
    with sqlite3.connect(tmp_path / "ratchet.db") as database:
        database.execute("DROP TRIGGER history_refuses_delete")
        database.execute("DELETE FROM history WHERE sequence = 2")
    with pytest.raises(IntegrityError, match="E7921: the stage history has 2 lines, but its last number is 3"):
        history.verify()


def test_approvals_given_before_a_quarantine_do_not_count(history):
    history.append("support", "1", "stage", before="development", after="staging", by="ratchet")
    history.approve("support", "1", "ann", "looks good")
    assert [(a.by, a.note) for a in history.approvals("support", "1")] == [("ann", "looks good")]
    history.append("support", "1", "quarantine", before="staging", after="quarantine", by="ratchet")
    assert history.approvals("support", "1") == []
    history.append("support", "1", "release", before="quarantine", after="development", by="bob")
    history.approve("support", "1", "bob")
    assert [a.by for a in history.approvals("support", "1")] == ["bob"]
    assert history.approvals("support", "2") == []


def test_an_intent_is_open_until_it_is_closed(history):
    first, second = history.intend("support", {"a": [1]}), history.intend("other", {})
    assert history.open_intents() == [first, second]
    assert history.open_intents("support") == [first]
    assert first.body == {"a": [1]}
    history.close_intent(first.intent_id)
    history.close_intent(first.intent_id)
    assert history.open_intents() == [second]


def test_the_ledger_knows_what_work_was_completed(history):
    assert history.completed("work") is None
    history.record_run("work", "run-1", "support", "started")
    history.record_run("work", "run-1", "support", "failed", {"error": "E7301"})
    assert history.completed("work") is None
    history.record_run("work", "run-2", "support", "started")
    history.record_run("work", "run-2", "support", "completed", {"decision": "promoted", "text": "Zürich"})
    history.record_run(
        "work", "run-2", "support", "completed", {"decision": "another", "loss": float("nan")}
    )  # repeated: nothing happens
    assert history.completed("work") == {"decision": "promoted", "text": "Zürich"}
    assert history.completed("other") is None
    assert [entry.event for entry in history.ledger()] == ["started", "failed", "started", "completed"]


def test_a_decision_is_kept_whole_and_once(history):
    history.record_decision(DECISION, EVIDENCE)
    history.record_decision(DECISION, EVIDENCE)
    assert history.decisions("support") == [(DECISION, EVIDENCE)]
    assert history.decisions("support", "2") == []


def test_evidence_with_numbers_that_are_none_is_kept(history):
    stage = StageResult(
        name="latency", status="FAIL", critical=False, metrics={"p50": math.inf}, series={"ms": [math.nan]}
    )
    odd = EVIDENCE.model_copy(
        update={"report": ValidationReport(recommendation="REVIEW", baseline="frozen base", stages=[stage])}
    )
    history.record_decision(DECISION, odd)
    ((_, kept),) = history.decisions("support")
    assert kept.report.stages[0].metrics == {"p50": math.inf}
    assert math.isnan(kept.report.stages[0].series["ms"][0])


def test_what_is_recorded_is_there_in_the_next_process(url, history):
    train(history)
    again = History(url)
    assert again.of("support") == history.of("support")
    again.close()


def test_a_database_that_cannot_be_opened_is_one_clear_line(tmp_path):
    with pytest.raises(SettingsError, match=r"E7840: the record database .* cannot be used"):
        History(f"sqlite:///{tmp_path}/missing/ratchet.db")
    (tmp_path / "garbage.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(IntegrityError, match=r"E7920: the record database .* is damaged"):
        History(f"sqlite:///{tmp_path}/garbage.db")


DECISION = Decision(
    model="support",
    version="1",
    verdict="staged",
    target="staging",
    gates=[],
    evidence_digest="e",
    reason="because",
)
EVIDENCE = Evidence(
    model="support",
    version="1",
    stage="development",
    training_state="COMPLETED",
    artifact_present=True,
    artifact_loadable=True,
    artifact_digest="a",
    signed=False,
    metrics_recorded=True,
    strategy="full_retrain",
    report_digest=None,
    report=None,
    readiness=None,
)


def test_notes_are_kept_in_order_and_once_under_a_key(history):
    for number in range(3):
        history.note("trigger_check", "agent", {"fired": False, "number": number})
    again = [history.note("trigger_check", "other", {"n": n}, key="the same") for n in (1, 2)]
    assert again[0] == again[1]
    assert [note.body["number"] for note in history.notes("trigger_check", "agent")] == [0, 1, 2]
    assert [note.body["number"] for note in history.notes("trigger_check", "agent", last=1)] == [2]
    assert len(history.notes("trigger_check")) == 4
    assert history.notes("bake") == []
