"""Approvals: statements that people sign with their own keys, kept for ever.

An approval says: this person approves this artifact, after this report, until then. It is an in-toto Statement in a
DSSE envelope, in the table `bundles` with the action `approve`, and a line of the version's history. It counts only
while its signature is that of a key which is trusted to approve in this name; what it must be about, and how many are
needed, the gates decide (`tasks.promotion.approvals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pydantic
import sqlalchemy as sa

from registry import database
from registry.errors import PromotionError, RatchetError
from registry.history import History
from registry.home import now
from registry.names import person, same_person
from registry.records import ApprovalRecord, Record, StageChange
from registry.trust.envelopes import Signer, Trust
from registry.trust.signing import Keyring
from registry.trust.statements import APPROVE, PAYLOAD_TYPE, STATEMENT, digest_of, payload_of

PREDICATE = "urn:ratchet:approval:v1"
EARLIER = "the version was quarantined or released since"


class Asked(Record):
    """What somebody is asked to approve."""

    model: str
    version: str
    artifact_digest: str
    report_digest: str | None
    round: int
    """How often the version was quarantined or released before. What was approved before that does not count."""


class Approval(Asked):
    """The predicate of a signed approval."""

    by: str
    time: str
    expires: str
    note: str = ""


def signed(signer: Signer, asked: Asked, note: str, days: float) -> str:
    """Return the envelope in which the holder of a key approves what is asked, for `days` days from now."""
    moment = datetime.now(UTC)
    approval = Approval(
        **asked.model_dump(),
        by=signer.identity,
        time=moment.isoformat(timespec="microseconds"),
        expires=(moment + timedelta(days=days)).isoformat(timespec="seconds"),
        note=note,
    )
    return signer.sign(_statement(approval), PAYLOAD_TYPE)


class Approvals:
    """The approvals of a home, or of a database server.

    Args:
        history: Where the lines go; the envelopes go to the same database.
        keyring: Whose signatures count.
    """

    def __init__(self, history: History, keyring: Keyring) -> None:
        self.history, self.keyring = history, keyring
        self._engine = database.connect(history.url)

    def asked(self, model: str, version: str, artifact_digest: str, report_digest: str | None) -> Asked:
        """Return what somebody is asked to approve now."""
        return Asked(
            model=model,
            version=version,
            artifact_digest=artifact_digest,
            report_digest=report_digest,
            round=rounds(self.history.of(model, version)),
        )

    def read(self, envelope: str, asked: Asked, days: float) -> Approval:
        """Return a signed approval of what is asked, which is valid for `days` days at most.

        Raises:
            IntegrityError: E7940 to E7943 it is not signed as it must be.
            PromotionError: E7543 it approves something else, E7544 it has expired, or is valid for too long, E7545 it
                is no approval of its signer.
        """
        approval = _opened(envelope, self.keyring.trust()).approval
        if Asked(**approval.model_dump(include=set(Asked.model_fields))) != asked:
            raise PromotionError(
                "E7543",
                f"it approves {approval.model}/{approval.version} as it was examined then, "
                f"not {asked.model}/{asked.version} as it was examined now",
                "read the newest report, and approve again",
            )
        if (why := _expired(approval)) is not None:
            raise PromotionError("E7544", f"the approval of {approval.by} cannot count: {why}", "approve again")
        if datetime.fromisoformat(approval.expires) > datetime.now(UTC) + timedelta(days=days, hours=1):
            raise PromotionError(
                "E7544",
                f"the approval of {approval.by} is valid until {approval.expires[:10]}, longer than {days:g} days",
                "approve again, for as long as promotion.approval_days in the policy allows",
            )
        return approval

    def key_of(self, envelope: str) -> str:
        """Return the id of the key that signed an approval which `read` accepted."""
        return _opened(envelope, self.keyring.trust()).key_id

    def record(self, envelope: str) -> ApprovalRecord:
        """Keep an approval that `read` accepted; the same one is kept once.

        Raises:
            IntegrityError: E7940 to E7943 it is not signed as it must be.
            PromotionError: E7545 it is no approval of its signer.
        """
        digest = digest_of(envelope)
        approval, key = _opened(envelope, self.keyring.trust()).approval, f"{APPROVE}:{digest}"
        values = {
            "time": now(), "model": approval.model, "version": approval.version, "action": APPROVE,
            "digest": digest, "envelope": envelope,
        }  # fmt: skip
        database.append(self._engine, database.bundles, key, values)
        self.history.approve(approval.model, approval.version, approval.by, approval.note, key=key)
        return next(
            each for each in reversed(self.of(approval.model, approval.version)) if same_person(each.by, approval.by)
        )

    def of(self, model: str, version: str) -> list[ApprovalRecord]:
        """Return the approvals of a version since it was last quarantined or released, oldest first.

        Those that do not count say why. An approval that only the history has was never signed.
        """
        table = database.bundles
        query = (
            sa.select(table.c.envelope, table.c.time)
            .where(table.c.model == model, table.c.version == version, table.c.action == APPROVE)
            .order_by(table.c.sequence)
        )
        trust, now_ = self.keyring.trust(), rounds(self.history.of(model, version))
        found = [_judged(row["envelope"], row["time"], f"{model}/{version}", now_, trust)
                 for row in database.read(self._engine, query)]  # fmt: skip
        known = {person(approval.by) for approval in found}
        unsigned = [line for line in self.history.approvals(model, version) if person(line.by) not in known]
        return [*unsigned, *(approval for approval in found if approval.refused != EARLIER)]


def rounds(history: Sequence[StageChange]) -> int:
    """Return how often a version was quarantined or released, from its history."""
    return sum(line.action in {"quarantine", "release"} for line in history)


# --- parts ---------------------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    approval: Approval
    key_id: str


def _opened(envelope: str, trust: Trust) -> _Opened:
    """Return an approval that its own approver signed."""
    signed_ = trust.opened(envelope, PAYLOAD_TYPE, "approve")
    approval = _predicate(signed_.payload)
    if approval is None:
        raise PromotionError("E7545", "what was signed is no approval", "approve with `ratchet approve`")
    if not same_person(approval.by, signed_.identity):
        raise PromotionError(
            "E7545", f"{signed_.identity} signed an approval in the name of {approval.by}", "approve in your own name"
        )
    return _Opened(approval, signed_.key_id)


def _predicate(statement: object) -> Approval | None:
    """Return the approval that a statement makes, None where it makes none."""
    if not isinstance(statement, dict):
        return None
    try:
        approval = Approval.model_validate(statement.get("predicate"), strict=True)
    except pydantic.ValidationError:
        return None
    return approval if statement == _statement(approval) else None


def _statement(approval: Approval) -> dict[str, object]:
    return {
        "_type": STATEMENT,
        "subject": [{"name": f"{approval.model}/{approval.version}", "digest": {"sha256": approval.artifact_digest}}],
        "predicateType": PREDICATE,
        "predicate": approval.model_dump(),
    }


def _judged(envelope: str, time: str, about: str, round_: int, trust: Trust) -> ApprovalRecord:
    """Return a kept approval, with why it does not count."""
    try:
        approval, key_id = _opened(envelope, trust)
    except RatchetError as error:
        claimed = _claimed(envelope)
        return ApprovalRecord(by="somebody" if claimed is None else claimed.by, time=time, refused=error.what)
    refused = _expired(approval)
    if approval.round != round_:
        refused = EARLIER
    if f"{approval.model}/{approval.version}" != about:
        refused = f"it is for {approval.model}/{approval.version}"
    return ApprovalRecord(
        by=approval.by,
        time=approval.time,
        note=approval.note,
        key_id=key_id,
        expires=approval.expires,
        artifact_digest=approval.artifact_digest,
        report_digest=approval.report_digest,
        refused=refused,
    )


def _claimed(envelope: str) -> Approval | None:
    """Return what an envelope says, whoever signed it; only to name it."""
    try:
        return _predicate(payload_of(envelope))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _expired(approval: Approval) -> str | None:
    try:
        end = datetime.fromisoformat(approval.expires)
        return None if datetime.now(UTC) < end else f"it expired on {approval.expires[:10]}"
    except (ValueError, TypeError):
        return "it says no time at which it expires"
