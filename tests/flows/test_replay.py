"""Every decision can be made again from its record, and whoever changed the record is found out."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.promotion import (
    Approving,
    current_evidence,
    decide_and_carry_out,
    decisions_of,
    policy_of,
    record_approval,
)
from flows.replay import ABSENT, difference, replay_decision
from flows.settings import load_settings
from flows.stores import Stores, open_stores
from registry.errors import IntegrityError, PromotionError
from registry.records import Decision, Evidence, canonical_digest
from registry.trust.decisions import sealed
from tests.flows.toy_home import ANN, MODEL, POLICY, evidence, registered, with_champion


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion, two versions that wait, and one that was rejected."""
    home = tmp_path_factory.mktemp("replay") / "home"
    stores = open_stores(load_settings(home=home))
    with_champion(stores)
    bad = registered(stores, "bad")
    numbers = {"latency": math.inf, "share": math.nan}
    given = evidence(bad, "1", training_state="FAILED")
    report = given.report.model_copy(update={"stages": [
        stage.model_copy(update={"metrics": {**stage.metrics, **numbers}}) for stage in given.report.stages
    ]})  # fmt: skip
    decide_and_carry_out(stores, given.model_copy(update={"report": report}), POLICY, ANN)
    return home


@pytest.fixture
def stores(made: Path, tmp_path: Path) -> Stores:
    shutil.copytree(made, tmp_path / "home")
    return open_stores(load_settings(home=tmp_path / "home"))


def decisions(stores: Stores) -> list[Any]:
    return list(stores.audit.records(kind="decision", model=MODEL))


def by_force(stores: Stores, table: str, statement: str, *values: object) -> None:
    """Change what only grows, as somebody does who owns the file."""
    with sqlite3.connect(stores.home.database) as database:
        for what in ("update", "delete"):
            database.execute(f"DROP TRIGGER {table}_refuses_{what}")
        assert database.execute(statement, values).rowcount >= 1


def rewritten(stores: Stores, sequence: int, change: Callable[[dict[str, Any]], None], *, well: bool = True) -> None:
    """Change the body of a decision, with all digests that are not signed put right where it is done `well`."""
    record = next(each for each in decisions(stores) if each.sequence == sequence)
    body = json.loads(record.body)
    change(body)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest() if well else record.digest
    by_force(stores, "audit", "UPDATE audit SET body = ?, digest = ? WHERE sequence = ?", text, digest, sequence)


def test_every_decision_is_made_again_byte_for_byte(stores):
    found = [replay_decision(stores.settings, str(record.sequence)) for record in decisions(stores)]
    verdicts = [(each["version"], each["verdict"]) for each in found]
    assert verdicts == [
        ("1", "pending_approval"), ("1", "promoted"), ("2", "pending_approval"), ("3", "pending_approval"),
        ("4", "rejected"),
    ]  # fmt: skip
    assert {each["signed_by"] for each in found} == {"ratchet"}
    assert {each["key_id"] for each in found} == {stores.keyring.own().key_id}


def test_a_decision_is_named_by_its_version_its_place_or_its_number(stores):
    first, second = decisions(stores)[:2]
    for which, expected in (
        (f"{MODEL}/1", second), (f"{MODEL}/1#2", second), (f"{MODEL}/1#1", first), (f"{MODEL}@champion", second),
        (str(first.sequence), first),
    ):  # fmt: skip
        assert replay_decision(stores.settings, which)["sequence"] == expected.sequence


@pytest.mark.parametrize(
    ("which", "code"),
    [
        (f"{MODEL}/1#3", "E7540"), (f"{MODEL}/1#0", "E7540"), (f"{MODEL}/9", "E7540"), ("nobody/1", "E7540"),
        ("1", "E7540: audit record 1 is no decision"), ("9" * 30, "E7562"), (MODEL, "E7562"), ("", "E7562"),
        (f"{MODEL}/1#x", "E7562"), (f"{MODEL}/1#²", "E7562"), (f"{MODEL}@nobody", "E7522"),
    ],
)  # fmt: skip
def test_what_names_no_decision_is_told(stores, which, code):
    with pytest.raises(PromotionError, match=code):
        replay_decision(stores.settings, which)


def test_after_more_has_happened_the_old_decisions_are_still_the_same(stores):
    record_approval(stores, MODEL, "2", Approving("ann"))
    decide_and_carry_out(stores, current_evidence(stores, MODEL, "2"), POLICY, ANN)
    stores.transitions.rollback(MODEL, "worse", ANN) if stores.models.champion(MODEL).version == "2" else None
    for record in decisions(stores):
        replay_decision(stores.settings, str(record.sequence))


def test_a_body_that_was_edited_is_not_that_of_its_digest(stores):
    number = decisions(stores)[0].sequence
    rewritten(stores, number, lambda body: body["decision"].update(reason="because"), well=False)
    with pytest.raises(IntegrityError, match=f"E7970: decision {number} .* its text is not that of its digest"):
        replay_decision(stores.settings, str(number))


def test_evidence_that_was_edited_is_not_that_of_its_digest(stores):
    number = decisions(stores)[0].sequence
    rewritten(stores, number, lambda body: body["evidence"].update(training_state="FAILED"))
    with pytest.raises(IntegrityError, match=r"E7970: .* its evidence is not that of its digest"):
        replay_decision(stores.settings, str(number))


def test_a_body_that_is_no_decision_is_told(stores):
    number = decisions(stores)[0].sequence
    rewritten(stores, number, lambda body: body.pop("evidence"))
    with pytest.raises(IntegrityError, match=r"E7970: .* cannot be read"):
        replay_decision(stores.settings, str(number))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(verdict="promoted", target="production"), 'target was "production", is "staging"'),
        (lambda d: d["gates"][-1].update(status="PASS"), r'gates\[human approval\].status was "PASS", is "PENDING"'),
        (lambda d: d.update(reason="fine"), 'reason was "fine", is "waits for'),
        (lambda d: d.update(replaced="7"), 'replaced was "7", is null'),
        (
            lambda d: d["policy"].update(approval="auto"),
            r'gates\[human approval\].reason was "waits for a person to approve", is',
        ),
        (lambda d: d.update(surplus=1), "surplus was 1, is nothing"),
    ],
)
def test_a_decision_that_does_not_follow_from_its_evidence_is_told_with_the_first_difference(stores, change, says):
    number = decisions(stores)[0].sequence
    rewritten(stores, number, lambda body: change(body["decision"]))
    with pytest.raises(IntegrityError, match=f"E7971: .* than {number}: {says}"):
        replay_decision(stores.settings, str(number))


def test_evidence_and_decision_that_were_both_rewritten_are_not_what_was_signed(stores):
    """Who can write to the database can make a record that agrees with itself; the key is not in the database."""
    number = decisions(stores)[-1].sequence

    def forge(body: dict[str, Any]) -> None:
        body["evidence"]["model"] = body["decision"]["model"] = MODEL
        body["evidence"]["trained_by"] = "somebody else"
        finite = json.loads(json.dumps(body["evidence"]).replace("Infinity", "null").replace("NaN", "null"))
        body["decision"]["evidence_digest"] = canonical_digest(finite)

    rewritten(stores, number, forge)
    with pytest.raises(IntegrityError, match=r"E7972: .* can be made again, but .* it is not what was signed"):
        replay_decision(stores.settings, str(number))


def test_a_bundle_that_is_gone_or_does_not_count_is_told(stores):
    record = decisions(stores)[-1]
    by_force(stores, "bundles", "DELETE FROM bundles WHERE version = ?", record.version)
    with pytest.raises(IntegrityError, match=r"E7972: .* no bundle is about it"):
        replay_decision(stores.settings, str(record.sequence))
    stores.keyring.revoke(stores.keyring.own().key_id, "stolen")
    with pytest.raises(IntegrityError, match=r"E7972: .* does not count: .* was revoked"):
        replay_decision(stores.settings, str(record.sequence))


def test_what_was_erased_is_told_and_is_no_tampering(stores):
    record = decisions(stores)[0]
    by_force(stores, "audit", "UPDATE audit SET body = ? WHERE sequence = ?", '{"erased":true}', record.sequence)
    with pytest.raises(IntegrityError, match=r"E7973: the evidence of decision .* was erased"):
        replay_decision(stores.settings, str(record.sequence))


def test_a_decision_that_nobody_signed_is_neither_made_again_nor_shown_nor_approved(stores):
    """Whoever can write to the database appends one that fits its chain: it does not count."""
    record = decisions(stores)[2]
    for spoil in (lambda d: d.pop("seal"), lambda d: d.update(seal=""), lambda d: d.update(seal="{}"), lambda d: None):
        body = json.loads(record.body)
        body["evidence"]["trained_by"] = "somebody else"
        body["decision"]["policy"]["separate_duties"] = False
        body["decision"]["evidence_digest"] = canonical_digest(body["evidence"])
        spoil(body["decision"])
        forged = stores.history.note("decision", MODEL, body, version="2")
        with pytest.raises(IntegrityError, match=r"E7972: decision .* can be made again, but"):
            replay_decision(stores.settings, str(forged.sequence))
    assert len(stores.history.decisions(MODEL, "2")) == 5
    assert [evidence.trained_by for _, evidence in decisions_of(stores, MODEL, "2")] == [None]
    assert policy_of(stores, MODEL, "2").promotion.separate_duties


def test_a_signed_decision_that_is_appended_again_stays_where_it_was_first(stores):
    record_approval(stores, MODEL, "2", Approving("ann"))
    evidence = current_evidence(stores, MODEL, "2").model_copy(update={"training_state": "FAILED"})
    assert decide_and_carry_out(stores, evidence, POLICY, ANN)[0].verdict == "rejected"
    stores.history.note("decision", MODEL, json.loads(decisions(stores)[2].body), version="2")
    assert [decision.verdict for decision, _ in decisions_of(stores, MODEL, "2")] == ["pending_approval", "rejected"]


def test_a_decision_by_other_rules_is_told_as_such_with_the_gate_that_was_added(stores):
    """It was made before a gate came in; the record is as it was signed."""
    body = json.loads(decisions(stores)[2].body)
    old = Decision.model_validate(body["decision"]).model_copy(update={"rules": "ab" * 32, "code_version": "0.0.9"})
    old = old.model_copy(update={"gates": [gate for gate in old.gates if gate.name != "not tainted"]})
    signed = sealed(stores.keyring.own(), old)
    stores.history.record_decision(signed, Evidence.model_validate(body["evidence"]))
    with pytest.raises(IntegrityError) as caught:
        replay_decision(stores.settings, f"{MODEL}/2")
    assert "gates[not tainted] was nothing, is {" in str(caught.value)
    assert "other rules decided it: Ratchet 0.0.9 with rules abababababab, and this is" in str(caught.value)


def test_the_first_difference_is_found_in_the_order_of_the_keys():
    assert difference({"a": 1, "b": [1, {"c": 2}]}, {"a": 1, "b": [1, {"c": 3}]}) == ("b[1].c", 2, 3)
    assert difference({"a": None}, {}) == ("a", None, ABSENT)
    assert difference([1], [1, 2]) == ("[1]", ABSENT, 2)
    gates = [{"name": "a", "status": "PASS"}, {"name": "b", "status": "PASS"}]
    assert difference(gates, [gates[0], {"name": "new"}, gates[1]]) == ("[new]", ABSENT, {"name": "new"})
    assert difference(gates, gates[::-1]) == ("[0]", "a", "b")


def test_of_two_long_values_the_part_where_they_differ_is_shown(stores):
    number = decisions(stores)[0].sequence
    rewritten(stores, number, lambda body: body["decision"].update(reason=body["decision"]["reason"] + "x" * 400 + "y"))
    with pytest.raises(
        IntegrityError, match=r"reason was .*…, is .*the record was changed: .*it is not what was signed"
    ):
        replay_decision(stores.settings, str(number))
