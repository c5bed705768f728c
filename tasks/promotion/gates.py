"""The gates: a pure function from recorded evidence to a decision.

Gates are asked in order and always all listed. After the first that fails the rest is BLOCKED, each with what it would
have said, so that a reader sees every obstacle at once. A gate that waits for a person is PENDING; it blocks nothing.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from registry.records import (
    Decision,
    Evidence,
    GateResult,
    GateStatus,
    Stage,
    StageResult,
    Verdict,
    canonical_digest,
)
from tasks.promotion.approvals import Counted, counted
from tasks.promotion.policy import PromotionPolicy


class Said(NamedTuple):
    """What one gate says, before the gates in front of it are looked at."""

    name: str
    status: GateStatus
    reason: str


def decide(evidence: Evidence, policy: PromotionPolicy) -> Decision:
    """Decide whether a version goes to staging, to production, to quarantine, or nowhere.

    A critical safety failure quarantines the version, whatever else is true. With all gates passed it is promoted. With
    gates that only wait for a person, it stays in staging as `pending_approval`. With a gate to production failed it is
    `staged`; with a gate to staging failed, `rejected`. The same evidence and policy give the same decision, always.
    """
    staging, production = staging_gates(evidence), production_gates(evidence, policy)
    gates = _in_order([*staging, *production])
    verdict, target, reason = _verdict(evidence, gates, len(staging))
    return Decision(
        model=evidence.model,
        version=evidence.version,
        verdict=verdict,
        target=target,
        gates=gates,
        evidence_digest=evidence_digest(evidence),
        replaced=evidence.champion if verdict == "promoted" and evidence.champion != evidence.version else None,
        reason=reason,
        policy=policy.model_dump(mode="json"),
    )


def evidence_digest(evidence: Evidence) -> str:
    """Return the sha256 of the evidence as canonical JSON."""
    return canonical_digest(json.loads(evidence.model_dump_json()))


def staging_gates(evidence: Evidence) -> list[Said]:
    """Return the gates between development and staging."""
    closed = evidence.stage in ("quarantine", "archived")
    recommendation = evidence.report.recommendation if evidence.report else None
    return [
        _gate(
            "stage open to promotion",
            not closed,
            f"the version is in {evidence.stage}",
            _CLOSED.get(evidence.stage, ""),
        ),
        _gate("training complete", evidence.training_state == "COMPLETED", f"training is {evidence.training_state}"),
        _gate(
            "artifact present",
            evidence.artifact_present,
            f"sha256 {evidence.artifact_digest[:12]}" if evidence.artifact_present else "the artifact is missing",
        ),
        _gate(
            "artifact loadable",
            evidence.artifact_loadable,
            "it was loaded from the registry"
            if evidence.artifact_loadable
            else "it could not be loaded from the registry",
        ),
        _gate(
            "metrics recorded",
            evidence.metrics_recorded,
            "the run has its metrics" if evidence.metrics_recorded else "the run has no metrics",
        ),
        _gate(
            "recommendation not REJECT",
            recommendation in ("DEPLOY", "REVIEW"),
            f"validation recommends {recommendation}" if recommendation else "the version was not examined",
        ),
    ]


def production_gates(evidence: Evidence, policy: PromotionPolicy) -> list[Said]:
    """Return the gates between staging and production."""
    shadow = evidence.strategy == "shadow"
    people = counted(evidence, policy)
    return [
        _regression(evidence, policy, people),
        _readiness(evidence, policy),
        _safety(evidence, people),
        _performance(evidence),
        _gate(
            "strategy serves",
            not shadow,
            "a shadow model never serves" if shadow else f"{evidence.strategy} is meant to serve",
        ),
        _gate(
            "not tainted",
            evidence.tainted is None,
            evidence.tainted or "nothing that it learned was erased, or the policy lets it serve all the same",
            "; train a new version without it",
        ),
        _trial(evidence, people),
        _signature(evidence, policy),
        _approval(evidence, policy, people),
    ]


# --- single gates --------------------------------------------------------------------------------------------------

_CLOSED = {
    "quarantine": "; only an explicit release opens it again",
    "archived": "; a rollback brings an archived version back, a promotion does not",
}


def _gate(name: str, passed: bool, reason: str, todo: str = "") -> Said:
    return Said(name, "PASS" if passed else "FAIL", reason if passed else reason + todo)


def _stage(evidence: Evidence, name: str) -> StageResult | None:
    stages = evidence.report.stages if evidence.report else []
    return next((stage for stage in stages if stage.name == name), None)


def _regression(evidence: Evidence, policy: PromotionPolicy, people: Counted) -> Said:
    """The observed rate decides, where there are enough cases; a person, where there are not.

    A person decides, too, where fewer are still right than are needed, but at least half as many others became right
    that were wrong, and the balance can be chance: an equally good model that learned from others looks like that.
    """
    name = "regression"
    stage = _stage(evidence, name)
    if stage is None:
        return Said(name, "FAIL", "the regression stage was not run")
    cases, rate = stage.counts.get("cases", 0), stage.metrics.get("pass_rate")
    if stage.status == "FAIL":
        return Said(name, "FAIL", "; ".join(stage.reasons) or "the regression stage failed")
    if cases < policy.regression_minimum or rate is None:
        what = "regression case" if cases == 1 else "regression cases"
        said = f"only {cases} {what}, {policy.regression_minimum} are needed to judge"
        return _by_person(name, said, people)
    said = f"{float(rate):.1%} of {cases} cases still right, {policy.min_regression:.0%} needed"
    lost, gained, net = stage.counts.get("lost", 0), stage.counts.get("gained", 0), stage.intervals.get("net_gain")
    if float(rate) < policy.min_regression and net is not None and net.high >= 0 and 2 * gained >= lost:
        return _by_person(name, f"{said}; over all cases {lost} are lost and {gained} gained", people)
    return _gate(name, float(rate) >= policy.min_regression, said)


def _readiness(evidence: Evidence, policy: PromotionPolicy) -> Said:
    name = "readiness"
    if evidence.readiness is None:
        return Said(name, "FAIL", "readiness was not measured")
    score = evidence.readiness.score
    return _gate(name, score > policy.min_readiness, f"{score:.3f}, must exceed {policy.min_readiness:.2f}")


def _safety(evidence: Evidence, people: Counted) -> Said:
    name = "no safety regression"
    stage = _stage(evidence, "safety")
    if stage is None:
        return Said(name, "FAIL", "the safety stage was not run")
    said = "; ".join(stage.reasons[:3]) or f"the safety stage says {stage.status}"
    if stage.status == "INCONCLUSIVE":
        return _by_person(name, said, people)
    return _gate(name, stage.status == "PASS", said)


def _performance(evidence: Evidence) -> Said:
    name = "performance not FAIL"
    stage = _stage(evidence, "performance")
    if stage is None:
        return Said(name, "FAIL", "the performance stage was not run")
    return _gate(name, stage.status != "FAIL", "; ".join(stage.reasons) or f"the stage says {stage.status}")


_TRIED: dict[str, GateStatus] = {"running": "PENDING", "won": "PASS", "lost": "FAIL"}


def _trial(evidence: Evidence, people: Counted) -> Said:
    """What live traffic said. Nobody's approval replaces it; who wants to, stops the experiment and then decides."""
    name, trial = "experiment", evidence.trial
    if trial is None:
        return Said(name, "PASS", "no experiment was asked for")
    if trial.status == "awaited":
        return Said(name, "PENDING", "waits for an experiment beside the champion")
    said = f"{trial.experiment} {trial.status}" + (f": {trial.reason}" if trial.reason else "")
    if trial.status == "stopped":
        return _by_person(name, said, people)
    return Said(name, _TRIED[trial.status], said)


def _signature(evidence: Evidence, policy: PromotionPolicy) -> Said:
    name = "artifact signed"
    if evidence.signed:
        return Said(name, "PASS", "the artifact is signed")
    if policy.allow_unsigned:
        return Said(name, "PASS", "unsigned, allowed by policy")
    return Said(name, "PENDING", "waits for a signature")


def _approval(evidence: Evidence, policy: PromotionPolicy, people: Counted) -> Said:
    name = "human approval"
    if people.enough:
        return Said(name, "PASS", f"approved by {', '.join(people.by)}")
    recommendation = evidence.report.recommendation if evidence.report else None
    if policy.approval == "auto" and recommendation == "DEPLOY":
        return Said(name, "PASS", "automatic by policy: validation recommends DEPLOY")
    if policy.approval == "auto":
        return Said(name, "PENDING", f"{people.missing}; validation recommends {recommendation}, not DEPLOY")
    return Said(name, "PENDING", people.missing)


def _by_person(name: str, said: str, people: Counted) -> Said:
    if people.enough:
        return Said(name, "PASS", f"{said}; accepted by {', '.join(people.by)}")
    return Said(name, "PENDING", f"{said}; a person must decide")


# --- all together --------------------------------------------------------------------------------------------------


def _in_order(said: list[Said]) -> list[GateResult]:
    failed: str | None = None
    gates: list[GateResult] = []
    for gate in said:
        if failed is None:
            gates.append(GateResult(name=gate.name, status=gate.status, reason=gate.reason))
        else:
            reason = f'blocked by "{failed}"; it would be {gate.status}: {gate.reason}'
            gates.append(GateResult(name=gate.name, status="BLOCKED", reason=reason))
        if gate.status == "FAIL" and failed is None:
            failed = gate.name
    return gates


def _verdict(evidence: Evidence, gates: list[GateResult], staging: int) -> tuple[Verdict, Stage, str]:
    safety = _stage(evidence, "safety")
    failed = next((gate for gate in gates if gate.status == "FAIL"), None)
    waiting = [gate.name for gate in gates if gate.status == "PENDING"]
    if evidence.stage == "quarantine":
        return "quarantined", "quarantine", "the version is in quarantine; only an explicit release opens it again"
    if safety is not None and safety.status == "FAIL":
        return "quarantined", "quarantine", "critical safety failure: " + "; ".join(safety.reasons[:3])
    if failed is not None and failed in gates[:staging]:
        return "rejected", evidence.stage, f"{failed.name}: {failed.reason}"
    serving: Stage = "production" if evidence.stage == "production" else "staging"
    if failed is not None and failed.name == "experiment":
        return "rejected", "archived", f"{failed.name}: {failed.reason}"
    if failed is not None:
        return "staged", serving, f"{failed.name}: {failed.reason}"
    if waiting:
        return "pending_approval", serving, f"waits for: {', '.join(waiting)}"
    return "promoted", "production", f"all {len(gates)} gates pass"
