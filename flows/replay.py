"""Decide again from what was recorded, and see whether the same comes of it, byte for byte."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flows.promotion import policy_of
from flows.queries import reference
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry import __version__
from registry.audit.chain import ERASED
from registry.audit.log import AuditRecord
from registry.errors import IntegrityError, PromotionError
from registry.records import Evidence, Record, canonical_digest, canonical_json
from registry.trust.statements import Bundle
from tasks.promotion.gates import decide
from tasks.promotion.policy import PromotionPolicy

NUMBER = re.compile(r"[0-9]{1,18}")
UNTOUCHED = frozenset({"production", "quarantine", "archived"})
"""Stages from which a decision may have moved nothing, so that there was nothing to sign."""


class Replayed(Record):
    """A decision that was made again, and is the same."""

    model: str
    version: str
    sequence: int
    """Its number in the audit log."""
    time: str
    verdict: str
    reason: str
    evidence_digest: str
    code_version: str
    """Of the Ratchet that decided; empty where that was not recorded yet."""
    code_version_now: str
    signed_by: str | None
    """Whose signature is under what followed from it; None where nothing did, or where that was before signatures."""
    key_id: str | None


class Difference(NamedTuple):
    """Where two JSON values differ first."""

    path: str
    recorded: Any
    again: Any


def replay_decision(settings: Settings, which: str) -> dict[str, Any]:
    """Make a decision again from its recorded evidence and policy, and compare.

    Args:
        settings: Of the home.
        which: MODEL/VERSION or MODEL@ALIAS for its last decision, MODEL/VERSION#N for its N-th, or the number of an
            audit record.

    Raises:
        PromotionError: E7540 there is no such decision, E7562 it names none.
        IntegrityError: E7970 it is not as it was recorded, E7971 deciding again gives another one, E7972 what was
            signed about it does not count or says something else, E7973 its evidence was erased.
    """
    stores = open_stores(settings)
    record = _find(stores, which)
    if record.body == ERASED:
        raise IntegrityError(
            "E7973",
            f"the evidence of decision {record.sequence} on {record.model}/{record.version} was erased",
            "see why with `ratchet audit show`; its digest and its bundle are still there",
        )
    body = _whole(record)
    decision = body["decision"]
    _compare(stores, record, body)
    bundle = _bundle(stores, record, body)
    replayed = Replayed(
        model=record.model,
        version=record.version,
        sequence=record.sequence,
        time=record.time,
        verdict=decision["verdict"],
        reason=decision["reason"],
        evidence_digest=decision["evidence_digest"],
        code_version=decision.get("code_version", ""),
        code_version_now=__version__,
        signed_by=bundle.signed.identity if bundle is not None and bundle.signed is not None else None,
        key_id=bundle.signed.key_id if bundle is not None and bundle.signed is not None else None,
    )
    return replayed.model_dump()


# --- the record ----------------------------------------------------------------------------------------------------


def _find(stores: Stores, which: str) -> AuditRecord:
    if NUMBER.fullmatch(which):
        found = [each for each in stores.audit.records(kind="decision") if each.sequence == int(which)]
        if not found:
            raise PromotionError("E7540", f"audit record {which} is no decision", "`ratchet audit show` lists them")
        return found[0]
    named, mark, place = which.partition("#")
    name, wanted = reference(named)
    if wanted is None or (mark and not NUMBER.fullmatch(place)):
        raise PromotionError(
            "E7562", f"{which!r} names no decision", "write MODEL/VERSION, MODEL/VERSION#N or a number of the audit log"
        )
    version = wanted if NUMBER.fullmatch(wanted) else stores.models.get(name, wanted).version
    records = [each for each in stores.audit.records(kind="decision", model=name) if each.version == version]
    number = int(place) if mark else len(records)
    if not 1 <= number <= len(records):
        raise PromotionError(
            "E7540",
            f"there is no decision {which!r}: {len(records)} were made about {name}/{version}",
            f"see `ratchet history {name}`",
        )
    return records[number - 1]


def _whole(record: AuditRecord) -> dict[str, Any]:
    """Return what was recorded, once it proved to be that."""
    problem = None
    try:
        body: dict[str, Any] = json.loads(record.body)
        if hashlib.sha256(record.body.encode()).hexdigest() != record.digest:
            problem = "its text is not that of its digest"
        elif canonical_digest(_finite(body["evidence"])) != body["decision"]["evidence_digest"]:
            problem = "its evidence is not that of its digest"
        Evidence.model_validate(body["evidence"])
    except (ValueError, LookupError, TypeError) as error:
        problem = problem or f"it cannot be read: {' '.join(str(error).split())[:160]}"
    if problem is not None:
        raise IntegrityError(
            "E7970",
            f"decision {record.sequence} on {record.model}/{record.version} is not as it was recorded: {problem}",
            "restore the record database from a backup; `ratchet audit verify` finds what else was changed",
        )
    return body


def _finite(value: Any) -> Any:
    """Return a value as digests are taken of it: numbers that are none are null there."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- deciding again ------------------------------------------------------------------------------------------------


def _compare(stores: Stores, record: AuditRecord, body: Mapping[str, Any]) -> None:
    recorded, policy = body["decision"], body["decision"].get("policy")
    if policy:
        rules = PromotionPolicy.model_validate(policy)
    else:  # recorded before the policy was part of it
        rules = policy_of(stores, record.model, record.version).promotion
    again = decide(Evidence.model_validate(body["evidence"]), rules).model_dump(mode="json")
    # What a later Ratchet added to evidence and policy is not in the record, whose digest was looked at above.
    again |= {"evidence_digest": recorded["evidence_digest"], "code_version": recorded.get("code_version", "")}
    again["policy"] = {name: value for name, value in again["policy"].items() if name in (policy or {})}
    again = {name: value for name, value in again.items() if name in recorded or policy}
    if canonical_json(again) == canonical_json(recorded):
        return
    found = difference(recorded, again)
    by = recorded.get("code_version") or "an older Ratchet"
    todo = f"it was made by {by}, and this is {__version__}: replay it there" if by != __version__ else (
        "the record or the rules were changed: see `ratchet audit verify`"
    )  # fmt: skip
    raise IntegrityError(
        "E7971",
        f"deciding again on {record.model}/{record.version} gives another decision than {record.sequence}: "
        f"{found.path} was {_short(found.recorded)}, is {_short(found.again)}",
        todo,
    )


def difference(recorded: Any, again: Any, path: str = "") -> Difference:
    """Return where two JSON values differ first, in the order of their keys."""
    if isinstance(recorded, dict) and isinstance(again, dict):
        for name in sorted({*recorded, *again}):
            if recorded.get(name) != again.get(name) or (name in recorded) != (name in again):
                return difference(recorded.get(name), again.get(name), f"{path}.{name}" if path else name)
    if isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        for place, (one, other) in enumerate(zip(recorded, again, strict=True)):
            if one != other:
                return difference(one, other, f"{path}[{place}]")
    return Difference(path, recorded, again)


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


# --- its signature -------------------------------------------------------------------------------------------------


def _bundle(stores: Stores, record: AuditRecord, body: Mapping[str, Any]) -> Bundle | None:
    """Return the bundle of what followed from a decision, once it proved to say the same."""
    decision, evidence = body["decision"], body["evidence"]
    bundles: list[Bundle] = stores.bundles.of(record.model, record.version)
    for bundle in bundles[::-1]:
        if bundle.signed is None:
            continue
        said = bundle.predicate.get("decision") or {}
        if (said.get("evidence_digest"), said.get("verdict")) != (decision["evidence_digest"], decision["verdict"]):
            continue
        others = [name for name in said if name in decision and said[name] != decision[name]]
        if others:
            raise _unsigned(record, f"its bundle {bundle.sequence} has another {' and '.join(others)}")
        return bundle
    bad = [bundle for bundle in bundles if bundle.problem is not None]
    if bad:
        raise _unsigned(record, f"bundle {bad[-1].sequence} does not count: {getattr(bad[-1].problem, 'what', '')}")
    if evidence["stage"] in UNTOUCHED or not decision.get("code_version"):
        return None
    raise _unsigned(record, "no bundle is about it, as if nothing had followed from it")


def _unsigned(record: AuditRecord, why: str) -> IntegrityError:
    return IntegrityError(
        "E7972",
        f"decision {record.sequence} on {record.model}/{record.version} can be made again, but {why}",
        "see `ratchet audit verify`; what a crash left half done the next command of the model finishes",
    )
