"""What a bundle says and when it counts: in-toto statements about the files of a model, in DSSE envelopes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from registry.errors import IntegrityError, RatchetError
from registry.records import ModelVersion
from registry.trust.signing import Signed
from registry.trust.subjects import Subject, Subjects

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
TRAINING, DECISION = "urn:ratchet:training:v1", "urn:ratchet:decision:v1"
ATTEST, SIGN, APPROVE = "attest", "sign", "approve"
ATTESTING = (ATTEST, SIGN)
GENESIS = "0" * 64
"""`previous` of a model's first bundle."""


class Bundle(NamedTuple):
    """One bundle as it is kept, and what is wrong with it."""

    sequence: int
    key: str
    time: str
    model: str
    version: str
    action: str
    digest: str
    """sha256 of the envelope."""
    envelope: str
    signed: Signed | None
    """What it says and who signed it; None where that does not count."""
    problem: RatchetError | None
    """Why it does not count."""

    @property
    def statement(self) -> dict[str, Any]:
        """The in-toto statement.

        Raises:
            IntegrityError: E794x, E7948, E7950 why it does not count.
        """
        if self.signed is None:
            assert self.problem is not None, "what does not count has a reason"
            raise self.problem
        return self.signed.payload

    @property
    def predicate(self) -> dict[str, Any]:
        """What the statement says of its subjects."""
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def subjects(self) -> dict[str, Subject]:
        """The files that it is about."""
        return named_subjects(self.statement)


def statement(kind: str, subjects: Subjects, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return an in-toto statement: what is said of these files."""
    listed = [
        {"name": name, "digest": {"sha256": file.sha256}, "annotations": {"size": file.size}}
        for name, file in sorted(subjects.items())
    ]
    return {"_type": STATEMENT, "subject": listed, "predicateType": kind, "predicate": dict(predicate)}


def opened(row: Mapping[str, Any], trusted: Callable[[str, str], Signed]) -> Bundle:
    """Return a row of the table as a bundle; what is wrong with it is part of it."""
    bundle = Bundle(**row, signed=None, problem=None)
    try:
        if digest_of(bundle.envelope) != bundle.digest:
            raise broken(bundle, "its envelope is another one")
        signed = trusted(bundle.envelope, PAYLOAD_TYPE)
        _check(bundle, signed.payload)
    except RatchetError as problem:
        return bundle._replace(problem=problem)
    return bundle._replace(signed=signed)


def opened_envelope(envelope: str, trusted: Callable[[str, str], Signed]) -> Bundle:
    """Return a bundle that was kept elsewhere; of which version it is it says itself.

    Raises:
        IntegrityError: E7940 it is none.
    """
    try:
        said = payload_of(envelope)["predicate"]
        named_ = {name: str(said[name]) for name in ("time", "model", "version", "action")}
    except (LookupError, TypeError, ValueError):
        raise IntegrityError("E7940", "it is no bundle", "give the bundle.json of the version's MLflow run") from None
    row = {"sequence": 0, "key": "", "digest": digest_of(envelope), "envelope": envelope, **named_}
    return opened(row, trusted)


def _check(bundle: Bundle, statement: Mapping[str, Any]) -> None:
    try:
        predicate = statement["predicate"]
        named = tuple(predicate[name] for name in ("model", "version", "action", "time"))
        good = (
            named == (bundle.model, bundle.version, bundle.action, bundle.time)
            and named_subjects(statement) is not None
        )
        kind = TRAINING if bundle.action in ATTESTING else DECISION
        good = good and (statement["_type"], statement["predicateType"]) == (STATEMENT, kind)
        good = good and isinstance(predicate["previous"], str)
        good = good and isinstance(predicate["aliases"], dict) and isinstance(predicate["stages"], dict)
    except (LookupError, TypeError, ValueError):
        good = False
    if not good:
        raise IntegrityError(
            "E7950",
            f"bundle {bundle.sequence} says something else than that it is about the {bundle.action} of "
            f"{bundle.model} version {bundle.version}",
            "it was exchanged: restore the record database from a backup",
        )


def named_subjects(statement: Mapping[str, Any]) -> dict[str, Subject]:
    """Return the files that a statement is about."""
    return {
        each["name"]: Subject(str(each["digest"]["sha256"]), int(each["annotations"]["size"]))
        for each in statement["subject"]
    }


def payload_of(envelope: str) -> dict[str, Any]:
    """Return what an envelope says, whoever signed it; for who looks at it again."""
    payload: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return payload


def carried(before: Bundle | None) -> dict[str, Any]:
    """Return what a new attestation takes over from the one before, who signs it having looked at it."""
    said = payload_of(before.envelope)["predicate"] if before is not None else {}
    by = said.get("by") if before is not None and before.action == ATTEST else None
    return {
        "training": said.get("training", {}),
        "trained_by": said.get("trained_by") or by,
        "endpoint": said.get("endpoint"),
    }


def digest_of(envelope: str) -> str:
    """Return the sha256 of an envelope, by which the next bundle names it."""
    return hashlib.sha256(envelope.encode()).hexdigest()


def named(version: ModelVersion) -> str:
    """Return how messages call a version."""
    return f"{version.name} version {version.version}"


def of_this(bundle: Bundle, version: ModelVersion) -> Bundle:
    """Return an attestation if it is of the very model that MLflow has under this version."""
    told = (version.model_id, version.artifact_digest, version.code_digest)
    if told != tuple(bundle.predicate[name] for name in ("model_id", "artifact_digest", "code_digest")):
        raise IntegrityError(
            "E7950",
            f"MLflow has another model under {named(version)} than the one that was signed",
            "its tags or its source were changed by hand: put them right, or roll back to another version",
        )
    return bundle


def unsigned(version: ModelVersion) -> IntegrityError:
    """Return what to tell of a version that has no attestation."""
    return IntegrityError(
        "E7945",
        f"nobody signed {named(version)}",
        f"look at it, and then `ratchet sign {version.name}/{version.version}`",
    )


def unknown(version: ModelVersion) -> IntegrityError:
    """Return what to tell of a version with an alias of whose model nothing at all was signed."""
    return IntegrityError(
        "E7945",
        f"nobody signed {named(version)}, and the record database knows of no decision about {version.name}",
        "restore the record database from a backup if it is gone or another one; if it is from before decisions were "
        f"signed, look at the version, and then `ratchet sign {version.name}/{version.version}`",
    )


def resigned(version: ModelVersion, error: IntegrityError) -> IntegrityError:
    """Return what to tell of a version whose signatures do not count: how it is signed again."""
    return IntegrityError(
        error.code,
        f"{named(version)}: {error.what}",
        f"look at it, and then `ratchet sign {version.name}/{version.version}`, or use one that another key signed",
    )


def moved_by_hand(version: ModelVersion, stage: str) -> IntegrityError:
    """Return what to tell of a version whose stage in MLflow is not the one that was recorded."""
    return IntegrityError(
        "E7954",
        f"MLflow has {named(version)} in {version.stage}, and its history in {stage}",
        f"its tag was changed by hand: set `stage` in MLflow to {stage}; see `ratchet history {version.name}`",
    )


def elsewhere(version: ModelVersion, alias: str, holder: str | None, has: bool = True) -> IntegrityError:
    """Return what to tell of an alias that is not where the newest decision put it; `has`: the version has it."""
    where = f"has it at version {holder}" if holder else "has nobody there"
    return IntegrityError(
        "E7947",
        f"{version.name}@{alias} is {'' if has else 'not '}at version {version.version}, and the newest signed "
        f"decision {where}",
        f"the alias was moved by hand: put it right with `ratchet rollback {version.name} --to VERSION`",
    )


def quarantined(version: ModelVersion) -> IntegrityError:
    """Return what to tell of a version that somebody took out of quarantine by hand."""
    return IntegrityError(
        "E7949",
        f"{named(version)} was put in quarantine, and MLflow has it in {version.stage}",
        f"its tag was changed by hand: see `ratchet history {version.name}`, and release it if that is right",
    )


def broken(bundle: Bundle, why: str) -> IntegrityError:
    """Return what to tell of a bundle that was changed where it is kept."""
    return IntegrityError(
        "E7948",
        f"bundle {bundle.sequence} ({bundle.action} of {bundle.model} version {bundle.version}) is not as it was "
        f"kept: {why}",
        "restore the record database from a backup, and see `ratchet audit verify`",
    )
