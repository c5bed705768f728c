"""Whose signatures count, and whether a version is what was signed: what `ratchet keys`, `verify-model`, `sign` do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.queries import reference
from flows.settings import Settings
from flows.stores import Stores, open_keyring, open_stores
from registry.errors import IntegrityError, PromotionError, SettingsError
from registry.trust.signing import INSTALLATION, Role, TrustedKey
from registry.trust.statements import ATTESTING, SIGN, opened_envelope, payload_of

if TYPE_CHECKING:
    from registry.trust.statements import Bundle

KEY = "key"
"""Kind of the audit records of changes to the keys that count."""


# --- models ----------------------------------------------------------------------------------------------------------


def verify_model(settings: Settings, model: str) -> dict[str, Any]:
    """Check a version by its number or alias as it is checked before it answers anybody, and say who signed it.

    Raises:
        PromotionError: E7522 not known, E7523 in quarantine, E7562 that names no version.
        IntegrityError: E7923, E7924, E7940 to E7950 it may not be used.
    """
    stores = open_stores(settings)
    name, wanted = reference(model, default="champion")
    version, alias = stores.serving.found(name, str(wanted))
    servable = stores.serving.servable(version)
    stores.serving.check(servable, alias)
    elsewhere = servable.endpoint is not None and version.artifact_digest is None  # there are no files of it here
    attested = stores.bundles.standing(version, alias) if elsewhere else stores.bundles.verified(version, alias)
    decided = next(filter(_is_decision, reversed(stores.bundles.of(name, version.version))), None)
    return {
        **_told(attested),
        "alias": alias,
        "stage": version.stage,
        "decision": None if decided is None else _decision(decided),
    }


def verify_folder(settings: Settings, model: str, folder: Path, bundle: Path) -> dict[str, Any]:
    """Check a model that was fetched by hand against the `bundle.json` of its MLflow run; nothing else is asked.

    Whether it is the one that should serve now cannot be seen from it.

    Raises:
        PromotionError: E7562 that names no version.
        IntegrityError: E7940 to E7950 it is not what was signed, E7951 the file holds no bundle of this version.
    """
    from registry.trust.subjects import verify

    name, number = reference(model)
    trust = open_keyring(settings, settings.layout).trust()
    try:
        envelopes = [json.dumps(each) for each in json.loads(bundle.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(
            "E7951",
            f"{bundle} holds no bundles: {str(error)[:120]}",
            "give the bundle.json of the version's MLflow run",
        ) from None
    found = [opened_envelope(each, trust.opened) for each in reversed(envelopes)]
    mine = [each for each in found if (each.model, each.version) == (name, number) and each.action in ATTESTING]
    if not mine:
        raise IntegrityError(
            "E7951",
            f"{bundle} says nothing of the files of {model}",
            "give the bundle.json of the version's MLflow run",
        )
    verify(folder, mine[0].subjects, f"{name} version {number}")
    return {**_told(mine[0]), "alias": None, "stage": None, "decision": None}


def sign_model(settings: Settings, model: str, by: str, reason: str) -> dict[str, Any]:
    """Sign a version again with the installation's key, after somebody looked at it.

    Raises:
        PromotionError: E7522 not known, E7562 that names no version.
        IntegrityError: E7924, E7925, E7946 its files are others, E7947, E7949 alias or stage were changed by hand.
    """
    stores = open_stores(settings)
    name, wanted = reference(model)
    if wanted is None:
        raise PromotionError("E7562", f"{model!r} names no version", "write MODEL@ALIAS or MODEL/VERSION")
    stores.transitions.recover(name)
    version = stores.models.get(name, wanted)
    told = _told(stores.bundles.sign(version, reason, by))
    stores.seals.write()
    return told | {"alias": ", ".join(version.aliases) or None, "stage": version.stage, "decision": None}


def _is_decision(bundle: Bundle) -> bool:
    """Tell whether a bundle has a decision to show, be it one that a key signed which was revoked since."""
    if bundle.problem is not None and bundle.problem.code != "E7943":
        return False
    return payload_of(bundle.envelope)["predicate"].get("decision") is not None


def _told(bundle: Bundle) -> dict[str, Any]:
    assert bundle.signed is not None, "a bundle that does not count was refused"
    said, files = bundle.predicate, bundle.subjects
    return {
        "model": bundle.model,
        "version": bundle.version,
        "files": len(files),
        "bytes": sum(file.size for file in files.values()),
        "signed_by": bundle.signed.identity,
        "key_id": bundle.signed.key_id,
        "time": bundle.time,
        "trained_by": said.get("trained_by") if bundle.action == SIGN else said.get("trained_by") or said["by"],
        "attested_by": said["by"],
        "served_by": (said.get("endpoint") or {}).get("url"),
        "reason": said["reason"],
        "dataset": said["dataset"]["name"],
        "dataset_digest": said["dataset"]["digest"],
        "digest": bundle.digest,
    }


def _decision(bundle: Bundle) -> dict[str, Any]:
    said = payload_of(bundle.envelope)["predicate"]
    return {
        "counts": bundle.problem is None,
        "action": bundle.action,
        "time": bundle.time,
        "by": said["by"],
        "reason": said["reason"],
        "verdict": said["decision"]["verdict"],
        "gates": said["decision"]["gates"],
        "approvals": said["decision"].get("approvals", []),
        "replaced": said["decision"]["replaced"],
        "report_digest": said["decision"].get("report_digest"),
        "digest": bundle.digest,
    }


# --- keys ------------------------------------------------------------------------------------------------------------


def list_keys(settings: Settings) -> dict[str, Any]:
    """Return the keys that count, or did."""
    keyring = open_stores(settings).keyring
    return {"file": str(keyring.file), "keys": [_shown(key) for key in keyring.trust().keys.values()]}


def trust_key(settings: Settings, key: str, identity: str, roles: tuple[Role, ...], by: str) -> dict[str, Any]:
    """Let the signatures of a public key count for an identity: PEM in a file, or 64 hexadecimal digits.

    Raises:
        SettingsError: E7890 it is no public key, E7892, E7893, E7895 it cannot be trusted so.
    """
    stores, public = open_stores(settings), key
    if not key.strip().isalnum():
        try:
            public = Path(key).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SettingsError(
                "E7890", f"the key {key} cannot be read: {error}", "give a file with a public key in PEM"
            ) from None
    trusted = stores.keyring.add(public, identity, roles)
    return _noted(stores, "trusted", trusted, by)


def rotate_key(settings: Settings, identity: str | None, by: str) -> dict[str, Any]:
    """Make a new key for the installation, or for a person; what the old one signed goes on counting.

    Raises:
        SettingsError: E7892, E7893 there is nothing to rotate.
    """
    stores = open_stores(settings)
    signer = stores.keyring.rotate(identity or INSTALLATION)
    return _noted(stores, "rotated", stores.keyring.trust().keys[signer.key_id], by)


def revoke_key(settings: Settings, key_id: str, by: str, reason: str) -> dict[str, Any]:
    """Let nothing count any more that a key signed, and tell which versions cannot be used until they are signed anew.

    Raises:
        SettingsError: E7893 the list is given by the settings, E7894 no key, or several, begin so.
    """
    stores = open_stores(settings)
    done = _noted(stores, "revoked", stores.keyring.revoke(key_id, reason), by)
    return done | {"unsigned": _unusable(stores)}


def _unusable(stores: Stores) -> list[str]:
    """Return the versions with an alias whose bundles do not count."""
    found = []
    for version in stores.models.versions():
        for alias in version.aliases:
            try:
                stores.bundles.standing(version, alias)
            except IntegrityError:
                found.append(f"{version.name}/{version.version}")
    return list(dict.fromkeys(found))


def _noted(stores: Stores, what: str, key: TrustedKey, by: str) -> dict[str, Any]:
    shown = _shown(key)
    stores.history.note(KEY, "", {"what": what, **shown}, by=by)
    return {"what": what, **shown}


def _shown(key: TrustedKey) -> dict[str, Any]:
    state = "revoked" if key.revoked else "retired" if key.retired else "counts"
    return {**key.model_dump(mode="json"), "state": state}
