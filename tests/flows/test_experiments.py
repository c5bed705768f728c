"""Experiments as a team uses them: started, looked at, ramped and stopped, on a real registry and log."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.commands.experiment import experiment as app
from flows.experiments import gather, running_experiment, start_experiment
from flows.settings import load_settings
from flows.stores import open_stores
from registry.assignment import assign
from registry.errors import TriggerError
from registry.records import Decision, Evidence, GateResult
from registry.transitions import Actor
from tasks.experiments.decide import judge
from tasks.experiments.policy import ExperimentPolicy

ANN = Actor("ann")
QUICK = ExperimentPolicy(min_hours=0.0, min_units=50, outcome_hours=0.0, ramp_hours=0.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


def decision(version, verdict, target, replaced=None):
    gates = [GateResult(name="approval", status="PASS", reason="toy")]
    return Decision(
        model="support", version=version, verdict=verdict, target=target, gates=gates, replaced=replaced,
        evidence_digest=f"evidence-{version}", reason="toy",
    )  # fmt: skip


def evidence(version):
    return Evidence(
        model="support", version=version, stage="development", training_state="COMPLETED", artifact_present=True,
        artifact_loadable=True, artifact_digest="", signed=False, metrics_recorded=True, strategy="full_retrain",
        report_digest=None, report=None, readiness=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A home with a champion (1), two versions in staging (2, 3) and one in development (4)."""
    made = open_stores(load_settings(home=tmp_path_factory.mktemp("experiments") / "home"))
    client = made.models.connection.client
    client.create_registered_model("support")
    for _ in range(4):
        version = client.create_model_version("support", source="file:///nowhere", tags={"stage": "development"})
        made.transitions.registered(made.models.get("support", str(version.version)), ANN)
    made.transitions.carry_out(decision("1", "promoted", "production"), evidence("1"), ANN)
    for number in ("2", "3"):
        made.transitions.carry_out(decision(number, "staged", "staging"), evidence(number), ANN)
    return made


@pytest.fixture
def ask(stores, tmp_path):
    policy = tmp_path / "policy.yaml"
    values = QUICK.model_dump(include={"min_hours", "min_units", "outcome_hours", "ramp_hours"})
    policy.write_text(json.dumps({"experiments": values}))

    def run(*arguments):
        more = ["--policy", str(policy)] if arguments[0] in {"start", "status", "ramp"} else []
        done = CliRunner().invoke(app, [*arguments, "--home", str(stores.home.root), *more], env={"COLUMNS": "160"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture(autouse=True)
def nothing_runs(stores):
    yield
    for known in stores.experiments.running():
        stores.experiments.stop(known.key, "test", "over")
        for arm in known.arms[1:]:
            stores.transitions.withdraw("support", arm.version, "over", ANN)


def traffic(stores, experiment, units, rates, shadow=False):
    """Log one scored answer for each of `units` units, as the gateway does."""
    random = np.random.default_rng(0)
    events = []
    for number in range(units):
        found = assign([experiment], "support", "1", f"user-{number}")
        if found.arm is None:
            continue
        data = {
            "trace_id": f"{experiment.key}-{number}", "agent": "support", "model_version": found.version,
            "unit": f"user-{number}", "experiment": found.experiment, "arm": found.arm, "status": "success",
            "task": {"type": "chat", "domain": "d", "instruction": "q"}, "output": "an answer", "latency_ms": 100.0,
            "quality_score": 100.0 * (random.random() < rates[found.arm]), "tokens_in": 10, "tokens_out": 10,
        }  # fmt: skip
        if found.shadow:
            served = {**data, "trace_id": f"{data['trace_id']}-served", "experiment": None, "arm": None}
            events.append(event(served, number))
            data |= {"shadow": True, "shadow_of": served["trace_id"]}
        events.append(event(data, number))
    stores.events.append(events)


def event(data, number):
    return {
        "specversion": "1.0", "id": data["trace_id"], "source": "test", "type": "execution.completed",
        "time": (START + timedelta(seconds=number)).isoformat(),
        "data": {name: value for name, value in data.items() if value is not None},
    }  # fmt: skip


def test_an_experiment_from_its_start_to_the_verdict(stores, ask):
    done = ask("start", "support", "2", "--by", "ann", "--share", "0.5", "--json")
    assert done.exit_code == 0, done.output
    started = json.loads(done.stdout)
    assert (started["share"], started["state"], started["arms"][1]["version"]) == (0.5, "running", "2")
    assert "challenger" in stores.models.get("support", "2").aliases
    running = running_experiment(stores, "support")
    traffic(stores, running, 1600, {"control": 0.5, "challenger": 0.8})
    found = judge(gather(stores, running, QUICK, datetime.now(UTC)), QUICK)
    assert (found.verdict, found.winner) == ("won", "2")
    told = json.loads(ask("status", "support", "--json").stdout)
    assert told["judgement"]["verdict"] == "won"
    assert "<svg" in Path(told["page"]).read_text()
    shown = ask("status", "support").stdout
    for text in ("won: quality is better", "●", "▒", "error_rate", "page: ", "`judge` acts on it"):
        assert text in shown
    axis = next(line for line in shown.splitlines() if line.split()[:2] == ["1", "10"])
    assert axis.split()[-1] == f"{found.comparisons[0].pairs:,}"
    assert stores.experiments.get(running.key).state == "running"  # looking changes nothing


def test_who_starts_it_again_gets_the_one_that_runs_and_no_other_may(stores, ask):
    first = start_experiment(stores, QUICK, "support", "2", "ann")
    assert start_experiment(stores, QUICK, "support", "2", "bob") == first
    assert "runs already; nothing was changed" in ask("start", "support", "2", "--by", "bob").stderr
    assert "E7721" in ask("start", "support", "2", "--by", "bob", "--shadow").stderr  # another mode than that asked for
    done = ask("start", "support", "3", "--by", "ann")
    assert done.exit_code == 1
    assert "E7721" in done.output
    assert "challenger" not in stores.models.get("support", "3").aliases
    notes = [note for note in stores.history.notes("experiment", "support") if note.body["experiment"] == first.key]
    assert [note.body["event"] for note in notes] == ["started"]


def test_a_start_that_was_killed_half_way_is_finished_by_the_next(stores, monkeypatch):
    def killed(experiment):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores.experiments, "start", killed)
    with pytest.raises(KeyboardInterrupt):
        start_experiment(stores, QUICK, "support", "3", "ann")
    assert "challenger" in stores.models.get("support", "3").aliases
    monkeypatch.undo()
    assert start_experiment(stores, QUICK, "support", "3", "ann").challenger.version == "3"


def test_it_is_ramped_by_steps_and_stopped_with_a_reason(stores, ask):
    key = start_experiment(stores, QUICK, "support", "2", "ann").key
    assert json.loads(ask("ramp", "support", "--by", "ann", "--json").stdout)["share"] == 0.25
    assert json.loads(ask("ramp", key, "--by", "ann", "--share", "0.4", "--json").stdout)["share"] == 0.4
    assert "E7723" in ask("ramp", "support", "--by", "ann", "--share", "0.7").output
    assert "a share only grows" in ask("ramp", "support", "--by", "ann", "--share", "0.1").output
    assert "nothing changed" in ask("ramp", "support", "--by", "ann", "--share", "0.4").stderr
    assert stores.experiments.get(key).share == 0.4
    stopped = json.loads(ask("stop", "support", "--by", "ann", "--reason", "enough", "--json").stdout)
    assert (stopped["state"], stopped["reason"]) == ("stopped", "enough")
    assert "challenger" not in stores.models.get("support", "2").aliases
    assert stores.models.get("support", "2").stage == "staging"
    assert "enough" in ask("list", "support").stdout
    assert "E7720" in ask("stop", "support", "--by", "ann", "--reason", "again").output
    again = start_experiment(stores, QUICK, "support", "2", "ann")
    assert again.key not in {key, "support-2"}  # a key, the seed of its assignment, is used once


def test_a_shadow_is_compared_with_what_was_served(stores):
    tried = start_experiment(stores, QUICK, "support", "4", "ann", share=0.5, mode="shadow")
    traffic(stores, tried, 200, {"control": 0.7, "challenger": 0.7})
    seen = gather(stores, tried, QUICK, datetime.now(UTC))
    assert seen.exposure.arms.sum() == 200
    assert np.mean(seen.agreement) == 1.0
    assert judge(seen, QUICK).verdict == "continue"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("start", "support", "1", "--by", "ann"), "E7724"),
        (("start", "support", "4", "--by", "ann"), "E7725"),
        (("start", "support", "9", "--by", "ann"), "E7522"),
        (("start", "support", "2", "--by", "ann", "--share", "0.9"), "E7726"),
        (("start", "support", "2", "--by", "ann", "--other", "2"), "E7726"),
        (("status", "nobody"), "E7720"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_what_to_do(ask, arguments, code):
    done = ask(*arguments)
    assert done.exit_code == 1
    assert done.output.startswith(f"{code}: ")
    assert "; " in done.output


def test_without_a_champion_there_is_nothing_to_try_against(stores):
    models = SimpleNamespace(champion=lambda model: None, get=stores.models.get)
    bare = SimpleNamespace(models=models, experiments=stores.experiments)
    with pytest.raises(TriggerError, match="E7724"):
        start_experiment(bare, QUICK, "support", "2", "ann")
