"""Whose approvals count: enough different people, named where names are, none who started the training.

Signatures, keys and expiry were looked at before, where keys and clocks are (`registry.trust.approvals`); what was
found there is in the evidence. Here the policy decides, from the evidence alone.
"""

from __future__ import annotations

from typing import NamedTuple

from registry.errors import PromotionError
from registry.names import person, same_person
from registry.records import ApprovalRecord, Evidence
from tasks.promotion.policy import PromotionPolicy


class Counted(NamedTuple):
    """The approvals of a version, as the policy counts them."""

    by: list[str]
    """Who approved, each person once, in the order of their approvals."""
    others: list[str]
    """Why other approvals do not count, a clause each."""
    needed: int

    @property
    def enough(self) -> bool:
        """Whether as many people as the policy wants have approved."""
        return len(self.by) >= self.needed

    @property
    def missing(self) -> str:
        """What is missing, as a gate says it."""
        if self.needed == 1:
            waits = "waits for a person to approve"
        else:
            so_far = f" ({', '.join(self.by)})" if self.by else ""
            waits = f"waits for people to approve: {len(self.by)} of {self.needed} have{so_far}"
        return "; ".join([waits, *self.others])


def counted(evidence: Evidence, policy: PromotionPolicy) -> Counted:
    """Count the approvals that the evidence holds."""
    by: dict[str, str] = {}
    others: dict[str, str] = {}
    for approval in evidence.approvals:
        reason = _refused(approval, evidence, policy)
        if reason is None:
            by.setdefault(person(approval.by), approval.by.strip())
        else:
            others[person(approval.by)] = f"that of {approval.by.strip() or 'nobody'} does not count: {reason}"
    return Counted(list(by.values()), [why for who, why in others.items() if who not in by], policy.approvers_needed)


def barred(by: str, trained_by: str | None, policy: PromotionPolicy) -> str | None:
    """Say why somebody's approval of what `trained_by` trained cannot count; None where it can."""
    if not person(by):
        return "it has no name"
    if policy.approvers and not any(same_person(by, name) for name in policy.approvers):
        return f"{by.strip()} is not among those who may approve ({', '.join(policy.approvers)})"
    if policy.separate_duties and trained_by is not None and same_person(by, trained_by):
        return f"{by.strip()} started the training, and somebody else must approve"
    return None


def check_may_approve(by: str, trained_by: str | None, policy: PromotionPolicy, what: str) -> None:
    """Refuse an approval that the policy would not count.

    Raises:
        PromotionError: E7541.
    """
    why = barred(by, trained_by, policy)
    if why is not None:
        raise PromotionError(
            "E7541",
            f"{by} cannot approve {what}: {why}",
            "let somebody else approve; promotion.approvers and promotion.separate_duties in the policy say who may",
        )


def _refused(approval: ApprovalRecord, evidence: Evidence, policy: PromotionPolicy) -> str | None:
    if approval.refused is not None:
        return approval.refused
    if approval.key_id is None:
        return "it is not signed; approve again"
    if (approval.artifact_digest, approval.report_digest) != (evidence.artifact_digest, evidence.report_digest):
        return "it is for another artifact or another report"
    return barred(approval.by, evidence.trained_by, policy)
