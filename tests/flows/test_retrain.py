"""The scheduled retrain: what the triggers are told of the log, what is written down, and what a retrain does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.settings import Settings
from flows.stores import Stores, open_stores
from flows.triggers import agent_of, gather, look, why, write_down
from registry.errors import RatchetError
from registry.home import Home
from tasks.triggers.check import Check

MODEL = "support"
START = datetime(2026, 3, 1, tzinfo=UTC)


# --- what the triggers are told ------------------------------------------------------------------------------------


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return open_stores(Settings(home=tmp_path / "home"))


def trace(number: int, quality: float | None = 80.0, status: str = "success", **more: Any) -> dict[str, Any]:
    """An execution event; `domain` goes where an event has it, the rest beside it."""
    task = {"type": "support", "domain": more.pop("domain", "travel"), "input": f"question {number}"}
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "test", "type": "execution.completed",
        "time": (START + timedelta(seconds=number)).isoformat(),
        "data": {
            "trace_id": f"t{number}", "agent": MODEL, "task": task, "output": "answer", "status": status,
            "quality_score": quality, **more,
        },
    }  # fmt: skip


def learned_run(stores: Stores, version: str, run_id: str) -> None:
    """Record a run that made a version from files."""
    body = {"model": {"name": MODEL, "version": version}, "dataset": None, "decision": "promoted"}
    stores.history.record_run(f"work-{run_id}", run_id, MODEL, "completed", body)


def serve(stores: Stores, *versions: str) -> None:
    for version in versions:
        stores.history.append(MODEL, version, "promote", before="staging", after="production", by="ann")


def test_only_what_the_champion_served_is_watched_but_everything_good_is_learned(stores):
    serve(stores, "1", "2")
    stores.events.append(
        [
            trace(1, 81.0, model_version="2", arm="control", experiment="x", unit="u1"),
            trace(2, 82.0, model_version="3", arm="challenger", experiment="x", unit="u2"),
            trace(3, 83.0, model_version="3", shadow=True),
            trace(4, 84.0, model_version="1"),
            trace(5, 85.0, model_version="2", unit="u1", domain="food"),
            trace(6, 86.0, model_version="elsewhere-7"),
            trace(7, None, model_version="2"),
            trace(8, 69.0, model_version="2"),
            trace(9, 90.0, status="failure", model_version="2"),
        ]
    )
    found, _ = gather(stores, MODEL, None, 70.0)
    assert [value for value in found.quality if value == value] == [81.0, 85.0, 86.0, 69.0, 90.0]
    assert found.failed.tolist() == [False, False, False, False, False, True]
    assert [found.domains[code] for code in found.domain] == ["travel", "food"] + ["travel"] * 4
    assert found.unit[0] == found.unit[1] >= 0 > found.unit[2]
    assert found.samples == 5, "of all arms, but not what was never served"


def test_another_agents_events_are_left_out_where_one_is_named(stores):
    stores.events.append([trace(1), trace(2, agent="sales")])
    assert len(gather(stores, MODEL, None, 70.0)[0].quality) == 2
    assert len(gather(stores, MODEL, agent_of("log:sales"), 70.0)[0].quality) == 1
    with pytest.raises(RatchetError, match="E7700"):
        agent_of("events.jsonl")


def test_feedback_is_quality_and_may_be_negative(stores):
    feedback = {
        "specversion": "1.0", "id": "f1", "source": "test", "type": "feedback.recorded", "time": START.isoformat(),
        "data": {"trace_id": "t1", "kind": "thumbs", "value": "down", "user": "u"},
    }  # fmt: skip
    stores.events.append([trace(1, None), trace(2, None), feedback])
    found, _ = gather(stores, MODEL, None, 70.0)
    assert found.quality[0] < 50
    assert found.negative[0] == 1.0
    assert found.quality[1] != found.quality[1], "not a number"
    assert found.samples == 0


def test_after_learning_from_files_only_what_came_later_is_compared(stores):
    stores.events.append([trace(1), trace(2)])
    learned_run(stores, "1", "run-1")
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    stores.events.append([{**trace(3), "time": later}])
    found, past = gather(stores, MODEL, None, 70.0)
    assert len(found.quality) == 1
    assert found.samples == 3, "no dataset has taken them in"
    assert past.version == "1"
    assert [event.what for event in past.events] == ["version 1 was trained"]


def test_rejections_and_lost_experiments_are_remembered(stores):
    learned_run(stores, "1", "run-1")
    stores.history.append(MODEL, "1", "reject", before="development", after="archived", by="ratchet")
    stores.history.note("retrain", MODEL, {"check": 1, "outcome": "nothing to learn"})
    _, past = gather(stores, MODEL, None, 70.0)
    assert [event.what for event in past.events] == [
        "version 1 was trained", "version 1 was rejected", "a retrain found nothing to learn",
    ]  # fmt: skip


# --- what is written down ------------------------------------------------------------------------------------------


def test_the_notes_say_why_for_any_moment(stores, tmp_path):
    settings = stores.settings
    with pytest.raises(RatchetError, match="E7701"):
        why(settings, MODEL, "now")
    common = {"by": "ratchet", "dry_run": False, "strategy": "auto", "policy": None}
    first = write_down(stores, MODEL, Check(fired=False, reason="all is well", checks=[]), **common)
    second = write_down(stores, MODEL, Check(fired=True, reason="quality fell", checks=[]), **common)
    stores.history.note("retrain", MODEL, {"check": second.sequence, "outcome": "learned"})
    assert why(settings, MODEL, "now")["retrain"]["outcome"] == "learned"
    assert why(settings, MODEL, second.time)["reason"] == "quality fell"
    then = why(settings, MODEL, first.time)
    assert (then["reason"], then["retrain"], then["time"]) == ("all is well", None, first.time)
    with pytest.raises(RatchetError, match="E7701"):
        why(settings, MODEL, "2020-01-01")
    with pytest.raises(RatchetError, match="E7033"):
        why(settings, MODEL, "yesterday")


def test_a_look_writes_nothing(stores):
    from flows.policy import Policy

    look(stores, MODEL, "log:", Policy(), START)
    assert stores.history.notes("trigger_check", MODEL) == []


# --- what a retrain does -------------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """A home with version 1 learned from the log, and more events in the log since."""

    home: Path
    policy: Path
    learned: dict[str, Any]


@pytest.fixture(scope="module")
def loop(ratchet, make_sample, tmp_path_factory) -> Loop:
    folder = tmp_path_factory.mktemp("loop")
    home, policy = folder / "home", folder / "policy.yaml"
    policy.write_text("triggers:\n  sample_count: 100\n  cooldown_hours: 0\n")
    first, second = (
        make_sample(folder / f"{seed}.jsonl", "--events", 1_000, "--clean", "--seed", seed) for seed in (1, 2)
    )
    assert ratchet("events", "import", first, "--home", home).code == 0
    done = ratchet("retrain", MODEL, "--policy", policy, "--approve-as", "ann", "--home", home, "--json")
    assert done.code == 0, done.err
    assert ratchet("events", "import", second, "--home", home).code == 0
    return Loop(home, policy, done.json)


@pytest.mark.server
def test_a_retrain_learns_from_the_log_and_says_so(loop, ratchet):
    assert loop.learned["fired"]
    assert loop.learned["outcome"] == "learned"
    assert loop.learned["learn"]["version"] == "1"
    assert loop.learned["learn"]["decision"] == "promoted", "the first version has nothing to be tried against"
    assert loop.learned["experiment"] is None
    manifest = json.loads((loop.home / "datasets" / MODEL / "1.0.0" / "dataset.json").read_text())
    assert manifest["log"]["start"] == 0 < manifest["log"]["end"]


@pytest.mark.server
def test_the_second_version_is_tried_and_meanwhile_nothing_is_retrained(loop, ratchet):
    home = ("--home", loop.home)
    looked = ratchet("triggers", MODEL, "--policy", loop.policy, *home, "--json").json
    assert looked["fired"], looked
    dry = ratchet("retrain", MODEL, "--policy", loop.policy, "--dry-run", *home, "--json").json
    assert (dry["outcome"], dry["fired"]) == ("dry run", True)

    done = ratchet("retrain", MODEL, "--by", "ann", "--reason", "new prices", *home, "--json").json
    assert done["outcome"] == "learned", done
    assert done["learn"]["stage"] == "staging"
    stores = open_stores(Settings(home=loop.home))
    (running,) = stores.experiments.running(MODEL)
    assert (running.key, running.challenger.version) == (done["experiment"], "2")

    again = ratchet("retrain", MODEL, "--policy", loop.policy, *home, "--json").json
    assert again["outcome"] == "not fired"
    told = ratchet("triggers", MODEL, "--why", "now", *home, "--json").json
    assert told["fired"] is False
    screen = ratchet("triggers", MODEL, "--why", stores.history.notes("trigger_check", MODEL)[-2].time, *home)
    assert "manual: ann: new prices" in screen.out
    assert f"experiment {running.key} runs" in screen.out
    notes = stores.history.notes("trigger_check", MODEL)
    assert [(note.body["fired"], note.body["dry_run"]) for note in notes] == [
        (True, False), (True, True), (True, False), (False, False),
    ]  # fmt: skip


@pytest.mark.server
def test_a_second_retrain_at_once_is_refused(loop, ratchet):
    with Home(loop.home).lock(f"retrain-{MODEL}", "a test"):
        done = ratchet("retrain", MODEL, "--home", loop.home)
    assert done.code == 1
    assert f"E7823: retrain-{MODEL} is held by process" in done.err


@pytest.mark.server
def test_wrong_parameters_are_told_before_anything_starts(loop, ratchet):
    for wrong, code in ((("--strategy", "magic"), "E7703"), (("--events", "x.jsonl"), "E7700")):
        done = ratchet("retrain", MODEL, *wrong, "--home", loop.home)
        assert (done.code, done.err[:5]) == (1, code)
