"""What a transition sets out to do, signed before it is written down: after a crash whoever comes next does it.

The body stays readable, so that a person's name can be erased from it; what is signed is its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry.effects import Effect
from registry.errors import IntegrityError
from registry.history import Intent
from registry.models import CHAMPION
from registry.records import Decision, canonical_digest
from registry.trust.envelopes import Signer, Trust

PAYLOAD_TYPE = "application/vnd.ratchet.intent+json"
SIGNED = "signed"


def sealed(signer: Signer, intent_id: str, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an intent's body with the signature of whoever sets out to do it."""
    said = {"intent": intent_id, "model": model, "digest": canonical_digest(body)}
    return {**body, SIGNED: signer.sign(said, PAYLOAD_TYPE)}


def effects_of(trust: Trust, intent: Intent) -> list[Effect]:
    """Return the effects of an intent that may be carried out.

    Raises:
        IntegrityError: E7952 nobody signed it whose signature counts, or it lets a version serve for no reason.
    """
    body = {name: value for name, value in intent.body.items() if name != SIGNED}
    try:
        said = trust.opened(str(intent.body[SIGNED]), PAYLOAD_TYPE).payload
    except KeyError:
        raise _refused(intent, "nobody signed it") from None
    except IntegrityError as error:
        raise _refused(intent, error.what) from None
    if said != {"intent": intent.intent_id, "model": intent.model, "digest": canonical_digest(body)}:
        raise _refused(intent, "it is not what was signed")
    planned = [Effect.model_validate(effect) for effect in body["effects"]]
    decision = None if body["decision"] is None else Decision.model_validate(body["decision"])
    if (unfounded := _unfounded(intent.model, planned, decision)) is not None:
        raise _refused(
            intent, f"it lets version {unfounded} serve, and neither a promotion nor a rollback is behind it"
        )
    return planned


def _unfounded(model: str, planned: Sequence[Effect], decision: Decision | None) -> str | None:
    """Return a version that is to serve without a decision that promotes it, and without a rollback to it."""
    founded = {each.version for each in planned if (each.kind, each.name) == ("history", "rollback")}
    if decision is not None and (decision.model, decision.verdict, decision.target) == (
        model,
        "promoted",
        "production",
    ):
        founded.add(decision.version)
    serving = (
        each.version
        for each in planned
        if (each.kind, each.name) == ("alias", CHAMPION)
        or (each.kind, each.name, each.value) == ("tag", "stage", "production")
    )
    return next((version for version in serving if version not in founded), None)


def _refused(intent: Intent, why: str) -> IntegrityError:
    by = str(intent.body.get("by", "nobody"))[:80]
    return IntegrityError(
        "E7952",
        f"a change of {intent.model} that {by!r} began on {intent.time} is not carried out: {why}",
        f"it is set aside, and recorded: see `ratchet audit show` and `ratchet history {intent.model}`, and repeat the "
        "command; where an interrupted change was your own, repeat that as well",
    )
