"""Gates looked at and carried out: at the end of a run, after an approval, and back again.

Plain functions, so that a rollback does not wait for a Prefect server to start; the flows wrap them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from flows.policy import Policy, chosen_file, load_policy
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry import __version__
from registry.errors import PromotionError, RatchetError
from registry.names import same_person
from registry.records import ApprovalRecord, Decision, Evidence, ModelVersion, Trial
from registry.transitions import Actor
from registry.trust import approvals as statements
from registry.trust.approvals import Approvals
from registry.trust.decisions import counting, sealed
from registry.trust.statements import ATTEST
from tasks.promotion import gates
from tasks.promotion.approvals import check_may_approve
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.rules import rules_digest

TRIAL, APPROVAL = "experiment", "human approval"
"""Gates that a version which is tried may still wait for."""


def decide_and_carry_out(
    stores: Stores, evidence: Evidence, policy: Policy, actor: Actor
) -> tuple[Decision, ModelVersion]:
    """Decide from evidence, then do what the decision says; return it and the version as it is then."""
    made_by = {"code_version": __version__, "rules": rules_digest()}
    decision = gates.decide(evidence, policy.promotion).model_copy(update=made_by)
    decision = sealed(stores.keyring.own(), decision)
    return decision, stores.transitions.carry_out(decision, evidence, actor)


class Approving(NamedTuple):
    """An approval as somebody gives it."""

    by: str
    note: str = ""
    key: Path | None = None
    """File of the private key that signs it; the setting's, else the one of this name in the home."""
    signed: str | None = None
    """The approval itself, where it was signed elsewhere (`sign_approval`)."""


def approve_and_promote(
    settings: Settings,
    model: str,
    version: str,
    by: str,
    note: str,
    key: Path | None = None,
    signed: str | None = None,
) -> dict[str, Any]:
    """Record an approval, look at all gates again, and promote the version if they pass.

    Raises:
        PromotionError: E7522 no such version, E7524 not in staging, E7541 to E7545 the approval cannot count, E7560
            nothing was decided about it yet, E7566 it was examined against another version than the one that serves.
        SettingsError: E789x the key cannot be used, or not in this name.
        IntegrityError: E794x what was signed elsewhere does not count.
    """
    stores = open_stores(settings)
    given = Approving(_name(by), note, key, signed)
    stores.transitions.recover(model)
    check_compared(stores, model, version)
    record_approval(stores, model, version, given)
    decision, after = decide_and_carry_out(
        stores, current_evidence(stores, model, version), policy_of(stores, model, version), Actor(given.by)
    )
    return {
        "model": model,
        "version": version,
        "decision": decision.verdict,
        "reason": decision.reason,
        "gates": [gate.model_dump() for gate in decision.gates],
        "stage": after.stage,
        "aliases": after.aliases,
        "replaced": decision.replaced,
    }


def record_approval(stores: Stores, model: str, version: str, given: Approving) -> ApprovalRecord:
    """Record somebody's signed approval of a version in staging; the gates are not looked at."""
    approvals = approvals_in(stores)

    def record() -> ApprovalRecord:
        evidence, rules = _last_evidence(stores, model, version), policy_of(stores, model, version).promotion
        envelope = given.signed or sign_approval(stores, model, version, given)
        asked = approvals.asked(model, version, evidence.artifact_digest, evidence.report_digest)
        approval = approvals.read(envelope, asked, rules.approval_days)
        if not same_person(approval.by, given.by):
            raise PromotionError(
                "E7543", f"the approval is that of {approval.by}, not of {given.by}", "name who signed it with --by"
            )
        for started in trainers(stores, model, version, evidence):
            check_may_approve(approval.by, started, rules, f"{model}/{version}")
        if rules.approvers:
            stores.keyring.check_vouched(approvals.key_of(envelope), approval.by)
        return approvals.record(envelope)

    return stores.transitions.approve(model, version, record)


def sign_approval(stores: Stores, model: str, version: str, given: Approving) -> str:
    """Return the envelope of an approval, signed with its approver's key; nothing is recorded.

    Raises:
        PromotionError: E7522 no such version, E7541 the policy does not let them approve, E7560 nothing was decided
            about the version yet.
        SettingsError: E789x the key cannot be used, or not in this name.
    """
    stores.models.get(model, version)
    evidence, rules = _last_evidence(stores, model, version), policy_of(stores, model, version).promotion
    for started in trainers(stores, model, version, evidence):
        check_may_approve(given.by, started, rules, f"{model}/{version}")
    asked = approvals_in(stores).asked(model, version, evidence.artifact_digest, evidence.report_digest)
    key = given.key or stores.settings.approver_key
    signer = stores.keyring.person(given.by, key, first_use=not rules.approvers)
    return statements.signed(signer, asked, given.note, rules.approval_days)


def approvals_in(stores: Stores) -> Approvals:
    """Return the approvals of a home."""
    return Approvals(stores.history, stores.keyring)


def check_compared(stores: Stores, model: str, version: str) -> None:
    """Refuse a version that waits, once another one serves than the one that it was examined against."""
    found, champion = stores.models.get(model, version), stores.models.champion(model)
    decisions = decisions_of(stores, model, version)
    if found.stage != "staging" or champion is None or champion.version == version or not decisions:
        return
    report = decisions[-1][1].report
    if report is not None and report.baseline != f"{model}/{champion.version}":
        raise PromotionError(
            "E7566",
            f"{model}/{version} was examined against {report.baseline}, but {model}/{champion.version} serves now",
            "run `ratchet learn` on its events again: the new version is compared with the one that serves",
        )


def current_evidence(stores: Stores, model: str, version: str) -> Evidence:
    """Return the evidence that the last decision stood on, with what may have changed since looked at again."""
    recorded = _last_evidence(stores, model, version)
    found = stores.models.get(model, version)
    champion = stores.models.champion(model)
    return recorded.model_copy(
        update={
            "stage": found.stage,
            "artifact_loadable": loadable(stores, found),
            "signed": stores.bundles.attested(found),
            "tainted": _tainted(stores, found),
            "approvals": approvals_in(stores).of(model, version),
            "trial": trial_of(stores, model, version, recorded.trial),
            "champion": champion.version if champion is not None else None,
        }
    )


def decisions_of(stores: Stores, model: str, version: str | None = None) -> list[tuple[Decision, Evidence]]:
    """Return the decisions about a model, or one version of it, whose signature counts, oldest first."""
    records = stores.audit.records(kind="decision", model=model)
    return counting((each for each in records if version in {None, each.version}), stores.keyring.trust())


def trainers(stores: Stores, model: str, version: str, evidence: Evidence) -> list[str | None]:
    """Return who started the training of a version: as the last decision has it, and as it was first attested."""
    bundles = stores.bundles.of(model, version)
    first = next((each for each in bundles if each.action == ATTEST and each.problem is None), None)
    return [evidence.trained_by, str(first.predicate["by"])] if first is not None else [evidence.trained_by]


def _last_evidence(stores: Stores, model: str, version: str) -> Evidence:
    decisions = decisions_of(stores, model, version)
    if decisions:
        return decisions[-1][1]
    if stores.history.decisions(model, version):
        raise PromotionError(
            "E7560",
            f"no decision about {model} version {version} counts: none has a signature that does",
            "see `ratchet audit verify`; learn it anew, with another --seed, and a new version is decided about",
        )
    raise PromotionError(
        "E7560",
        f"nothing was decided about {model} version {version} yet",
        "let `ratchet learn` finish: it examines the version first",
    )


def _tainted(stores: Stores, version: ModelVersion) -> str | None:
    """Return what was erased of what a version learned, where the policy lets no such version be promoted."""
    from registry.erasure.plan import tainted

    file = chosen_file(None, stores.settings)
    policy = load_policy(file) if file is not None else policy_of(stores, version.name, version.version)
    return tainted(stores.models.connection, version) if policy.erasure.tainted == "block" else None


def trial_of(stores: Stores, model: str, version: str, recorded: Trial | None) -> Trial | None:
    """Return how the newest experiment with a version as challenger went; what was `recorded` where there was none."""
    for experiment in reversed(stores.experiments.all(model)):
        if version in {arm.version for arm in experiment.arms[1:]} and experiment.mode == "live":
            status, result = experiment.state, stores.experiments.result(experiment.key) or {}
            if status == "won" and result.get("winner", version) != version:
                status = "lost"  # another arm won
            return Trial(
                status=status,
                experiment=experiment.key,
                reason=experiment.reason,
                result_digest=experiment.result_digest,
            )
    return recorded


def not_tried_because(decision: Decision, evidence: Evidence) -> str | None:
    """Say why a version is not put before live users by itself; None where it may be.

    It may where live traffic is all that is still asked, besides a person's yes. It may not where a gate to production
    fails, or where the examination left something open that a person must decide and nobody has.
    """
    if decision.verdict != "pending_approval":
        return f"version {decision.version} is {decision.verdict} and not tried: {decision.reason}"
    waiting = [gate.name for gate in decision.gates if gate.status == "PENDING"]
    recommendation = evidence.report.recommendation if evidence.report else None
    approved = APPROVAL not in waiting
    if (approved or recommendation == "DEPLOY") and {*waiting} <= {TRIAL, APPROVAL}:
        return None
    left = [name for name in waiting if name not in {TRIAL, APPROVAL}]
    why = f"validation recommends {recommendation}" + (f", and {', '.join(left)} waits" if left else "")
    return (
        f"version {decision.version} is not tried on live users before a person has looked at it: {why}; "
        f"`ratchet approve {decision.model} {decision.version} --by NAME` lets the next check try it"
    )


def loadable(stores: Stores, version: ModelVersion) -> bool:
    """Tell whether a version's artifact is there, whole, and answers."""
    from tasks.training.backend import load_trained

    try:
        predictor = load_trained(stores.models.artifact(version))
        predictor.answer([[{"role": "user", "content": "hello"}]])
    except RatchetError:
        return False
    return True


def policy_of(stores: Stores, model: str, version: str) -> Policy:
    """Return the policy that the version was trained under: an approval is decided by the rules that were known.

    What promotes is taken from the last decision, in the audit log: whoever may write to MLflow may not relax it there.
    """
    import json

    path = stores.models.tracking.artifact(stores.models.get(model, version).run_id, "policy.json")
    policy = Policy.model_validate(json.loads(path.read_text(encoding="utf-8")))
    decisions = decisions_of(stores, model, version)
    if not decisions or not decisions[-1][0].policy:
        return policy
    return policy.model_copy(update={"promotion": PromotionPolicy.model_validate(decisions[-1][0].policy)})


def restore_champion(settings: Settings, model: str, by: str, reason: str, to: str | None) -> dict[str, Any]:
    """Make the previous champion, or the earlier one `to`, the champion again."""
    stores = open_stores(settings)
    before = stores.models.champion(model)
    after = stores.transitions.rollback(model, _reason(reason), Actor(_name(by)), to)
    return {
        "model": model,
        "version": after.version,
        "replaced": before.version if before is not None else None,
        "stage": after.stage,
        "aliases": after.aliases,
    }


def _reason(reason: str) -> str:
    if not reason.strip():
        raise PromotionError("E7565", "a rollback without a reason helps nobody later", "give one with --reason")
    return reason.strip()


def _name(by: str) -> str:
    if not by.strip():
        raise PromotionError("E7561", "somebody without a name cannot do this", "give a name with --by")
    return by.strip()
