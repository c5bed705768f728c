"""Whose approvals count: enough different people, none who trained it, of this artifact and this report."""

import pytest

from registry.errors import PromotionError
from registry.records import ApprovalRecord, Evidence
from tasks.promotion.approvals import barred, check_may_approve, counted
from tasks.promotion.policy import PromotionPolicy

ONE, TWO = PromotionPolicy(), PromotionPolicy(approvers_needed=2)


def approval(by, **changes):
    known = {"by": by, "time": "2026-11-20T12:00:00Z", "key_id": "ef", "artifact_digest": "a", "report_digest": "r"}
    return ApprovalRecord(**(known | changes))


def evidence(*approvals, trained_by="bob"):
    return Evidence(
        model="agent", version="4", stage="staging", training_state="COMPLETED", artifact_present=True,
        artifact_loadable=True, artifact_digest="a", signed=True, metrics_recorded=True, strategy="full_retrain",
        report_digest="r", report=None, readiness=None, approvals=list(approvals), trained_by=trained_by,
    )  # fmt: skip


def test_one_person_is_enough_where_one_is_needed():
    found = counted(evidence(approval("ann")), ONE)
    assert (found.by, found.others, found.enough) == (["ann"], [], True)


def test_two_of_many_are_needed_and_the_same_person_counts_once():
    twice = counted(evidence(approval("ann"), approval("Ann "), approval("ＡＮＮ")), TWO)
    assert (twice.by, twice.enough) == (["ann"], False)
    assert twice.missing == "waits for people to approve: 1 of 2 have (ann)"
    both = counted(evidence(approval("ann"), approval("carl"), approval("ann")), TWO)
    assert (both.by, both.enough) == (["ann", "carl"], True)


def test_who_started_the_training_does_not_count_unless_the_policy_lets_them():
    given = evidence(approval("BOB"), trained_by="bob")
    found = counted(given, ONE)
    assert not found.enough
    assert found.missing == (
        "waits for a person to approve; that of BOB does not count: "
        "BOB started the training, and somebody else must approve"
    )
    assert counted(given, PromotionPolicy(separate_duties=False)).enough
    assert counted(given.model_copy(update={"trained_by": None}), ONE).enough


def test_only_those_whom_the_policy_names_count():
    named = PromotionPolicy(approvers=("ann", "carl"))
    assert counted(evidence(approval("Carl")), named).enough
    found = counted(evidence(approval("dana")), named)
    assert not found.enough
    assert found.others == ["that of dana does not count: dana is not among those who may approve (ann, carl)"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key_id": None}, "it is not signed"),
        ({"artifact_digest": "b"}, "another artifact"),
        ({"report_digest": "s"}, "another report"),
        ({"report_digest": None}, "another report"),
        ({"refused": "it expired on 2026-11-19"}, "it expired on 2026-11-19"),
    ],
)
def test_an_approval_of_something_else_or_without_a_good_signature_does_not_count(changes, why):
    found = counted(evidence(approval("ann", **changes)), ONE)
    assert not found.enough
    assert why in found.others[0]


def test_a_good_approval_beside_a_bad_one_of_the_same_person_counts():
    found = counted(evidence(approval("ann", refused="it expired"), approval("ann")), ONE)
    assert (found.by, found.others) == (["ann"], [])


def test_who_may_not_approve_is_told_before_anything_is_signed():
    check_may_approve("ann", "bob", ONE, "agent/4")
    with pytest.raises(PromotionError, match=r"E7541: bob cannot approve agent/4: bob started the training"):
        check_may_approve("bob", "bob", ONE, "agent/4")
    assert barred("  ", None, ONE) == "it has no name"


@pytest.mark.parametrize("spelling", ["BOB", " bob", "bоb", "bo\u200bb", "boḃ", "ｂｏｂ"])
def test_no_spelling_of_a_name_is_another_person(spelling):
    assert barred(spelling, "bob", ONE) == f"{spelling.strip()} started the training, and somebody else must approve"
    twice = counted(evidence(approval("bob"), approval(spelling), trained_by="ann"), TWO)
    assert (twice.by, twice.enough) == (["bob"], False)
