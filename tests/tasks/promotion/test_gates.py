"""The gates: every obstacle has its gate, and nothing gets round them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from registry.records import (
    ApprovalRecord,
    Decision,
    Evidence,
    Interval,
    Readiness,
    StageResult,
    Trial,
    ValidationReport,
)
from tasks.promotion.gates import decide, evidence_digest
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.readiness import combine

MANUAL, AUTO = PromotionPolicy(), PromotionPolicy(approval="auto")
STAGING = [
    "stage open to promotion", "training complete", "artifact present", "artifact loadable", "metrics recorded",
    "recommendation not REJECT",
]  # fmt: skip
PRODUCTION = [
    "regression", "readiness", "no safety regression", "performance not FAIL", "strategy serves",
    "not tainted", "experiment",
    "artifact signed", "human approval",
]  # fmt: skip
CRITICAL = ("regression", "performance", "safety")


def approval(by="ann", **changes):
    known = {
        "by": by, "time": "2026-11-20T12:00:00Z", "key_id": "ef" * 32, "expires": "2026-12-20T12:00:00Z",
        "artifact_digest": "ab" * 32, "report_digest": "cd" * 32,
    }  # fmt: skip
    return ApprovalRecord(**(known | changes))


ANN = approval()


def stage(name, status="PASS", cases=200, rate=0.98):
    counts, metrics = ({"cases": cases}, {"pass_rate": rate}) if name == "regression" else ({}, {})
    return StageResult(
        name=name,
        status=status,
        critical=name in CRITICAL,
        counts=counts,
        metrics=metrics,
        reasons=[f"{name} says {status}"],
    )


def evidence(recommendation="DEPLOY", stages=None, **changes):
    given = {name: stage(name) for name in (*CRITICAL, "diversity", "latency")} | (stages or {})
    known = {
        "model": "agent", "version": "4", "stage": "development", "training_state": "COMPLETED",
        "artifact_present": True, "artifact_loadable": True, "artifact_digest": "ab" * 32, "signed": True,
        "metrics_recorded": True, "strategy": "full_retrain", "report_digest": "cd" * 32, "champion": "3",
        "report": ValidationReport(recommendation=recommendation, baseline="agent/3", stages=list(given.values())),
        "readiness": combine(0.98, 0.95, 0.9, 0.9),
    }  # fmt: skip
    return Evidence(**(known | changes))


def statuses(decision: Decision) -> dict[str, str]:
    return {gate.name: gate.status for gate in decision.gates}


def test_all_gates_are_listed_in_order_and_pass():
    decision = decide(evidence(approvals=[ANN]), MANUAL)
    assert [gate.name for gate in decision.gates] == STAGING + PRODUCTION
    assert set(statuses(decision).values()) == {"PASS"}
    assert (decision.verdict, decision.target, decision.replaced) == ("promoted", "production", "3")


def test_without_approval_a_version_waits_in_staging():
    decision = decide(evidence(), MANUAL)
    assert (decision.verdict, decision.target, decision.replaced) == ("pending_approval", "staging", None)
    assert statuses(decision)["human approval"] == "PENDING"
    assert "human approval" in decision.reason


def test_auto_approves_deploy_and_never_review():
    assert decide(evidence(), AUTO).verdict == "promoted"
    review = evidence("REVIEW", {"latency": stage("latency", "FAIL")})
    assert decide(review, AUTO).verdict == "pending_approval"
    assert decide(review.model_copy(update={"approvals": [ANN]}), AUTO).verdict == "promoted"


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"training_state": "FAILED"}, "training complete"),
        ({"artifact_present": False}, "artifact present"),
        ({"artifact_loadable": False}, "artifact loadable"),
        ({"metrics_recorded": False}, "metrics recorded"),
        ({"recommendation": "REJECT"}, "recommendation not REJECT"),
        ({"report": None, "report_digest": None}, "recommendation not REJECT"),
        ({"stage": "archived"}, "stage open to promotion"),
    ],
)
def test_a_failed_gate_to_staging_rejects_and_blocks_the_rest(change, gate):
    decision = decide(evidence(**change, approvals=[ANN]), MANUAL)
    assert decision.verdict == "rejected"
    assert decision.target == change.get("stage", "development")
    found = [g.status for g in decision.gates]
    at = (STAGING + PRODUCTION).index(gate)
    assert found == ["PASS"] * at + ["FAIL"] + ["BLOCKED"] * (len(found) - at - 1)


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"stages": {"regression": stage("regression", "INCONCLUSIVE", rate=0.94)}}, "regression"),
        ({"readiness": combine(0.8, 0.8, 0.8, 0.8)}, "readiness"),  # 0.80 does not exceed 0.80
        ({"readiness": None}, "readiness"),
        ({"strategy": "shadow"}, "strategy serves"),
    ],
)
def test_a_failed_gate_to_production_leaves_the_version_in_staging(change, gate):
    decision = decide(evidence(**change, approvals=[ANN]), MANUAL)
    assert (decision.verdict, decision.target) == ("staged", "staging")
    assert statuses(decision)[gate] == "FAIL"
    assert statuses(decision)["human approval"] in ("BLOCKED", "FAIL")


def test_a_blocked_gate_says_what_it_would_have_said():
    decision = decide(evidence(stages={"regression": stage("regression", rate=0.9)}, readiness=None), MANUAL)
    reasons = {gate.name: gate.reason for gate in decision.gates}
    assert reasons["readiness"] == 'blocked by "regression"; it would be FAIL: readiness was not measured'


def test_a_safety_failure_quarantines_whatever_else_is_true():
    bad = {"safety": stage("safety", "FAIL")}
    for start in ("development", "staging", "production", "archived"):
        decision = decide(evidence("REJECT", bad, stage=start, approvals=[ANN]), AUTO)
        assert (decision.verdict, decision.target) == ("quarantined", "quarantine")


def test_a_quarantined_version_stays_there():
    decision = decide(evidence(stage="quarantine", approvals=[ANN]), AUTO)
    assert (decision.verdict, decision.target) == ("quarantined", "quarantine")
    assert decision.gates[0].status == "FAIL"
    assert len(decision.gates) == len(STAGING + PRODUCTION)


def tried(status: str, **changes) -> Evidence:
    return evidence(trial=Trial(status=status, experiment="agent-4", reason="said so"), stage="staging", **changes)


def test_a_version_that_must_be_tried_first_waits_even_where_approval_is_automatic_or_given():
    for status in ("awaited", "running"):
        for decision in (decide(tried(status), AUTO), decide(tried(status, approvals=[ANN]), MANUAL)):
            assert (decision.verdict, decision.target) == ("pending_approval", "staging")
            assert statuses(decision)["experiment"] == "PENDING"


def test_a_won_experiment_opens_its_gate_and_no_other():
    assert decide(tried("won"), AUTO).verdict == "promoted"
    assert decide(tried("won"), MANUAL).verdict == "pending_approval"
    assert decide(tried("won", approvals=[ANN]), MANUAL).verdict == "promoted"


def test_a_lost_experiment_archives_the_version_whoever_approved_it():
    decision = decide(tried("lost", approvals=[ANN]), AUTO)
    assert (decision.verdict, decision.target) == ("rejected", "archived")
    assert "agent-4 lost: said so" in decision.reason


def test_a_stopped_experiment_leaves_the_decision_to_a_person():
    assert decide(tried("stopped"), AUTO).verdict == "pending_approval"
    assert decide(tried("stopped", approvals=[ANN]), AUTO).verdict == "promoted"


def test_a_first_model_with_few_right_cases_is_promoted_by_a_person_only():
    few = {"regression": stage("regression", "INCONCLUSIVE", cases=7, rate=1.0)}
    first = evidence("REVIEW", few, champion=None)
    decision = decide(first, AUTO)
    assert decision.verdict == "pending_approval"
    assert statuses(decision)["regression"] == "PENDING"
    approved = decide(first.model_copy(update={"approvals": [ANN]}), AUTO)
    assert (approved.verdict, approved.replaced) == ("promoted", None)
    assert "accepted by ann" in {gate.name: gate.reason for gate in approved.gates}["regression"]


def test_an_inconclusive_regression_is_judged_by_what_was_seen():
    seen = {"regression": stage("regression", "INCONCLUSIVE", cases=60, rate=0.95)}
    assert statuses(decide(evidence("REVIEW", seen), MANUAL))["regression"] == "PASS"


@pytest.mark.parametrize(
    ("lost", "gained", "high", "status"),
    [(9, 9, 0.02, "PENDING"), (9, 5, 0.02, "PENDING"), (9, 2, 0.02, "FAIL"), (9, 9, -0.01, "FAIL")],
)
def test_right_cases_that_are_lost_for_as_many_that_are_gained_are_for_a_person(lost, gained, high, status):
    net = Interval(estimate=0.0, low=-0.1, high=high, method="t")
    seen = stage("regression", "INCONCLUSIVE", cases=60, rate=0.85)
    seen = seen.model_copy(
        update={"counts": seen.counts | {"lost": lost, "gained": gained}, "intervals": {"net_gain": net}}
    )
    assert statuses(decide(evidence("REVIEW", {"regression": seen}), MANUAL))["regression"] == status


def test_what_was_erased_of_what_it_learned_keeps_a_version_from_production():
    decision = decide(evidence(tainted="what alice said was erased"), AUTO)
    assert (decision.verdict, statuses(decision)["not tainted"]) == ("staged", "FAIL")


def test_an_unsigned_artifact_waits_for_a_signature_unless_the_policy_allows_it():
    lax = PromotionPolicy(allow_unsigned=True)
    approved = evidence(approvals=[ANN], signed=False)
    assert decide(approved, MANUAL).verdict == "pending_approval"
    assert statuses(decide(approved, MANUAL))["artifact signed"] == "PENDING"
    assert decide(approved.model_copy(update={"signed": True}), MANUAL).verdict == "promoted"
    reasons = {gate.name: gate.reason for gate in decide(approved, lax).gates}
    assert reasons["artifact signed"] == "unsigned, allowed by policy"


def test_an_approval_without_a_name_is_none():
    assert decide(evidence(approvals=[approval("  ")]), MANUAL).verdict == "pending_approval"


def test_the_champion_looked_at_again_replaces_nothing():
    decision = decide(evidence(stage="production", champion="4", approvals=[ANN]), MANUAL)
    assert (decision.verdict, decision.target, decision.replaced) == ("promoted", "production", None)


def test_the_digest_is_of_the_whole_evidence():
    one = evidence()
    assert evidence_digest(one) == evidence_digest(Evidence.model_validate_json(one.model_dump_json()))
    assert evidence_digest(one) != evidence_digest(one.model_copy(update={"version": "5"}))


def test_missing_stages_open_no_gate():
    for name in CRITICAL:
        stages = [stage(other) for other in (*CRITICAL, "diversity", "latency") if other != name]
        report = ValidationReport(recommendation="DEPLOY", baseline="agent/3", stages=stages)
        assert decide(evidence(report=report, approvals=[ANN]), AUTO).verdict == "staged"


any_stage = some.builds(
    stage,
    some.sampled_from(CRITICAL),
    some.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
    some.integers(0, 200),
    some.one_of(some.none(), some.floats(0, 1)),
)
any_report = some.one_of(
    some.none(),
    some.builds(
        lambda recommendation, stages: ValidationReport(recommendation=recommendation, baseline="b", stages=stages),
        some.sampled_from(["DEPLOY", "REVIEW", "REJECT"]),
        some.lists(any_stage, max_size=3, unique_by=lambda s: s.name),
    ),
)
any_evidence = some.builds(
    evidence,
    report=any_report,
    stage=some.sampled_from(["development", "staging", "production", "quarantine", "archived"]),
    training_state=some.sampled_from(["COMPLETED", "FAILED", "TRAINING"]),
    artifact_present=some.booleans(),
    artifact_loadable=some.booleans(),
    metrics_recorded=some.booleans(),
    signed=some.booleans(),
    strategy=some.sampled_from(["full_retrain", "incremental", "shadow", "rollback"]),
    readiness=some.one_of(some.none(), some.builds(combine, *[some.floats(0, 1)] * 4)),
    approvals=some.lists(some.just(ANN), max_size=2),
    champion=some.sampled_from([None, "3", "4"]),
)
any_policy = some.builds(
    PromotionPolicy, approval=some.sampled_from(["manual", "auto"]), allow_unsigned=some.booleans()
)


@settings(max_examples=300, deadline=None)
@given(any_evidence, any_policy)
def test_no_evidence_gets_round_a_gate(given, policy):
    decision = decide(given, policy)
    found = [gate.status for gate in decision.gates]
    assert len(found) == len(STAGING + PRODUCTION)
    assert (decision.verdict == "promoted") == (
        set(found) == {"PASS"} and given.stage not in ("quarantine", "archived")
    )
    stages = {s.name: s for s in (given.report.stages if given.report else [])}
    if given.stage == "quarantine" or ("safety" in stages and stages["safety"].status == "FAIL"):
        assert (decision.verdict, decision.target) == ("quarantined", "quarantine")
    if decision.verdict == "promoted":
        assert given.report.recommendation != "REJECT"
        assert given.strategy != "shadow"
        assert given.approvals or (policy.approval == "auto" and given.report.recommendation == "DEPLOY")
        assert stages["safety"].status != "FAIL"
        assert given.readiness.score > 0.80
    if "FAIL" in found:
        after = found[found.index("FAIL") + 1 :]
        assert set(after) <= {"BLOCKED"}
    else:
        assert "BLOCKED" not in found
    assert decide(given, policy) == decision


def test_an_approval_never_turns_a_no_into_a_yes():
    for recommendation, rate, ready in itertools.product(("DEPLOY", "REVIEW", "REJECT"), (0.9, 0.98), (0.7, 0.9)):
        readiness = Readiness(score=ready, accuracy=ready, confidence=ready, consistency=ready, robustness=ready)
        given = evidence(recommendation, {"regression": stage("regression", rate=rate)}, readiness=readiness)
        before, after = (decide(given.model_copy(update={"approvals": a}), MANUAL).verdict for a in ([], [ANN]))
        assert after == ("promoted" if before == "pending_approval" else before)
