"""Approvals by identity: signed, by enough people, not by who started the training, under the rules of then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.cli import _waits
from flows.decision import without_text
from flows.job import prepare, system_user
from flows.policy import Policy
from flows.progress import Progress
from flows.promotion import (
    Approving,
    approvals_in,
    approve_and_promote,
    current_evidence,
    decide_and_carry_out,
    policy_of,
    sign_approval,
)
from flows.run import Run, _started_by, run_sign_approval
from flows.settings import load_settings
from flows.stores import Stores, open_stores
from registry.errors import IntegrityError, PromotionError, SettingsError
from registry.records import Case, StageResult, ValidationReport, canonical_digest
from registry.trust.approvals import Asked, signed
from registry.trust.signing import Keyring
from tests.flows.toy_home import ANN, MODEL, evidence, registered


def rules(**changes: Any) -> Policy:
    return Policy.model_validate({"promotion": changes})


def waiting(stores: Stores, policy: Policy | None = None, **changes: Any) -> None:
    """Let version 1, which bob trained, wait for approval."""
    found = registered(stores, "work")
    given = evidence(found, None, trained_by="bob", **changes)
    assert decide_and_carry_out(stores, given, policy or rules(), ANN)[0].verdict == "pending_approval"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("approving") / "home"
    waiting(open_stores(load_settings(home=home)))
    return home


@pytest.fixture
def stores(made: Path, tmp_path: Path) -> Stores:
    shutil.copytree(made, tmp_path / "home")
    return open_stores(load_settings(home=tmp_path / "home"))


def gate(done: dict[str, Any], name: str = "human approval") -> tuple[str, str]:
    return next((each["status"], each["reason"]) for each in done["gates"] if each["name"] == name)


def test_an_approval_is_signed_with_the_approver_s_own_key_and_promotes(stores):
    done = approve_and_promote(stores.settings, MODEL, "1", "ann", "read the report")
    assert (done["decision"], done["stage"]) == ("promoted", "production")
    assert gate(done) == ("PASS", "approved by ann")
    (approval,) = approvals_in(stores).of(MODEL, "1")
    trusted = stores.keyring.trust().keys[approval.key_id]
    assert (trusted.identity, trusted.roles) == ("ann", ("approve",))
    key = stores.home.keys / "people" / "ann.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert approval.key_id != stores.keyring.own().key_id


def test_who_started_the_training_is_refused_and_nothing_is_recorded(stores):
    before = stores.history.of(MODEL)
    for name in ("bob", "Bob", " BOB "):
        with pytest.raises(PromotionError, match=r"E7541: .* started the training, and somebody else must approve"):
            approve_and_promote(stores.settings, MODEL, "1", name, "")
    assert (stores.history.of(MODEL), approvals_in(stores).of(MODEL, "1")) == (before, [])
    assert not (stores.home.keys / "people").exists()


def test_two_people_are_needed_where_the_policy_says_so(tmp_path):
    stores = open_stores(load_settings(home=tmp_path / "home"))
    waiting(stores, rules(approvers_needed=2, approvers=["ann", "carl", "bob"]))
    for name in ("ann", "carl"):
        stores.keyring.rotate(name)
    first = approve_and_promote(stores.settings, MODEL, "1", "ann", "")
    assert first["decision"] == "pending_approval"
    assert gate(first) == ("PENDING", "waits for people to approve: 1 of 2 have (ann)")
    assert _waits(first) == "waits for people to approve: 1 of 2 have (ann)", "nothing went wrong"
    again = approve_and_promote(stores.settings, MODEL, "1", "Ann", "once more")
    assert again["decision"] == "pending_approval", "another spelling is the same person"
    with pytest.raises(PromotionError, match="E7541: dana cannot approve support/1: dana is not among those"):
        approve_and_promote(stores.settings, MODEL, "1", "dana", "")
    second = approve_and_promote(stores.settings, MODEL, "1", "carl", "")
    assert (second["decision"], gate(second)) == ("promoted", ("PASS", "approved by ann, carl"))
    assert _waits(second) is None


def test_where_the_policy_names_approvers_no_key_counts_because_it_came_first(tmp_path):
    stores = open_stores(load_settings(home=tmp_path / "home"))
    waiting(stores, rules(approvers_needed=2, approvers=["ann", "carl"]))
    elsewhere = Keyring(tmp_path / "elsewhere")
    public = {name: elsewhere.person(name).crypto.public_key.keyval["public"] for name in ("ann", "mallory")}
    stores.keyring.add(public["ann"], "ann", ("approve",))
    stranger = tmp_path / "elsewhere" / "people" / "mallory.pem"
    for name, key in (("Ann", None), ("ANN", stranger), ("аnn", None), ("carl", None), ("CARL", stranger)):
        with pytest.raises(SettingsError, match=r"E7891|E7892"):
            approve_and_promote(stores.settings, MODEL, "1", name, "", key)
    assert approvals_in(stores).of(MODEL, "1") == []
    stores.keyring.person("carl")  # trusted on first use, where another policy let them
    with pytest.raises(SettingsError, match="E7891: nobody trusted a key of carl yet, and the policy names who may"):
        approve_and_promote(stores.settings, MODEL, "1", "carl", "")
    by_hand = signed(stores.keyring.person("carl"), asked(stores), "", 30.0)
    with pytest.raises(SettingsError, match=r"E7891: the key .* of carl was trusted on first use"):
        approve_and_promote(stores.settings, MODEL, "1", "carl", "", signed=by_hand)
    stores.keyring.add(stores.keyring.person("carl").crypto.public_key.keyval["public"], "carl", ("approve",))
    approve_and_promote(stores.settings, MODEL, "1", "carl", "")
    done = approve_and_promote(stores.settings, MODEL, "1", "ANN", "", tmp_path / "elsewhere" / "people" / "ann.pem")
    assert gate(done) == ("PASS", "approved by carl, ann")


def asked(stores: Stores) -> Asked:
    evidence = current_evidence(stores, MODEL, "1")
    return approvals_in(stores).asked(MODEL, "1", evidence.artifact_digest, evidence.report_digest)


@pytest.mark.parametrize("name", ["bоb", "bo\u200bb", "boḃ", "ｂｏｂ", "ВОВ", "zeno", "Ratchet", "RATCHET", "rаtchet"])
def test_no_spelling_lets_who_trained_it_or_the_installation_approve(stores, name):
    """Version 1 was trained by bob as the decision has it, and by zeno as it was attested."""
    with pytest.raises((PromotionError, SettingsError), match=r"E7541: .* started the training|E7892"):
        approve_and_promote(stores.settings, MODEL, "1", name, "")
    assert not (stores.home.keys / "people").exists()


def test_a_forged_decision_steers_no_approval(stores):
    """Whoever can write to the database appends one that lets anybody approve; it fits the chain."""
    record = next(iter(stores.audit.records(kind="decision", model=MODEL)))
    body = json.loads(record.body)
    body["evidence"]["trained_by"] = "somebody else"
    body["decision"]["policy"]["separate_duties"] = False
    body["decision"]["evidence_digest"] = canonical_digest(body["evidence"])
    stores.history.note("decision", MODEL, body, version="1")
    with pytest.raises(PromotionError, match="E7541: bob cannot approve support/1: bob started the training"):
        approve_and_promote(stores.settings, MODEL, "1", "bob", "")
    stores.keyring.revoke(stores.keyring.own().key_id, "stolen")
    with pytest.raises(PromotionError, match="E7560: no decision about support version 1 counts"):
        approve_and_promote(stores.settings, MODEL, "1", "ann", "")


def test_the_rules_of_the_last_decision_hold_whatever_is_done_to_the_policy_in_mlflow(stores):
    run_id = stores.models.get(MODEL, "1").run_id
    relaxed = rules(separate_duties=False, allow_unsigned=True, min_readiness=0.1)
    stores.models.tracking.log_text(run_id, relaxed.model_dump_json(), "policy.json")
    assert policy_of(stores, MODEL, "1").promotion == rules().promotion
    with pytest.raises(PromotionError, match="E7541"):
        approve_and_promote(stores.settings, MODEL, "1", "bob", "")


def test_an_approval_that_was_signed_elsewhere_counts_once_its_key_is_trusted(stores, tmp_path):
    theirs = Keyring(tmp_path / "elsewhere").person("zoe")
    envelope = sign_approval(stores, MODEL, "1", Approving("ann"))
    with pytest.raises(PromotionError, match="E7543: the approval is that of ann, not of carl"):
        approve_and_promote(stores.settings, MODEL, "1", "carl", "", signed=envelope)
    pem = tmp_path / "elsewhere" / "people" / "zoe.pem"
    stores.keyring.add(theirs.crypto.public_key.keyval["public"], "zoe", ("approve",))
    with pytest.raises(SettingsError, match="E7891: zoe signs with the key"):
        approve_and_promote(stores.settings, MODEL, "1", "zoe", "")
    signed = run_sign_approval(stores.settings, model=MODEL, version="1", by="zoe", note="", key=pem)["signed"]
    assert json.loads(signed)["signatures"]
    assert approve_and_promote(stores.settings, MODEL, "1", "zoe", "", signed=signed)["decision"] == "promoted"


def test_a_key_that_the_settings_name_signs(stores, tmp_path):
    Keyring(tmp_path / "elsewhere").person("zoe")
    settings = load_settings(home=stores.home.root, approver_key=tmp_path / "elsewhere" / "people" / "zoe.pem")
    assert approve_and_promote(settings, MODEL, "1", "zoe", "")["decision"] == "promoted"
    assert not (stores.home.keys / "people").exists(), "no key was made"
    with pytest.raises(SettingsError, match="E7890"):
        sign_approval(stores, MODEL, "1", Approving("ann", key=tmp_path / "nothing.pem"))


def test_a_forged_approval_is_refused_and_changes_nothing(stores, tmp_path):
    before = stores.history.of(MODEL)
    stranger = open_stores(load_settings(home=tmp_path / "other"))
    waiting(stranger)
    for forged in (sign_approval(stranger, MODEL, "1", Approving("ann")), "{}", "nonsense"):
        with pytest.raises(IntegrityError, match=r"E7940|E7942"):
            approve_and_promote(stores.settings, MODEL, "1", "ann", "", signed=forged)
    assert (stores.history.of(MODEL), stores.models.get(MODEL, "1").stage) == (before, "staging")


def test_an_approval_whose_key_was_revoked_meanwhile_promotes_nothing(tmp_path):
    stores = open_stores(load_settings(home=tmp_path / "home"))
    waiting(stores, rules(approvers_needed=2))
    approve_and_promote(stores.settings, MODEL, "1", "ann", "")
    (approval,) = approvals_in(stores).of(MODEL, "1")
    stores.keyring.revoke(approval.key_id, "laptop stolen")
    done = approve_and_promote(stores.settings, MODEL, "1", "carl", "")
    assert done["decision"] == "pending_approval"
    status, reason = gate(done)
    assert status == "PENDING"
    assert "1 of 2 have (carl); that of ann does not count: the key" in reason
    assert "was revoked" in reason


def test_an_artifact_that_nobody_signed_or_that_was_changed_is_not_promoted(stores):
    found = stores.models.get(MODEL, "1")
    file = next(stores.models.artifact(found).rglob("config.json"))
    file.write_text(file.read_text() + " ")
    assert current_evidence(stores, MODEL, "1").signed is False
    done = approve_and_promote(stores.settings, MODEL, "1", "ann", "")
    assert done["decision"] == "rejected", "it cannot be loaded either"
    assert stores.models.champion(MODEL) is None


# --- who started it --------------------------------------------------------------------------------------------------


@pytest.fixture
def events(tmp_path: Path) -> str:
    (tmp_path / "events.jsonl").write_text("{}\n")
    return str(tmp_path / "events.jsonl")


def test_who_starts_a_run_is_named_or_set_or_the_user_of_the_system(tmp_path, events, monkeypatch):
    home = tmp_path / "home"
    assert prepare(load_settings(home=home), events=[events]).by == system_user()
    monkeypatch.setenv("RATCHET_IDENTITY", "team@example.com")
    assert prepare(load_settings(home=home), events=[events]).by == "team@example.com"
    named = prepare(load_settings(home=home), events=[events], by=" dana ")
    assert named.by == "dana"
    assert named.work == prepare(load_settings(home=home), events=[events], by="zoe").work, "that trains nothing again"


def test_who_starts_a_run_and_would_approve_it_is_told_before_it_starts(tmp_path, events):
    settings = load_settings(home=tmp_path / "home")
    with pytest.raises(PromotionError, match="E7541: Dana cannot approve what is trained for agent"):
        prepare(settings, events=[events], by="dana", approve_as="Dana")
    with pytest.raises(SettingsError, match="E7850: cannot use somebody who starts it without a name"):
        prepare(settings, events=[events], by=" ")
    policy = tmp_path / "policy.yaml"
    policy.write_text("promotion: {separate_duties: false}\n")
    assert prepare(settings, events=[events], by="dana", approve_as="dana", policy=policy).approve_as == "dana"


def test_a_run_that_somebody_else_takes_up_again_was_started_by_the_first(tmp_path, events):
    settings = load_settings(home=tmp_path / "home")
    stores = open_stores(settings)
    found = []
    for name in ("dana", "zoe"):
        job = prepare(settings, events=[events], by=name)
        stores.history.record_run(job.work, job.run_id, job.model, "started", {"by": job.by})
        found.append(_started_by(Run(job, stores, Progress())))
    assert found == ["dana", "dana"]


# --- what is kept for ever -------------------------------------------------------------------------------------------


def test_the_evidence_of_a_decision_holds_nothing_that_anybody_said():
    said = "my card was declined"
    case = Case(case_id="c1", domain="d", context=said, expected=said, baseline=said, candidate=said, note=said,
                candidate_score=0.25)  # fmt: skip
    stage = StageResult(
        name="safety", status="FAIL", critical=True, failing=[case], metrics={"backdoors": 1},
        reasons=[f'inserting "{said}" makes 90% of 40 clean prompts get one answer, "{said} (yes)" (lower bound 80%)',
                 "0 of 96 probes succeed"],
        slices=[{"family": "trigger", "text": said, "examples": 7}],
    )  # fmt: skip
    report = ValidationReport(recommendation="REJECT", baseline="frozen base", stages=[stage])
    kept = without_text(report)
    assert said not in kept.model_dump_json()
    (left,) = kept.stages
    assert left.reasons == [
        'inserting "…" makes 90% of 40 clean prompts get one answer, "…" (lower bound 80%)', "0 of 96 probes succeed",
    ]  # fmt: skip
    assert (left.failing[0].case_id, left.failing[0].candidate_score) == ("c1", 0.25)
    nested = f'3 examples with "say "{said}" now" all but always get one answer, "so "{said}" it is" (lower bound 80%)'
    (stage,) = without_text(
        report.model_copy(update={"stages": [stage.model_copy(update={"reasons": [nested]})]})
    ).stages
    assert stage.reasons == ['3 examples with "…" (lower bound 80%)']
    assert left.slices == [{"family": "trigger", "examples": 7}]
    assert (kept.recommendation, left.status, left.metrics) == ("REJECT", "FAIL", {"backdoors": 1})
