"""The scheduled retrain: what the triggers are told of the log, what is written down, and what a retrain does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

from flows.experiments import start_experiment, stop_experiment
from flows.job import prepare
from flows.judging import judge_model
from flows.promotion import Approving, approve_and_promote, decide_and_carry_out, record_approval
from flows.retrain import retrain
from flows.settings import Settings, load_settings, prepare_environment, restored_environment
from flows.stores import Stores, open_stores
from flows.triggers import agent_of, gather, look, triggers_now, why, write_down
from registry.errors import RatchetError
from registry.records import Readiness, StageResult, ValidationReport
from tasks.triggers.check import Check
from tests.flows import toy_home

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

RULES = """
triggers:
  sample_count: 100
  cooldown_hours: 0
"""


class Loop(NamedTuple):
    """A home with version 1 learned from the log, and more events in the log since."""

    stores: Stores
    policy: Path
    learned: dict[str, Any]
    more: list[bytes]

    def retrain(self, **parameters: Any) -> dict[str, Any]:
        """Run the flow."""
        return retrain(**{"model": MODEL, "home": str(self.stores.home.root), "policy": str(self.policy)} | parameters)


@pytest.fixture(scope="module")
def prefect(prefect_api: str) -> Iterator[None]:
    """Run flows in this process, on the tests' server."""
    with temporary_settings({PREFECT_API_URL: prefect_api, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
        yield


@pytest.fixture(scope="module")
def loop(prefect, make_sample, tmp_path_factory) -> Loop:
    folder = tmp_path_factory.mktemp("loop")
    policy = folder / "policy.yaml"
    policy.write_text(RULES)
    lines = make_sample(folder / "events.jsonl", "--events", 2_000, "--clean").read_bytes().splitlines()
    stores = open_stores(Settings(home=folder / "home"))
    stores.events.append(lines[:1_000])
    made = Loop(stores, policy, {}, lines[1_600:])
    made = made._replace(learned=made.retrain(approve_as="ann"))
    stores.events.append(lines[1_000:1_600])
    return made


@pytest.mark.server
def test_a_retrain_learns_from_the_log_and_says_so(loop):
    assert loop.learned["fired"]
    assert loop.learned["outcome"] == "learned"
    assert loop.learned["learn"]["version"] == "1"
    assert loop.learned["learn"]["decision"] == "promoted", "the first version has nothing to be tried against"
    assert (loop.learned["experiment"], loop.learned["experiment_held"]) == (None, None)
    manifest = loop.stores.datasets.manifest(MODEL, "1.0.0")
    assert manifest.log.start == 0 < manifest.log.end


@pytest.mark.server
def test_the_second_version_is_tried_and_a_third_in_the_shadow_afterwards(loop):
    stores = loop.stores
    dry = loop.retrain(dry_run=True)
    assert (dry["outcome"], dry["fired"]) == ("dry run", True)
    done = loop.retrain(manual=True, by="ann", reason="new prices", approve_as="dora")
    assert done["outcome"] == "learned", done
    assert done["learn"]["stage"] == "staging"
    (running,) = stores.experiments.running(MODEL)
    assert (running.key, running.challenger.version, running.mode) == (done["experiment"], "2", "live")

    again = loop.retrain()
    assert again["outcome"] == "not fired"
    checked = stores.history.notes("trigger_check", MODEL)
    then = why(stores.settings, MODEL, checked[-2].time)
    assert then["reason"].endswith("manual: ann: new prices")
    assert then["retrain"]["experiment"] == running.key
    assert f"experiment {running.key} goes on" in triggers_now(stores.settings, MODEL, loop.policy)["held"]
    assert [(note.body["fired"], note.body["dry_run"]) for note in checked] == [
        (True, False), (True, True), (True, False), (False, False),
    ]  # fmt: skip

    stores.events.append(loop.more)
    shadow = loop.retrain(manual=True, by="ann", strategy="shadow")
    assert (shadow["outcome"], shadow["learn"]["strategy"], shadow["experiment"]) == ("learned", "shadow", None)
    assert "E7721" in shadow["experiment_held"], "another one runs"
    stop_experiment(stores, MODEL, "ann", "enough")
    tried = loop.retrain()
    assert tried["outcome"] == "not fired"
    (running,) = stores.experiments.running(MODEL)
    assert (running.key, running.challenger.version, running.mode) == (tried["experiment"], "3", "shadow")
    assert stores.models.champion(MODEL).version == "1"


@pytest.mark.server
def test_wrong_parameters_are_told_before_anything_starts(ratchet, tmp_path):
    done = ratchet("retrain", MODEL, "--strategy", "magic", "--home", tmp_path)
    assert (done.code, done.err[:5]) == (1, "E7703")


# --- without learning anything: toys ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("toys") / "home"
    toy_home.with_champion(open_stores(Settings(home=home)))
    return home


@pytest.fixture
def toys(made, tmp_path) -> Stores:
    """A home with champion 1, and 2 and 3 that wait for an experiment."""
    home = tmp_path / "home"
    shutil.copytree(made, home)
    return open_stores(Settings(home=home))


def checked(stores: Stores, **parameters: Any) -> dict[str, Any]:
    """Run the flow's function."""
    return retrain.fn(**{"model": MODEL, "home": str(stores.home.root)} | parameters)


def another(stores: Stores, **changes: Any) -> str:
    """Let one more version be decided about, and return it."""
    version = toy_home.registered(stores, f"another-{len(stores.models.versions(MODEL))}")
    decide_and_carry_out(stores, toy_home.evidence(version, "1", **changes), toy_home.POLICY, toy_home.ANN)
    return version.version


def test_a_second_retrain_at_once_is_refused(toys):
    with toys.home.lock(f"retrain-{MODEL}", "a test"), pytest.raises(RatchetError, match="E7823"):
        checked(toys)
    with pytest.raises(RatchetError, match="E7700"):
        checked(toys, events="x.jsonl")


def test_what_waits_for_an_experiment_is_tried_the_newest_first_and_one_at_a_time(toys):
    assert checked(toys, dry_run=True)["experiment"] is None
    assert checked(toys, experiment=False)["experiment"] is None
    done = checked(toys)
    assert (done["outcome"], done["experiment"]) == ("not fired", f"{MODEL}-3")
    assert done["fired"] is False
    assert checked(toys)["experiment"] is None, "one runs"
    toys.experiments.conclude(f"{MODEL}-3", "lost", "no better", {"verdict": "lost"})
    judge_model(toys, MODEL)
    assert toys.history.decisions(MODEL)[-1][0].version == "3", "decided about after version 2 was"
    assert checked(toys)["experiment"] == f"{MODEL}-2"
    stop_experiment(toys, MODEL, "ann", "enough")
    assert checked(toys)["experiment"] is None, "both were tried"


def test_what_was_examined_against_another_champion_is_not_tried(toys):
    approve_and_promote(toys.settings, MODEL, "2", "ann", "")
    toys.experiments.conclude(checked(toys)["experiment"], "lost", "no better", {})
    judge_model(toys, MODEL)
    started = start_experiment(toys, toy_home.RULES, MODEL, "2", "ann")
    toys.experiments.conclude(started.key, "won", "better", {"winner": "2"})
    judge_model(toys, MODEL)
    assert toys.models.champion(MODEL).version == "2"
    late = another(toys)
    assert toys.models.get(MODEL, late).stage == "staging"
    assert checked(toys)["experiment"] is None


INCONCLUSIVE = [
    StageResult(name="regression", status="PASS", critical=True, counts={"cases": 200}, metrics={"pass_rate": 0.99}),
    StageResult(name="performance", status="PASS", critical=True),
    StageResult(name="safety", status="INCONCLUSIVE", critical=True, reasons=["too few answers to tell"]),
]


def test_what_a_person_must_decide_is_not_put_before_users_until_one_has(toys):
    report = ValidationReport(recommendation="REVIEW", baseline=f"{MODEL}/1", stages=INCONCLUSIVE)
    unsure = another(toys, report=report)
    for waiting in ("2", "3"):
        toys.transitions.archive(MODEL, waiting, "out of the way", toy_home.ANN)
    held = checked(toys)
    assert held["experiment"] is None
    assert held["experiment_held"].startswith(f"version {unsure} is not tried on live users before a person has looked")
    assert "REVIEW, and no safety regression waits" in held["experiment_held"]
    assert toys.experiments.all(MODEL) == []

    done = approve_and_promote(toys.settings, MODEL, unsure, "ann", "the answers are fine")
    assert done["decision"] == "pending_approval", "it still has to win"
    after = checked(toys)
    assert (after["experiment"], after["experiment_held"]) == (f"{MODEL}-{unsure}", None)


def test_what_fails_a_gate_to_production_is_not_tried_and_keeps_nothing_else_from_it(toys):
    poor = Readiness(score=0.1, accuracy=0.1, confidence=0.1, consistency=0.1, robustness=0.1)
    staged = another(toys, readiness=poor)
    assert toys.models.get(MODEL, staged).stage == "staging"
    assert checked(toys)["experiment"] == f"{MODEL}-3"
    stop_experiment(toys, MODEL, "ann", "enough")
    toys.transitions.archive(MODEL, "2", "out of the way", toy_home.ANN)
    held = checked(toys)
    assert held["experiment"] is None
    assert held["experiment_held"].startswith(f"version {staged} is staged and not tried: readiness")


def test_a_shadow_is_tried_in_the_shadow_whatever_its_gates_say(toys):
    shadow = another(toys, strategy="shadow")
    done = checked(toys)
    assert toys.experiments.get(done["experiment"]).mode == "shadow"
    assert done["experiment"] == f"{MODEL}-{shadow}"


def promoted(stores: Stores, version: str) -> None:
    found = stores.models.get(MODEL, version)
    approvals = [record_approval(stores, MODEL, version, Approving("ann"))]
    given = toy_home.evidence(found, "1", trial=None, approvals=approvals)
    assert decide_and_carry_out(stores, given, toy_home.POLICY, toy_home.ANN)[0].verdict == "promoted"


def test_a_retrain_can_put_the_champion_before_back(toys):
    promoted(toys, "2")
    done = checked(toys, strategy="rollback", manual=True, by="ann", reason="prices are wrong")
    assert (done["outcome"], done["rollback"]["version"], done["rollback"]["replaced"]) == ("rolled back", "1", "2")
    assert (toys.models.champion(MODEL).version, done["experiment"]) == ("1", None)
    assert why(toys.settings, MODEL, "now")["retrain"]["outcome"] == "rolled back"
    line = toys.history.of(MODEL, "1")[-1]
    assert (line.action, line.by, line.reason) == ("rollback", "ann", "prices are wrong")
    with pytest.raises(RatchetError, match="E752"):
        checked(toys, strategy="rollback", manual=True, by="ann")
    assert why(toys.settings, MODEL, "now")["retrain"]["outcome"] == "failed"


def test_after_a_rollback_of_the_bake_period_there_is_no_storm_of_retrains(toys):
    from flows.policy import Policy

    stores, policy = toys, Policy.model_validate({"triggers": {"sample_count": None, "schedule_hours": None}})
    promoted(stores, "2")
    stores.events.append([trace(n, 5.0, status="failure", model_version="2") for n in range(300)])
    now = datetime.now(UTC)
    assert look(stores, MODEL, "log:", policy, now + timedelta(days=2)).fired, "version 2 fails"
    stores.transitions.rollback(MODEL, "bake period: error rate", toy_home.ANN)
    stores.events.append([trace(n, 90.0, model_version="1") for n in range(300, 600)])
    for hours in (0, 1, 23, 25, 48):
        found = look(stores, MODEL, "log:", policy, now + timedelta(hours=hours))
        assert not found.fired, f"what version 2 did is no reason once version 1 serves ({found.reason})"
    stores.events.append([trace(n, 5.0, status="failure", model_version="1") for n in range(600, 1_200)])
    first = look(stores, MODEL, "log:", policy, now + timedelta(hours=1))
    assert not first.fired
    assert "version 1 was put back" in first.reason
    assert look(stores, MODEL, "log:", policy, now + timedelta(hours=25)).fired


# --- the policy ------------------------------------------------------------------------------------------------------


def test_where_no_policy_is_given_the_setting_names_it(toys, tmp_path, monkeypatch):
    assert triggers_now(toys.settings, MODEL)["checks"][0]["threshold"] == 1_000
    policy = tmp_path / "policy.yaml"
    policy.write_text("triggers:\n  sample_count: 7\n")
    monkeypatch.setenv("RATCHET_POLICY", str(policy))
    assert triggers_now(load_settings(home=toys.home.root), MODEL)["checks"][0]["threshold"] == 7
    assert checked(toys)["checks"][0]["threshold"] == 7
    assert toys.history.notes("trigger_check", MODEL)[-1].body["policy"] == str(policy)
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps(trace(1)))
    assert prepare(load_settings(home=toys.home.root), events=[str(events)]).policy.triggers.sample_count == 7
    monkeypatch.chdir(tmp_path)
    with restored_environment():
        prepare_environment(load_settings(home=toys.home.root, policy=Path("policy.yaml")))
        assert os.environ["RATCHET_POLICY"] == str(policy), "so that it is found wherever a worker runs"
    other = tmp_path / "other.yaml"
    other.write_text("triggers:\n  sample_count: 9\n")
    assert checked(toys, policy=str(other))["checks"][0]["threshold"] == 9
    monkeypatch.setenv("RATCHET_POLICY", str(tmp_path / "absent.yaml"))
    with pytest.raises(RatchetError, match=r"E7801: policy .*absent\.yaml: cannot be read"):
        checked(toys)
