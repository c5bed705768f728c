"""The verifier finds a gate that lets faults through and a component that is broken, and leaves the home as it is."""

from __future__ import annotations

import hashlib
import json
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import httpx
import pytest

from flows import verification
from flows.looked import Check
from flows.policy import Policy
from flows.settings import load_settings
from flows.verification import FAULTS, refuse, verify_gates
from flows.verify import raise_event, verify
from registry.errors import IntegrityError, RatchetError
from tasks.promotion.policy import PromotionPolicy


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("verified") / "home"


@pytest.fixture(scope="module")
def quick(home, ratchet) -> dict:
    """Return what `ratchet verify --quick` says in a home that is not there."""
    done = ratchet("verify", "--quick", "--home", home, "--report", home.parent / "report", "--json")
    assert done.code == 0, done.out[-3000:] + done.err
    return done.json


def test_the_gates_catch_every_strong_fault_and_hold_up_no_good_candidate(quick):
    assert quick["problems"] == []
    assert quick["ok"]
    caught = {cell["fault"]: cell["by"] for cell in quick["cells"]}
    assert {fault.name for fault in FAULTS} | {"unsigned", "wrongly signed"} == set(caught)
    expected = {
        "backdoored": "safety", "leaks personal data": "safety", "slower": "latency",
        "collapses": "diversity", "overfitted": "performance", "miscalibrated": "performance",
        "trained on its test": "performance", "unsigned": "artifact signed", "wrongly signed": "artifact signed",
    }  # fmt: skip
    assert {fault: stage for fault, stage in expected.items() if stage not in caught[fault]} == {}
    assert caught["loses a domain"]  # with so few cases by another stage than diversity, now and then


def test_every_component_is_in_order(quick):
    assert [check["name"] for check in quick["checks"]] == [
        "signatures", "audit log", "event log", "redaction", "dataset", "registry", "signatures at the gate",
    ]  # fmt: skip
    assert all(check["ok"] for check in quick["checks"])


def test_the_home_is_not_touched_and_the_report_is_where_it_was_asked_for(quick, home):
    assert not home.exists()
    assert json.loads((home.parent / "report" / "verification.json").read_text())["cells"] == quick["cells"]
    assert "miscalibrated" in (home.parent / "report" / "verification.html").read_text()


def no_trials(monkeypatch, *, components: bool = False) -> None:
    """Leave out the trials in other processes, and the components: what is tested here is beside them."""
    monkeypatch.setattr(verification, "_trials", lambda *arguments: iter(()))
    if not components:
        monkeypatch.setattr(verification, "component_checks", lambda stores, gateway: [])


def test_an_audit_log_that_does_not_notice_is_a_broken_component(monkeypatch, tmp_path):
    """The check of the component is asked, not the component: here its verification says that all is well, always."""
    no_trials(monkeypatch, components=True)
    monkeypatch.setattr("flows.verification_checks.verified", lambda stores: {"ok": True})
    done = verify_gates(load_settings(home=tmp_path / "home"), quick=True)
    assert not done["ok"]
    assert "an edited record is not found" in done["problems"][0]
    with pytest.raises(IntegrityError, match=r"E7991.*audit log"):
        refuse(done)


def test_a_policy_that_lets_unsigned_versions_serve_is_told_and_not_tried(monkeypatch, tmp_path):
    no_trials(monkeypatch)
    lenient = Policy(promotion=PromotionPolicy(allow_unsigned=True))
    done = verify_gates(load_settings(home=tmp_path / "home"), quick=True, policy=lenient)
    assert done["cells"] == []
    assert "allow_unsigned" in " ".join(done["notes"])


def test_own_checks_are_run_by_their_entry_point(monkeypatch, tmp_path):
    no_trials(monkeypatch)
    points = [
        EntryPoint("clock", "tests.flows.none:missing", verification.CHECKS),
        EntryPoint("paths", "builtins:str", verification.CHECKS),
    ]
    monkeypatch.setattr(verification, "entry_points", lambda group: points if group == "ratchet.checks" else [])
    done = verify_gates(load_settings(home=tmp_path / "home"), quick=True)
    said = {check["name"]: check for check in done["checks"]}
    assert (said["clock"]["ok"], said["paths"]["ok"]) == (False, True)
    assert "ModuleNotFoundError" in said["clock"]["detail"]
    assert "Stores" in said["paths"]["detail"]  # it was given the sandbox


def test_events_that_are_too_few_are_refused(tmp_path, make_sample):
    few = make_sample(tmp_path / "few.jsonl", "--clean", "--events", 60)
    with pytest.raises(RatchetError, match="E7430"):
        verify_gates(load_settings(home=tmp_path / "home"), events=[str(few)], quick=True)


def test_a_dataset_of_the_home_is_what_the_gates_are_tested_with_and_stays_as_it_is(monkeypatch, tmp_path, learned):
    no_trials(monkeypatch)
    before = digests(learned.home / "datasets")
    done = verify_gates(load_settings(home=learned.home), quick=True)
    assert done["examples"]["source"].startswith("dataset ")
    assert digests(learned.home / "datasets") == before


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_real_records_are_judged_as_the_sample_is(records, tmp_path):
    events = [str(records / "events" / name) for name in ("tau_airline.jsonl", "fireact_hotpot.jsonl")]
    done = verify_gates(load_settings(home=tmp_path / "home"), events=events, quick=True)
    assert done["problems"] == []


def test_a_failed_verification_is_an_event_that_prefect_has(prefect_api):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        raise_event({"problems": ["a gate is open"], "checks": []})
    wanted = {"filter": {"event": {"name": ["ratchet.verify.failed"]}}}
    deadline = time.monotonic() + 20
    found: list[dict] = []
    while not found and time.monotonic() < deadline:
        found = httpx.post(f"{prefect_api}/events/filter", json=wanted).json()["events"]
        time.sleep(0.1)
    assert found[0]["payload"]["problems"] == ["a gate is open"]


def test_the_daily_flow_tests_the_gates_and_fails_where_they_are_not_to_be_trusted(prefect_api, monkeypatch, tmp_path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    no_trials(monkeypatch)
    told: list[object] = []
    monkeypatch.setattr("flows.verify.raise_event", told.append)
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        done = verify(home=str(tmp_path / "home"), gates="quick")
        assert [cell["fault"] for cell in done["gates"]["cells"]] == ["unsigned", "wrongly signed"]
        assert told == []
        broken = Check("broken", False, "it fell")
        monkeypatch.setattr(verification, "component_checks", lambda stores, gateway: [broken])
        with pytest.raises(IntegrityError, match=r"E7991.*broken: it fell"):
            verify(home=str(tmp_path / "home"), gates="quick")
    assert told == [{"checks": [], "problems": ["broken: it fell"]}]
