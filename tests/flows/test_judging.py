"""The judge: what a verdict on live traffic leads to, on a real registry and log, also after a crash."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import judging
from flows.experiments import start_experiment, stop_experiment
from flows.judge import judge as judge_flow
from flows.judging import check_failures, judge_all, judge_model
from flows.promotion import Approving, approve_and_promote, decide_and_carry_out, record_approval
from flows.settings import load_settings
from flows.stores import Stores, open_stores
from registry.errors import PromotionError, TriggerError
from registry.events import Query
from registry.records import Readiness
from registry.transitions import Transitions
from tests.flows.toy_home import ANN, MODEL, POLICY, RULES, evidence, logged, registered, traffic, with_champion

BETTER, WORSE, EQUAL = ({"control": 0.5, "challenger": rate} for rate in (0.8, 0.2, 0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("judging") / "home"
    with_champion(open_stores(load_settings(home=home)))
    return home


@pytest.fixture
def stores(made, tmp_path) -> Stores:
    home = tmp_path / "home"
    shutil.copytree(made, home)
    return open_stores(load_settings(home=home))


# --- what happens to it ----------------------------------------------------------------------------------------------


def served(stores: Stores, version: str, quality: float, when: datetime, units: int = 200, **data: Any) -> None:
    """Let a version answer `units` users, a share of them well."""
    random = np.random.default_rng(1)
    scores = 100.0 * (random.random(units) < quality)
    stores.events.append([logged(i, when, float(s), model_version=version, **data) for i, s in enumerate(scores)])


def begun(stores: Stores, version: str = "2", share: float = 0.5, model: str = MODEL, **more: Any) -> Any:
    return start_experiment(stores, RULES, model, version, "ann", share, **more)


def state(stores: Stores, model: str = MODEL) -> dict[str, Any]:
    """Everything that a verdict changes, without the times."""
    experiments = [(each.key, each.state, each.reason, each.share) for each in stores.experiments.all(model)]
    return {
        "versions": {each.version: (each.stage, each.aliases) for each in stores.models.versions(model)},
        "experiments": experiments,
        "history": [(line.version, line.action, line.after, line.by, line.reason) for line in stores.history.of(model)],
        "decisions": [(decision.version, decision.verdict) for decision, _ in stores.history.decisions(model)],
    }


def stage(stores: Stores, version: str, model: str = MODEL) -> tuple[str, list[str]]:
    found = stores.models.get(model, version)
    return found.stage, found.aliases


def only(told: dict[str, Any]) -> dict[str, Any]:
    assert told["failed"] == []
    (experiment,) = told["experiments"]
    return experiment


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_winner_goes_to_the_gates_and_waits_for_a_person_who_promotes_it(stores):
    traffic(stores, begun(stores), 1_200, BETTER)
    told = only(judge_model(stores, MODEL))
    assert (told["state"], told["decision"]) == ("won", "pending_approval")
    assert stage(stores, "2")[0] == "staging"
    assert "challenger" not in stage(stores, "2")[1]
    assert stores.models.champion(MODEL).version == "1"
    before = state(stores)
    assert judge_model(stores, MODEL)["experiments"] == []
    assert state(stores) == before, "looking again changes nothing"

    done = approve_and_promote(stores.settings, MODEL, "2", "ann", "")
    assert (done["decision"], done["replaced"]) == ("promoted", "1")
    assert stage(stores, "1")[0] == "archived"
    found = stores.history.decisions(MODEL, "2")[-1][1].trial
    assert (found.status, found.experiment) == ("won", told["experiment"])
    assert found.result_digest is not None


def test_a_winner_that_was_approved_before_is_promoted_at_once(stores):
    approve_and_promote(stores.settings, MODEL, "2", "ann", "let it be tried")
    assert stores.models.champion(MODEL).version == "1", "an approval does not replace the experiment"
    traffic(stores, begun(stores), 1_200, BETTER)
    told = judge_model(stores, MODEL)
    assert only(told)["decision"] == "promoted"
    assert told["champion"] == "2"
    assert stage(stores, "2") == ("production", ["champion"])


@pytest.mark.parametrize(
    ("rates", "units", "changes", "verdict"),
    [
        (WORSE, 800, {}, "harm"),
        (EQUAL, 1_500, {"margin": 0.9}, "lost"),
        (EQUAL, 400, {"max_units": 60}, "inconclusive"),
    ],
    ids=["harm", "lost", "inconclusive"],
)
def test_one_that_is_not_better_is_archived_with_the_reason(stores, rates, units, changes, verdict):
    policy = POLICY.model_copy(update={"experiments": RULES.model_copy(update=changes)})
    running = begun(stores)
    traffic(stores, running, units, rates)
    told = only(judge_model(stores, MODEL, policy))
    assert (told["state"], told["decision"]) == ("lost", "rejected")
    assert stores.experiments.result(running.key)["verdict"] == verdict
    assert stage(stores, "2") == ("archived", [])
    assert told["reason"] in stores.history.of(MODEL, "2")[-1].reason
    before = state(stores)
    judge_model(stores, MODEL, policy)
    assert state(stores) == before


def test_a_loser_is_archived_also_where_another_gate_would_have_kept_it_in_staging(stores):
    version = registered(stores, "unready")
    poor = Readiness(score=0.1, accuracy=0.1, confidence=0.1, consistency=0.1, robustness=0.1)
    decision, _ = decide_and_carry_out(stores, evidence(version, "1", readiness=poor), POLICY, ANN)
    assert decision.verdict == "staged"
    traffic(stores, begun(stores, version.version), 800, WORSE)
    assert only(judge_model(stores, MODEL))["decision"] == "rejected"
    assert stage(stores, version.version) == ("archived", [])
    assert "lost" in stores.history.of(MODEL, version.version)[-1].reason


def test_a_broken_assignment_stops_it_and_the_version_stays(stores):
    running = begun(stores)
    half = running.model_copy(update={"share": 0.05})
    traffic(stores, half, 3_000, EQUAL)
    events = [
        logged(n, datetime.now(UTC), 100.0, model_version="1", experiment=running.key, arm="control")
        for n in range(10_000, 10_400)
    ]
    stores.events.append(events)
    told = only(judge_model(stores, MODEL))
    assert (told["state"], told["decision"]) == ("stopped", None)
    assert "assignment is broken" in told["reason"]
    assert stage(stores, "2")[0] == "staging"
    assert "challenger" not in stage(stores, "2")[1]


def test_the_share_is_ramped_and_nobody_moves(stores):
    running = begun(stores, share=0.1)
    traffic(stores, running, 600, EQUAL)
    told = only(judge_model(stores, MODEL))
    assert (told["state"], told["share"]) == ("running", 0.25)
    assert only(judge_model(stores, MODEL))["share"] == 0.25, "the next step waits for units of this one"
    looks = [note.body for note in stores.history.notes("experiment", MODEL) if "look" in note.body]
    assert [each["look"]["verdict"] for each in looks] == ["continue", "continue"]


def test_feedback_that_comes_after_the_verdict_changes_nothing(stores):
    running = begun(stores)
    traffic(stores, running, 1_200, BETTER)
    won = only(judge_model(stores, MODEL))
    answers = [each.event["data"] for each in stores.events.query(Query(experiment=running.key))]
    late = [
        {
            "specversion": "1.0", "id": f"late-{each['trace_id']}", "source": "test", "type": "feedback.recorded",
            "time": datetime.now(UTC).isoformat(),
            "data": {"trace_id": each["trace_id"], "kind": "thumbs", "value": "down", "user": "u"},
        }
        for each in answers
        if each["arm"] == "challenger"
    ]  # fmt: skip
    assert len(late) > 500
    stores.events.append(late)
    before = state(stores)
    assert judge_model(stores, MODEL)["experiments"] == []
    assert state(stores) == before
    assert stores.experiments.get(running.key).reason == won["reason"]


# --- somebody moved a version meanwhile ------------------------------------------------------------------------------


def _back(stores: Stores) -> None:
    stores.transitions.rollback(MODEL, "it felt wrong", ANN)


def _quarantined(number: str) -> Callable[[Stores], Any]:
    return lambda stores: stores.transitions.quarantine(MODEL, number, "it leaks", ANN)


def _archived(stores: Stores) -> None:
    stores.transitions.archive(MODEL, "2", "nobody wants it", ANN)


def _deleted(stores: Stores) -> None:
    stores.models.connection.client.delete_model_version(MODEL, "2")


def _all_deleted(stores: Stores) -> None:
    stores.models.connection.client.delete_registered_model(MODEL)


@pytest.mark.parametrize(
    ("meanwhile", "reason", "left"),
    [
        (_quarantined("1"), "version 1 was the champion it was tried against, and nobody serves now", "staging"),
        (_quarantined("2"), "version 2 is in quarantine, and is tried no more", "quarantine"),
        (_archived, "version 2 is in archived, and is tried no more", "archived"),
        (_deleted, "version 2 is not in the registry any more", None),
        (_all_deleted, "nobody serves now", None),
    ],
    ids=["champion quarantined", "quarantined", "archived", "deleted", "model deleted"],
)
def test_an_experiment_ends_without_a_verdict_once_its_versions_were_moved(stores, meanwhile, reason, left):
    running = begun(stores)
    traffic(stores, running, 1_200, BETTER)
    meanwhile(stores)
    told = only(judge_model(stores, MODEL))
    assert (told["state"], told["decision"]) == ("stopped", None)
    assert reason in told["reason"]
    if left is not None:
        assert stage(stores, "2")[0] == left
        assert "challenger" not in stage(stores, "2")[1]
    assert judge_model(stores, MODEL)["experiments"] == []


def promoted(stores: Stores, version: str) -> None:
    """Bring a version to production without an experiment, as a home that does not use them does."""
    found = stores.models.get(MODEL, version)
    serving = stores.models.champion(MODEL).version
    approvals = [record_approval(stores, MODEL, version, Approving("ann"))]
    decision, _ = decide_and_carry_out(stores, evidence(found, serving, trial=None, approvals=approvals), POLICY, ANN)
    assert decision.verdict == "promoted"


def test_a_version_that_was_examined_against_another_champion_is_not_tried_in_vain(stores):
    promoted(stores, "2")
    with pytest.raises(PromotionError, match="E7566"):
        begun(stores, "3")
    assert stage(stores, "3") == ("staging", ["staging"])


def test_a_rollback_by_a_person_ends_the_experiment(stores):
    promoted(stores, "2")
    decide_and_carry_out(stores, evidence(stores.models.get(MODEL, "3"), "2"), POLICY, ANN)
    running = begun(stores, "3")
    traffic(stores, running, 1_200, BETTER)
    _back(stores)
    told = only(judge_model(stores, MODEL))
    assert told["state"] == "stopped"
    assert told["reason"] == "version 2 was the champion it was tried against, and version 1 serves now"
    assert stores.models.champion(MODEL).version == "1"
    assert stage(stores, "3")[0] == "staging"


def test_a_winner_never_replaces_another_champion_than_the_one_it_beat(stores):
    approve_and_promote(stores.settings, MODEL, "2", "ann", "")
    running = begun(stores, "2")
    stores.experiments.conclude(running.key, "won", "better", {"winner": "2"})
    promoted(stores, "3")
    told = only(judge_model(stores, MODEL))
    assert told["decision"] == "champion changed"
    assert stores.models.champion(MODEL).version == "3"
    assert stage(stores, "2")[0] == "staging"


def test_an_old_experiment_of_a_version_leaves_the_one_that_runs_alone(stores):
    first = begun(stores)
    stores.experiments.stop(first.key, "ann", "the holidays")  # killed here, before the alias was withdrawn
    second = begun(stores)
    told = judge_model(stores, MODEL)
    assert {each["experiment"]: each["state"] for each in told["experiments"]} == {
        first.key: "stopped", second.key: "running",
    }  # fmt: skip
    assert "challenger" in stage(stores, "2")[1]
    stop_experiment(stores, MODEL, "ann", "enough")
    assert judge_model(stores, MODEL)["experiments"] == []


# --- crashes ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What no handler of errors may catch."""


def crash(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Let the first call of a method end the process."""

    def killed(*given: Any, **named: Any) -> Any:
        raise Killed

    monkeypatch.setattr(owner, name, killed)


STEPS = [
    ("history", "note"), ("experiments", "conclude"), ("history", "record_decision"), ("transitions", "carry_out"),
    ("transitions", "withdraw"), ("judging", "mark_settled"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ends(made, tmp_path_factory) -> Callable[[dict[str, float]], tuple[Path, dict[str, Any]]]:
    """A home with traffic, and how it ends without a crash; once for each kind of traffic."""
    known: dict[tuple[float, ...], tuple[Path, dict[str, Any]]] = {}

    def end(rates: dict[str, float]) -> tuple[Path, dict[str, Any]]:
        key = tuple(rates.values())
        if key not in known:
            home = tmp_path_factory.mktemp("traffic") / "home"
            shutil.copytree(made, home)
            stores = open_stores(load_settings(home=home))
            traffic(stores, begun(stores), 1_200, rates)
            calm = home.parent / "calm"
            shutil.copytree(home, calm)
            other = open_stores(load_settings(home=calm))
            judge_model(other, MODEL)
            known[key] = home, state(other)
        return known[key]

    return end


@pytest.mark.parametrize(("store", "step"), STEPS, ids=[step for _, step in STEPS])
@pytest.mark.parametrize("rates", [BETTER, WORSE], ids=["won", "lost"])
def test_after_a_crash_the_next_look_finishes_it(ends, tmp_path, monkeypatch, rates, store, step):
    source, calm = ends(rates)
    home = tmp_path / "home"
    shutil.copytree(source, home)
    stores = open_stores(load_settings(home=home))
    crash(monkeypatch, judging if store == "judging" else getattr(stores, store), step)
    with pytest.raises(Killed):
        judge_model(stores, MODEL)
    monkeypatch.undo()
    assert judge_model(stores, MODEL)["failed"] == []
    assert state(stores) == calm
    assert judge_model(stores, MODEL)["experiments"] == []
    assert state(stores) == calm


def test_a_promotion_that_was_killed_anywhere_is_finished_by_the_next_look(ends, tmp_path):
    source, _ = ends(BETTER)
    approved = tmp_path / "approved"
    shutil.copytree(source, approved)
    record_approval(open_stores(load_settings(home=approved)), MODEL, "2", Approving("ann"))
    calm, steps = killed_at(approved, tmp_path / "calm", None)
    assert calm["versions"]["2"] == ("production", ["champion"])
    assert steps > 10
    for step in range(0, steps, 3):
        found, _ = killed_at(approved, tmp_path / str(step), step)
        assert found == calm, f"killed at step {step}"


def killed_at(source: Path, home: Path, step: int | None) -> tuple[dict[str, Any], int]:
    """Judge in a copy of a home, killed at a step of the transitions, and again; return what is left, and the steps."""
    shutil.copytree(source, home)
    stores, taken = open_stores(load_settings(home=home)), 0

    def checkpoint(name: str) -> None:
        nonlocal taken
        taken += 1
        if taken - 1 == step:
            raise Killed

    vars(stores)["transitions"] = Transitions(stores.models, stores.history, stores.bundles, reached=checkpoint)
    if step is not None:
        with pytest.raises(Killed):
            judge_model(stores, MODEL)
    assert judge_model(stores, MODEL)["failed"] == []
    return state(stores), taken


# --- the bake period -------------------------------------------------------------------------------------------------


@pytest.fixture
def baking(stores) -> Stores:
    """Version 1 served well until version 2 was promoted just now."""
    served(stores, "1", 0.9, datetime.now(UTC) - timedelta(hours=2))
    promoted(stores, "2")
    return stores


def test_a_new_champion_that_breaks_is_rolled_back_once(baking):
    served(baking, "2", 0.1, datetime.now(UTC))
    told = judge_model(baking, MODEL)
    assert (told["bake"]["broken"], told["bake"]["restored"], told["champion"]) == (True, "1", "1")
    line = [each for each in baking.history.of(MODEL) if each.action == "rollback"]
    assert [(each.version, each.by) for each in line] == [("1", "ratchet")]
    assert line[0].reason.startswith("bake period: quality")
    again = judge_model(baking, MODEL)
    assert (again["bake"], again["champion"]) == (None, "1")
    assert len([each for each in baking.history.of(MODEL) if each.action == "rollback"]) == 1


def test_a_new_champion_that_does_well_stays(baking):
    served(baking, "2", 0.9, datetime.now(UTC))
    told = judge_model(baking, MODEL)
    assert (told["bake"]["broken"], told["champion"], told["failed"]) == (False, "2", [])
    assert told["bake"]["numbers"]["units_now"] == told["bake"]["numbers"]["units_before"] == 200


def test_what_was_never_served_and_what_a_challenger_did_never_count(baking):
    served(baking, "2", 0.9, datetime.now(UTC))
    served(baking, "2", 0.0, datetime.now(UTC), shadow=True)
    served(baking, "3", 0.0, datetime.now(UTC), experiment="x", arm="challenger")
    served(baking, "1", 0.0, datetime.now(UTC))
    told = judge_model(baking, MODEL)["bake"]
    assert told["broken"] is False
    assert (told["numbers"]["units_now"], told["numbers"]["units_before"]) == (200, 200)


def test_a_champion_that_breaks_with_nothing_to_go_back_to_stays_and_that_is_told(baking):
    baking.transitions.quarantine(MODEL, "1", "it leaks", ANN)
    served(baking, "2", 0.1, datetime.now(UTC))
    told = judge_model(baking, MODEL)
    assert (told["bake"]["broken"], told["bake"]["restored"], told["champion"]) == (True, None, "2")
    assert told["bake"]["rollback"].startswith("E752")
    assert baking.history.notes("bake", MODEL)[-1].body["rollback"] == told["bake"]["rollback"]


def test_after_its_bake_period_a_champion_is_not_watched(baking):
    served(baking, "2", 0.1, datetime.now(UTC))
    over = POLICY.model_copy(update={"experiments": RULES.model_copy(update={"bake_hours": 0.0})})
    told = judge_model(baking, MODEL, over)
    assert (told["bake"], told["champion"]) == (None, "2")


# --- all models ------------------------------------------------------------------------------------------------------


def test_one_model_that_cannot_be_judged_keeps_no_other_waiting(stores, tmp_path, monkeypatch):
    with_champion(stores, "travel")
    broken, sound = begun(stores), begun(stores, model="travel")
    traffic(stores, sound, 1_200, BETTER)
    run = stores.models.get(MODEL, "2").run_id
    stores.models.tracking.artifact(run, "policy.json").unlink()
    judged = judge_all(stores.settings)
    told = {each["model"]: each for each in judged["models"]}
    assert only(told["travel"])["state"] == "won"
    assert len(told[MODEL]["failed"]) == 1
    assert (told[MODEL]["experiments"], told[MODEL]["champion"]) == ([], "1")
    assert stores.experiments.get(broken.key).state == "running"
    with pytest.raises(TriggerError, match=r"E7727: not all could be judged: support: "):
        check_failures(judged)
    with pytest.raises(TriggerError, match="E7727"):
        judge_flow.fn(home=str(stores.home.root))

    policy = tmp_path / "policy.yaml"
    policy.write_text("experiments:\n  min_units: 10\n")
    monkeypatch.setenv("RATCHET_POLICY", str(policy))
    assert judge_flow.fn(home=str(stores.home.root))["models"][0]["failed"] == [], "the setting's policy is used"
    assert stores.experiments.get(broken.key).state == "running"
