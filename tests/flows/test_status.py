"""`ratchet status`, and the daily look whether everything is as it was recorded."""

from __future__ import annotations

import os
import time

import pytest

from flows.addresses import ALONE, Address, addresses_of, forget_addresses, mlflow_of, write_addresses
from flows.settings import load_settings
from flows.show_status import show_status
from flows.status import status_of
from flows.stores import open_stores
from registry.experiments import Arm, Experiment
from registry.home import Home


def execution(number: int, unit: str, arm: str) -> dict:
    data = {"trace_id": f"t{number}", "agent": "support", "model_version": "1", "status": "success"}
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "test", "type": "execution.completed",
        "time": f"2026-11-20T10:00:{number:02}Z", "data": {**data, "experiment": "x1", "arm": arm, "unit": unit},
    }  # fmt: skip


@pytest.fixture
def stores(tmp_path):
    settings = load_settings(home=tmp_path / "home", prefect_api_url=None, mlflow_uri=None)
    return open_stores(settings.model_copy(update={"prefect_api_url": None, "mlflow_uri": None}))


def test_an_empty_home_says_what_to_do(stores, capsys):
    summary = status_of(stores.settings)
    assert {service["state"] for service in summary["services"].values()} == {"not running"}
    assert (summary["up"], summary["models"], summary["runs"]) == (None, [], [])
    assert summary["log"] == {"head": 0, "last_event": None}
    show_status(summary)
    said = capsys.readouterr().out
    assert "ratchet up" in said
    assert "run `ratchet learn` first" in said


def test_it_says_who_serves_what_is_tried_with_how_many_units_and_what_the_triggers_said(stores, capsys):
    stores.history.append(
        "support", "1", "promote", before="staging", after="production", by="dana", time="2026-11-01T"
    )
    stores.history.append("support", "2", "stage", before="development", after="staging", by="ratchet")
    stores.history.note("trigger_check", "support", {"fired": False, "reason": "too few new events"})
    stores.history.note("trigger_check", "support", {"fired": True, "reason": "quality dropped by 7 %"})
    stores.history.record_run("w", "r1", "support", "started")
    stores.history.record_run("w", "r1", "support", "failed", {"error": "E7099: no"})
    arms = [Arm(name="control", version="1"), Arm(name="challenger", version="2")]
    stores.experiments.start(Experiment(key="x1", model="support", arms=arms, share=0.1, started="2026-11-20T", by="d"))
    units = [
        ("ann", "control"),
        ("bob", "challenger"),
        ("ann", "control"),
        ("cyd", "challenger"),
        ("bob", "challenger"),
    ]
    stores.events.append([execution(number, *each) for number, each in enumerate(units)])
    summary = status_of(stores.settings)
    (model,) = summary["models"]
    assert model["champion"] == {"version": "1", "since": "2026-11-01T", "readiness": None}
    assert [(arm["name"], arm["units"]) for arm in model["experiments"][0]["arms"]] == [
        ("control", 1),
        ("challenger", 2),
    ]
    assert model["trigger_check"]["reason"] == "quality dropped by 7 %"
    assert model["pending"] == []  # in staging, but nothing was decided about it
    assert summary["runs"][0]["error"] == "E7099: no"
    assert summary["log"] == {"head": 5, "last_event": "2026-11-20T10:00:04Z"}
    show_status(summary)
    said = capsys.readouterr().out
    for text in ("control 1: 1 units", "challenger 2: 2 units", "retrain; quality dropped by 7 %", "5 events"):
        assert text in said


def test_what_was_written_down_counts_for_as_long_as_its_process_lives(tmp_path):
    home = Home(tmp_path / "home").create()
    assert addresses_of(home) is None
    write_addresses(home, {"mlflow": Address("http://127.0.0.1:1", "http://127.0.0.1:1/health", 2)})
    assert addresses_of(home) == (
        os.getpid(),
        {"mlflow": Address("http://127.0.0.1:1", "http://127.0.0.1:1/health", 2)},
    )
    assert mlflow_of(home, None) == "http://127.0.0.1:1"
    assert mlflow_of(home, "http://elsewhere:5000") == "http://elsewhere:5000"
    written = (home.root / "up.json").read_text()
    (home.root / "up.json").write_text(written.replace(str(os.getpid()), "999999999"))
    assert addresses_of(home) is None
    forget_addresses(home)
    assert mlflow_of(home, "sqlite:///x.db") is None


def test_a_service_that_is_named_and_does_not_answer_is_silent(stores):
    settings = stores.settings.model_copy(update={"gateway_url": "http://127.0.0.1:9"})
    assert status_of(settings)["services"]["gateway"]["state"] == "silent"


@pytest.mark.server
def test_a_version_that_waits_comes_with_the_command_that_approves_it_at_once(learned, ratchet):
    done = ratchet("status", "--home", learned.home, "--json")
    (model,) = done.json["models"]
    assert model["pending"][0]["command"] == f"ratchet approve agent 1 --by YOU --home {learned.home}"
    assert done.json["services"]["prefect"]["state"] == "healthy"  # the one that PREFECT_API_URL names
    assert done.seconds < 5  # 0.5 s on a machine that does nothing else


@pytest.mark.server
def test_verify_finds_nothing_wrong_and_then_all_that_is(copied):
    from flows.verify import check_everything, verdict
    from registry.errors import IntegrityError

    stores = open_stores(load_settings(home=copied.home))
    assert verdict(check_everything(stores))["ok"]
    dataset = next((copied.home / "datasets" / "agent" / "1.0.0").glob("train*"))
    dataset.chmod(0o644)
    dataset.write_bytes(dataset.read_bytes()[:-1])
    stores.history.append("agent", "1", "promote", before="staging", after="production", by="nobody")
    started = time.monotonic()
    with pytest.raises(IntegrityError, match=r"E7931: dataset agent/1\.0\.0: .*; model agent: .*agent/1 serves"):
        verdict(check_everything(stores))
    assert time.monotonic() - started < 5


def test_a_gateway_that_runs_by_itself_is_found(stores):
    write_addresses(stores.home, {"gateway": Address("http://127.0.0.1:1", "http://127.0.0.1:1/healthz")}, ALONE)
    found = status_of(stores.settings)
    assert (found["up"], found["services"]["gateway"]["url"]) == (None, "http://127.0.0.1:1")
    assert found["services"]["gateway"]["state"] == "silent"
    forget_addresses(stores.home, ALONE)
    assert status_of(stores.settings)["services"]["gateway"]["state"] == "not running"
