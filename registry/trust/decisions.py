"""Decisions of the gates, signed by the installation that made them, with the digest of their evidence.

Who can write to the database can append a decision that fits its chain. What people approve, what is shown and what is
made again are therefore only decisions whose seal counts; a seal counts once, where it was recorded first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from registry.audit.chain import ERASED
from registry.audit.log import AuditRecord
from registry.errors import IntegrityError
from registry.records import Decision, Evidence, canonical_digest
from registry.trust.envelopes import Signed, Signer, Trust

PAYLOAD_TYPE = "application/vnd.ratchet.decision+json"
SEAL = "seal"


def sealed(signer: Signer, decision: Decision) -> Decision:
    """Return a decision with the signature of the installation that made it."""
    said = _said(decision.model_dump(mode="json"))
    return decision.model_copy(update={SEAL: signer.sign(said, PAYLOAD_TYPE)})


def opened_decision(trust: Trust, body: Mapping[str, Any]) -> Signed:
    """Check a recorded decision with its evidence, and return who signed it.

    Args:
        trust: The keys that count.
        body: {"decision", "evidence"}, as recorded.

    Raises:
        IntegrityError: E7972 nobody signed it whose signature counts, or it is not what was signed.
    """
    decision = body["decision"]
    if not decision.get(SEAL):
        raise _refused(decision, "nobody signed it")
    try:
        signed = trust.opened(decision[SEAL], PAYLOAD_TYPE)
    except IntegrityError as error:
        raise _refused(decision, f"its signature does not count: {error.what}") from None
    if signed.payload != _said(decision) or digest_of_evidence(body["evidence"]) != decision["evidence_digest"]:
        raise _refused(decision, "it is not what was signed")
    return signed


def counting(records: Iterable[AuditRecord], trust: Trust) -> list[tuple[Decision, Evidence]]:
    """Return the decisions with their evidence that count, in the order of their records."""
    found: dict[str, tuple[Decision, Evidence]] = {}
    for record in records:
        try:
            body = json.loads(record.body) if record.body != ERASED else {}
            decision = Decision.model_validate(body["decision"])
            if decision.seal in found or (decision.model, decision.version) != (record.model, record.version):
                continue
            opened_decision(trust, body)
            found[decision.seal] = decision, Evidence.model_validate(body["evidence"])
        except (IntegrityError, ValueError, LookupError, TypeError, AttributeError):
            continue  # `ratchet audit verify` and `ratchet replay` tell what is wrong with it
    return list(found.values())


def digest_of_evidence(evidence: object) -> str:
    """Return the sha256 of evidence as it was recorded: numbers that are none are null in it."""
    return canonical_digest(_finite(evidence))


def _said(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is signed of a decision; its evidence is in it by its digest."""
    rest = {name: value for name, value in decision.items() if name != SEAL}
    return {name: rest[name] for name in ("model", "version", "verdict", "evidence_digest")} | {
        "digest": canonical_digest(_finite(rest))
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refused(decision: Mapping[str, Any], why: str) -> IntegrityError:
    return IntegrityError(
        "E7972",
        f"the decision {decision.get('verdict')} on {decision.get('model')}/{decision.get('version')} does not count: "
        f"{why}",
        "see `ratchet audit verify`; a version is decided about anew when it is learned anew, with another --seed",
    )
