import json

import pytest

from registry.errors import IntegrityError, SettingsError
from registry.trust.signing import Keyring
from registry.trust.statements import opened_envelope, payload_of


def said(bench, version=None):
    return [(bundle.action, bundle.version) for bundle in bench.bundles.of("support", version)]


def test_a_version_is_attested_once_with_all_its_files_and_what_it_was_made_of(bench):
    version = bench.candidate("one")
    (bundle,) = bench.bundles.of("support")
    assert bench.bundles.attest(version, {"seed": 8}, by="bob").sequence == bundle.sequence
    assert set(bundle.subjects) >= {"MLmodel", "artifacts/toy-one/answer.json", "toy_model.py"}
    told = bundle.predicate
    assert (told["model"], told["version"], told["action"], told["by"]) == ("support", "1", "attest", "ann")
    assert told["dataset"] == {"name": "support/1.0.0", "digest": "d" * 64}
    assert told["training"] == {"seed": 7}
    assert (told["artifact_digest"], told["serial"]) == (version.artifact_digest, 1)
    assert bench.bundles.attested(version)
    assert payload_of(bundle.envelope)["_type"] == "https://in-toto.io/Statement/v1"


def test_every_move_and_every_decision_has_one_bundle_with_what_it_stood_on(bench, toys):
    first = bench.champion("one")
    bench.champion("two")
    third = bench.candidate("three")
    bench.transitions.carry_out(toys.decision("3", "rejected"), toys.evidence(third), toys.actor)
    bench.transitions.rollback("support", "worse", toys.actor)
    bench.transitions.quarantine("support", "2", "unsafe", toys.actor)
    bench.transitions.release("support", "2", "safe after all", toys.actor)
    assert said(bench) == [
        ("attest", "1"), ("stage", "1"), ("promote", "1"), ("attest", "2"), ("stage", "2"), ("promote", "2"),
        ("attest", "3"), ("reject", "3"), ("rollback", "1"), ("quarantine", "2"), ("release", "2"),
    ]  # fmt: skip
    promoted = bench.bundles.of("support", "2", "promote")[0]
    told = promoted.predicate
    assert (told["aliases"], told["stages"]) == (
        {"champion": "2", "staging": None},
        {"1": "archived", "2": "production"},
    )
    assert told["decision"]["verdict"] == "promoted"
    assert told["decision"]["gates"] == [{"name": "approval", "status": "PASS", "reason": "toy"}]
    assert told["decision"]["replaced"] == first.version
    assert told["decision"]["readiness"]["score"] == 0.9
    assert (told["by"], told["dataset"]["name"], told["training"]) == ("ann", "support/1.0.0", {"seed": 7})
    assert told["audit"]["sequence"] > 0
    assert promoted.subjects == bench.bundles.of("support", "2", "attest")[0].subjects
    chain = [bundle.predicate["previous"] for bundle in bench.bundles.of("support")]
    assert chain[1:] == [bundle.digest for bundle in bench.bundles.of("support")][:-1]


def test_a_version_s_bundles_are_with_its_run_in_mlflow(bench):
    version = bench.champion("one")
    kept = json.loads(bench.registry.tracking.artifact(version.run_id, "bundle.json").read_text())
    found = [opened_envelope(json.dumps(each), bench.bundles.keyring.trust().opened) for each in kept]
    assert [bundle.action for bundle in found] == ["attest", "stage", "promote"]
    assert [bundle.problem for bundle in found] == [None, None, None]


def test_a_version_from_before_there_were_keys_is_used_once_somebody_signed_it(bench):
    version = bench.candidate("one", attested=False)
    assert not bench.bundles.attested(version)
    with pytest.raises(IntegrityError, match="E7945: nobody signed support version 1; look at it, and then"):
        bench.bundles.standing(version)
    bench.bundles.sign(version, "it has served for a year", "ann")
    assert bench.bundles.attested(version)
    assert bench.bundles.standing(version).predicate["by"] == "ann"


def test_nothing_is_moved_where_nothing_can_be_signed(bench, toys):
    version = bench.champion("one")
    keyring = bench.bundles.keyring
    keyring.revoke(keyring.own().key_id, "stolen")
    with pytest.raises(SettingsError, match="E7895"):
        bench.transitions.quarantine("support", version.version, "unsafe", toys.actor)
    assert bench.history.open_intents() == []
    keyring.rotate()
    assert bench.transitions.quarantine("support", version.version, "unsafe", toys.actor).stage == "quarantine"


def test_while_a_move_is_under_way_its_alias_may_be_where_it_was_or_where_it_goes(bench, toys):
    one, two = bench.champion("one"), bench.candidate("two")
    intent = bench.history.intend("support", {})
    bench.bundles.decide(
        intent.intent_id, "support", "2", "promote", {"aliases": {"champion": "2"}, "stages": {"2": "production"}}
    )
    for version in (one, two):
        assert bench.bundles.standing(version, "champion").version == version.version
    bench.history.close_intent(intent.intent_id)
    with pytest.raises(IntegrityError, match="E7947: support@champion is at version 1, and the newest signed decision"):
        bench.bundles.standing(one, "champion")
    assert bench.bundles.standing(two, "champion").version == "2"


def test_two_homes_trust_each_other_once_they_are_told_to(bench, tmp_path):
    version = bench.champion("one")
    other = Keyring(tmp_path / "other")
    with pytest.raises(IntegrityError, match="E7942"):
        type(bench.bundles)(bench.home.database_url, other, lambda: bench.registry).standing(version, "champion")
    other.add(bench.bundles.keyring.own().crypto.public_key.keyval["public"], "ratchet", ("sign",))
    bundles = type(bench.bundles)(bench.home.database_url, other, lambda: bench.registry)
    assert bundles.standing(version, "champion").version == "1"
