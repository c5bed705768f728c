"""Decide again from what was recorded, and see whether the same comes of it, byte for byte."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flows.queries import reference
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry import __version__
from registry.audit.chain import ERASED
from registry.audit.log import AuditRecord
from registry.errors import IntegrityError, PromotionError
from registry.records import Evidence, Record, canonical_json
from registry.trust.decisions import SEAL, digest_of_evidence, opened_decision
from registry.trust.envelopes import Signed
from registry.trust.statements import Bundle
from tasks.promotion.gates import decide
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.rules import rules_digest

NUMBER = re.compile(r"[0-9]{1,18}")
ABSENT = "nothing"
SHOWN = 160
"""Characters of a value that a message shows."""
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
    rules: str
    """sha256 of the code that decided; empty where that was not recorded yet."""
    rules_now: str
    signed_by: str
    """Whose signature is under it."""
    key_id: str


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
    signed = _signed(stores, record, body)
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
        rules=decision.get("rules", ""),
        rules_now=rules_digest(),
        signed_by=signed.identity,
        key_id=signed.key_id,
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
        elif digest_of_evidence(body["evidence"]) != body["decision"]["evidence_digest"]:
            problem = "its evidence is not that of its digest"
        Evidence.model_validate(body["evidence"])
        PromotionPolicy.model_validate(body["decision"]["policy"])
    except (ValueError, LookupError, TypeError) as error:
        problem = problem or f"it cannot be read: {' '.join(str(error).split())[:160]}"
    if problem is not None:
        raise IntegrityError(
            "E7970",
            f"decision {record.sequence} on {record.model}/{record.version} is not as it was recorded: {problem}",
            "restore the record database from a backup; `ratchet audit verify` finds what else was changed",
        )
    return body


# --- deciding again ------------------------------------------------------------------------------------------------


def _compare(stores: Stores, record: AuditRecord, body: Mapping[str, Any]) -> None:
    recorded = {name: value for name, value in body["decision"].items() if name != SEAL}
    policy = recorded["policy"]
    evidence = Evidence.model_validate(body["evidence"])
    again = decide(evidence, PromotionPolicy.model_validate(policy)).model_dump(mode="json", exclude={SEAL})
    # What a later Ratchet added to evidence and policy is not in the record, whose digest was looked at above.
    again |= {name: recorded[name] for name in ("evidence_digest", "code_version", "rules") if name in recorded}
    again["policy"] = {name: value for name, value in again["policy"].items() if name in policy}
    again = {name: value for name, value in again.items() if name in recorded or name != "rules"}
    if canonical_json(again) == canonical_json(recorded):
        return
    found = difference(recorded, again)
    was, now_ = _told(found)
    raise IntegrityError(
        "E7971",
        f"deciding again on {record.model}/{record.version} gives another decision than {record.sequence}: "
        f"{found.path} was {was}, is {now_}",
        _why(stores, body),
    )


def _why(stores: Stores, body: Mapping[str, Any]) -> str:
    """Say what makes another decision of the same evidence: a changed record, or other rules."""
    try:
        opened_decision(stores.keyring.trust(), body)
    except IntegrityError as error:
        return f"the record was changed: {error.what}; see `ratchet audit verify`"
    decision = body["decision"]
    by, rules = decision["code_version"], decision["rules"]
    if rules == rules_digest():
        return "its signature counts and the rules are the same: say so to who keeps Ratchet"
    return (
        f"other rules decided it: Ratchet {by} with rules {rules[:12]}, and this is {__version__} with rules "
        f"{rules_digest()[:12]}; the record is as it was signed, replay it with that Ratchet"
    )


def difference(recorded: Any, again: Any, path: str = "") -> Difference:
    """Return where two JSON values differ first: objects in the order of their keys, lists in theirs.

    The elements of a list that all have a name, such as gates, are compared by it.
    """
    if isinstance(recorded, dict) and isinstance(again, dict):
        for name in sorted({*recorded, *again}):
            if recorded.get(name, ABSENT) != again.get(name, ABSENT):
                below = f"{path}.{name}" if path else name
                return difference(recorded.get(name, ABSENT), again.get(name, ABSENT), below)
    if isinstance(recorded, list) and isinstance(again, list):
        for name, one, other in _paired(recorded, again):
            if one != other:
                return difference(one, other, f"{path}[{name}]")
    return Difference(path, recorded, again)


def _paired(recorded: list[Any], again: list[Any]) -> Iterator[tuple[object, Any, Any]]:
    """Yield the elements of two lists that belong together: (name or place, one, other), or `ABSENT`."""
    both = [{each.get("name") if isinstance(each, dict) else None: each for each in side} for side in (recorded, again)]
    named = all(None not in side and len(side) == len(of) for side, of in zip(both, (recorded, again), strict=True))
    if named:
        yield from ((name, both[0].get(name, ABSENT), both[1].get(name, ABSENT)) for name in {**both[0], **both[1]})
        yield from ((place, *names) for place, names in enumerate(zip(*both, strict=True)))  # another order
    else:
        pairs = itertools.zip_longest(recorded, again, fillvalue=ABSENT)
        yield from ((place, *pair) for place, pair in enumerate(pairs))


def _told(found: Difference) -> tuple[str, str]:
    """Return both values as a message says them; of long ones the part from where they differ."""
    both = [str(each) if each == ABSENT else canonical_json(each) for each in (found.recorded, found.again)]
    same = next((at for at, (one, other) in enumerate(zip(*both, strict=False)) if one != other), 0)
    start = max(0, same - SHOWN // 4) if max(map(len, both)) > SHOWN else 0
    cut = [f"{'…' if start else ''}{text[start : start + SHOWN]}{'…' if len(text) > start + SHOWN else ''}"
           for text in both]  # fmt: skip
    return cut[0], cut[1]


# --- its signature -------------------------------------------------------------------------------------------------


def _signed(stores: Stores, record: AuditRecord, body: Mapping[str, Any]) -> Signed:
    """Return the signature under a decision, once what followed from it proved to say the same."""
    if body["decision"].get(SEAL):
        try:
            signed = opened_decision(stores.keyring.trust(), body)
        except IntegrityError as error:
            raise _unsigned(record, error.what) from None
        _bundle(stores, record, body)
        return signed
    bundle = _bundle(stores, record, body)
    if bundle is None or bundle.signed is None:
        raise _unsigned(record, "nobody signed it")
    return bundle.signed


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
    if evidence["stage"] in UNTOUCHED:
        return None
    raise _unsigned(record, "no bundle is about it, as if nothing had followed from it")


def _unsigned(record: AuditRecord, why: str) -> IntegrityError:
    return IntegrityError(
        "E7972",
        f"decision {record.sequence} on {record.model}/{record.version} can be made again, but {why}",
        "see `ratchet audit verify`; what a crash left half done the next command of the model finishes",
    )
