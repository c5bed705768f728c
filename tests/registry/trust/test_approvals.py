"""Approvals: whatever is done to one, it counts only as its own approver signed it."""

import base64
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from registry.errors import IntegrityError, PromotionError, SettingsError
from registry.history import History
from registry.trust.approvals import Approvals, signed
from registry.trust.signing import Keyring
from registry.trust.statements import PAYLOAD_TYPE


@pytest.fixture
def approvals(tmp_path):
    history = History(f"sqlite:///{tmp_path}/ratchet.db")
    history.append("agent", "1", "stage", before="development", after="staging", by="ratchet")
    yield Approvals(history, Keyring(tmp_path / "keys"))
    history.close()


def asked(approvals, version="1", artifact="a" * 64, report="r" * 64):
    return approvals.asked("agent", version, artifact, report)


def given(approvals, by="ann", days=30.0, note="", **about):
    return signed(approvals.keyring.person(by), asked(approvals, **about), note, days)


def kept(approvals, by="ann", **more):
    return approvals.record(given(approvals, by, **more))


def refusals(approvals):
    return [(approval.by, approval.refused) for approval in approvals.of("agent", "1")]


def forged(envelope, **changes):
    """Change what an envelope says, and keep its signature."""
    body = json.loads(envelope)
    statement = json.loads(base64.b64decode(body["payload"]))
    statement["predicate"] |= changes
    body["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(body)


def test_an_approval_is_kept_with_who_signed_it_and_what_it_is_about(approvals):
    made = kept(approvals, note="read the report")
    assert (made.by, made.note, made.refused) == ("ann", "read the report", None)
    assert (made.artifact_digest, made.report_digest) == ("a" * 64, "r" * 64)
    assert made.key_id == approvals.keyring.person("ann").key_id
    assert approvals.of("agent", "1") == [made]
    assert approvals.of("agent", "2") == []
    line = approvals.history.of("agent", "1")[-1]
    assert (line.action, line.by, line.reason, line.after) == ("approve", "ann", "read the report", "staging")


def test_the_same_approval_is_kept_once(approvals):
    envelope = given(approvals)
    assert approvals.record(envelope) == approvals.record(envelope)
    assert len(approvals.of("agent", "1")) == 1
    assert [line.action for line in approvals.history.of("agent", "1")] == ["stage", "approve"]


@pytest.mark.parametrize(
    "changes",
    [{"by": "bob"}, {"artifact_digest": "b" * 64}, {"report_digest": None}, {"expires": "2999-01-01T00:00:00+00:00"},
     {"version": "2"}, {"round": 7}],
)  # fmt: skip
def test_what_was_changed_after_it_was_signed_is_not_read(approvals, changes):
    with pytest.raises(IntegrityError, match="E7941"):
        approvals.read(forged(given(approvals), **changes), asked(approvals), 30.0)


def test_an_approval_of_something_else_is_not_taken(approvals):
    envelope = given(approvals)
    for other in (
        asked(approvals, version="2"), asked(approvals, artifact="b" * 64), asked(approvals, report="s" * 64),
        asked(approvals).model_copy(update={"model": "another"}),
    ):  # fmt: skip
        with pytest.raises(PromotionError, match="E7543: it approves agent/1 as it was examined then"):
            approvals.read(envelope, other, 30.0)
    assert approvals.read(envelope, asked(approvals), 30.0).by == "ann"


def test_nobody_can_sign_in_the_name_of_another(approvals):
    ann = approvals.keyring.person("ann")
    with pytest.raises(PromotionError, match="E7545: ann signed an approval in the name of bob"):
        approvals.read(signed(ann._replace(identity="bob"), asked(approvals), "", 30.0), asked(approvals), 30.0)
    own = approvals.keyring.own()  # the installation decides, and approves nothing
    with pytest.raises(IntegrityError, match="E7942"):
        approvals.read(signed(own, asked(approvals), "", 30.0), asked(approvals), 30.0)


def test_a_signed_statement_of_another_kind_is_no_approval(approvals):
    ann = approvals.keyring.person("ann")
    statement = json.loads(base64.b64decode(json.loads(given(approvals))["payload"]))
    for changed in (
        {}, statement | {"predicateType": "urn:ratchet:decision:v1"}, statement | {"subject": []},
        statement | {"extra": 1}, statement | {"predicate": []},
    ):  # fmt: skip
        with pytest.raises(PromotionError, match="E7545: what was signed is no approval"):
            approvals.read(ann.sign(changed, PAYLOAD_TYPE), asked(approvals), 30.0)
    for nonsense in ("", "{}", "[]", "5", "null", '{"payload": 5}', "[" * 10_000):
        with pytest.raises(IntegrityError, match="E7940"):
            approvals.read(nonsense, asked(approvals), 30.0)


def test_a_stranger_s_key_does_not_count_for_a_name_that_is_taken(approvals, tmp_path):
    kept(approvals)
    stranger = Keyring(tmp_path / "elsewhere")
    envelope = signed(stranger.person("ann"), asked(approvals), "", 30.0)
    with pytest.raises(IntegrityError, match="E7942"):
        approvals.record(envelope)
    with pytest.raises(SettingsError, match="E7891"):
        approvals.keyring.person("ann", tmp_path / "elsewhere" / "people" / "ann.pem")


def test_a_revoked_key_s_approvals_count_no_more(approvals):
    made = kept(approvals)
    kept(approvals, "bob")
    approvals.keyring.revoke(made.key_id, "stolen")
    (ann, why), (bob, fine) = refusals(approvals)
    assert (ann, bob, fine) == ("ann", "bob", None)
    assert "was revoked" in why


def test_an_approval_expires(approvals):
    kept(approvals, days=-1.0)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert refusals(approvals) == [("ann", f"it expired on {yesterday}")]
    with pytest.raises(PromotionError, match="E7544: the approval of ann cannot count: it expired"):
        approvals.read(given(approvals, days=-1.0), asked(approvals), 30.0)
    with pytest.raises(PromotionError, match=r"E7544: .* longer than 30 days"):
        approvals.read(given(approvals, days=31.0), asked(approvals), 30.0)


def test_what_was_approved_before_a_quarantine_is_forgotten_whatever_its_time_says(approvals):
    kept(approvals)
    approvals.history.append("agent", "1", "quarantine", before="staging", after="quarantine", by="ratchet")
    approvals.history.append("agent", "1", "release", before="quarantine", after="development", by="bob")
    assert approvals.of("agent", "1") == []
    kept(approvals)
    assert refusals(approvals) == [("ann", None)]


def test_an_approval_without_a_signature_says_so_by_having_no_key(approvals):
    approvals.history.approve("agent", "1", "ann", "in the old days")
    assert [(each.by, each.key_id) for each in approvals.of("agent", "1")] == [("ann", None)]
    kept(approvals)
    assert [each.key_id for each in approvals.of("agent", "1")] == [approvals.keyring.person("ann").key_id]


def test_a_row_that_was_moved_or_forged_in_the_database_does_not_count(approvals, tmp_path):
    first = given(approvals)
    rows = [
        ("elsewhere", given(approvals, version="2")), ("renamed", forged(first, by="bob")), ("nonsense", "{"),
    ]  # fmt: skip
    with sqlite3.connect(tmp_path / "ratchet.db") as database:
        for number, (key, envelope) in enumerate(rows, 1):
            database.execute(
                "INSERT INTO bundles (sequence, key, time, model, version, action, digest, envelope) "
                "VALUES (?, ?, 't', 'agent', '1', 'approve', 'd', ?)", (number, key, envelope),
            )  # fmt: skip
    found = refusals(approvals)
    assert [by for by, _ in found] == ["ann", "bob", "somebody"]
    assert found[0][1] == "it is for agent/2"
    assert "is not that of its content" in found[1][1]
    assert "no signed envelope" in found[2][1]
