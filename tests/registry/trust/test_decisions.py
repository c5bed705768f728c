"""A decision counts as its installation signed it, with its evidence, and where it was recorded first."""

import json

import pytest

from registry.audit.log import AuditLog
from registry.errors import IntegrityError
from registry.history import History
from registry.records import Decision, Evidence, GateResult
from registry.trust.decisions import counting, digest_of_evidence, opened_decision, sealed
from registry.trust.signing import Keyring

EVIDENCE = Evidence(
    model="agent", version="4", stage="staging", training_state="COMPLETED", artifact_present=True,
    artifact_loadable=True, artifact_digest="a", signed=True, metrics_recorded=True, strategy="full_retrain",
    report_digest="r", report=None, readiness=None, trained_by="bob",
)  # fmt: skip
DECISION = Decision(
    model="agent", version="4", verdict="pending_approval", target="staging", reason="waits",
    gates=[GateResult(name="human approval", status="PENDING", reason="waits")],
    evidence_digest=digest_of_evidence(EVIDENCE.model_dump(mode="json")),
)  # fmt: skip


@pytest.fixture
def home(tmp_path):
    history = History(f"sqlite:///{tmp_path}/ratchet.db")
    yield history, AuditLog(history.url), Keyring(tmp_path / "keys")
    history.close()


def recorded(home):
    _, audit, keyring = home
    return counting(audit.records(kind="decision"), keyring.trust())


def test_a_sealed_decision_counts_and_is_kept_once(home):
    made = sealed(home[2].own(), DECISION)
    for _ in range(2):
        home[0].record_decision(made, EVIDENCE)
    assert recorded(home) == [(made, EVIDENCE)]
    assert len(home[0].decisions("agent")) == 1
    body = {"decision": made.model_dump(mode="json"), "evidence": EVIDENCE.model_dump(mode="json")}
    assert opened_decision(home[2].trust(), body).identity == "ratchet"


@pytest.mark.parametrize(
    ("part", "changes"),
    [("decision", {"verdict": "promoted"}), ("decision", {"version": "5"}), ("decision", {"policy": {}, "reason": ""}),
     ("decision", {"seal": ""}), ("decision", {"seal": "{"}), ("evidence", {"trained_by": "ann"})],
)  # fmt: skip
def test_what_was_changed_after_it_was_sealed_does_not_count(home, part, changes):
    made = sealed(home[2].own(), DECISION)
    body = {"decision": made.model_dump(mode="json"), "evidence": EVIDENCE.model_dump(mode="json")}
    body[part] |= changes
    with pytest.raises(IntegrityError, match="E7972: the decision"):
        opened_decision(home[2].trust(), body)
    home[0].note("decision", "agent", body, version=str(body["decision"]["version"]))
    assert recorded(home) == []


def test_a_seal_counts_once_for_its_own_version_and_not_after_its_key_was_revoked(home):
    made = sealed(home[2].own(), DECISION)
    later = sealed(home[2].own(), DECISION.model_copy(update={"verdict": "rejected"}))
    for each in (made, later):
        home[0].record_decision(each, EVIDENCE)
    body = {"decision": made.model_dump(mode="json"), "evidence": EVIDENCE.model_dump(mode="json")}
    home[0].note("decision", "agent", body, version="4")
    home[0].note("decision", "agent", body, version="5")
    for nonsense in ({}, {"decision": 5}, {"decision": made.model_dump(mode="json")}):
        home[0].note("decision", "agent", json.loads(json.dumps(nonsense)), version="4")
    assert [decision.verdict for decision, _ in recorded(home)] == ["pending_approval", "rejected"]
    home[2].revoke(home[2].own().key_id, "stolen")
    assert recorded(home) == []
