"""The audit log as commands and flows use it: verified, accepted, pruned; snapshots and settings in it."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flows.policy import Policy
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.audit import tampering
from registry.audit.checkpoints import Checkpoint, Standing
from registry.audit.tampering import Finding
from registry.errors import IntegrityError, RatchetError, listed
from registry.records import canonical_digest

logger = logging.getLogger(__name__)

SNAPSHOT, SETTINGS = "snapshot", "settings"
MOST_ACCEPTED = 100
"""Findings that an acceptance names."""
_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")
_PERSONAL = frozenset({"home", "debug", "log_level", "identity"})
"""Settings that change nothing in what is made."""


# --- verify --------------------------------------------------------------------------------------------------------


def verify_audit(settings: Settings, copy: Path | None = None) -> dict[str, Any]:
    """Look whether anybody tampered with the audit log, and where.

    Args:
        settings: Say where the records are.
        copy: Checkpoints that were kept elsewhere, one a line.

    Returns:
        {"ok", "log", "records", "first", "last", "head", "checkpoints", "sealed", "findings": [{"kind", "first",
        "last", "what"}], "notes": [], "seconds"}: `sealed` is the last record that a checkpoint is about.

    Raises:
        IntegrityError: E7962 the copy cannot be read; E7920, E7944 the database or the list of keys is damaged.
    """
    return verified(open_stores(settings), copy)


def verified(stores: Stores, copy: Path | None = None) -> dict[str, Any]:
    """Look at everything that shows tampering (see `verify_audit`)."""
    began = time.perf_counter()
    stands = stores.seals.standing(copy)
    signed = _in_bundles(stores)
    trust = stores.keyring.trust()
    examined = tampering.examine(stores.audit.engine, trust, [*stands.checkpoints, *signed])
    sealed = max((each.sequence for each in stands.checkpoints), default=0)
    wrong = [Finding(kind="checkpoint", first=0, last=0, what=what) for what in stands.problems]
    findings = [*examined.findings, *wrong]
    notes = _notes(stands, sealed, examined.head.sequence) + [_of_acceptance(each) for each in stores.seals.accepted()]
    return {
        "ok": not findings,
        "log": examined.head.log,
        "records": examined.head.count,
        "first": examined.first,
        "last": examined.head.sequence,
        "head": examined.head.head,
        "checkpoints": len(stands.checkpoints),
        "sealed": sealed,
        "findings": [finding.model_dump() for finding in findings],
        "notes": notes,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _notes(stands: Standing, sealed: int, last: int) -> list[str]:
    if last and not stands.checkpoints:
        return [*stands.notes, "no checkpoint counts: that the whole log was written anew could not be seen"]
    if last > sealed:
        return [*stands.notes, f"no checkpoint is about the records from {sealed + 1} on: others in their place pass"]
    return stands.notes


def _of_acceptance(said: Mapping[str, Any]) -> str:
    although = f", although: {listed(said['findings'], 5)}" if said["findings"] else ""
    return f"on {said['time'][:19]} {said['by']} accepted the log as it was ({said['reason']}){although}"


def _in_bundles(stores: Stores) -> list[Checkpoint]:
    """Return where the log stood when each bundle was signed, as the bundles say whose signatures count."""
    log, found = stores.audit.head().log, list[Checkpoint]()
    for model in stores.history.models():
        for bundle in stores.bundles.of(model):
            stood = bundle.signed.payload["predicate"].get("audit") if bundle.signed is not None else None
            if stood:
                point = {"log": log, "sequence": stood["sequence"], "head": stood["head"], "count": stood["sequence"]}
                found.append(Checkpoint(**point, time=bundle.time))
    return found


def tampered(found: Mapping[str, Any]) -> IntegrityError:
    """Return what to tell of a log in which something was found."""
    return IntegrityError(
        "E7960",
        f"the audit log is not what was recorded: {listed(_told(found['findings']), 5)}",
        "keep a copy of the home, and restore from a backup; `ratchet audit accept` begins anew with what is right",
    )


def _told(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{_place(each)}{each['kind']}: {each['what']}" for each in findings]


def _place(finding: Mapping[str, Any]) -> str:
    first, last = finding["first"], finding["last"]
    if not first:
        return ""
    return f"record {first} " if first == last else f"records {first} to {last} "


def check(stores: Stores) -> str:
    """Verify the audit log, for the daily check of everything; return what was looked at.

    Raises:
        IntegrityError: E7960 something is not as it was recorded.
    """
    found = verified(stores)
    if not found["ok"]:
        raise tampered(found)
    return f"{found['records']} records are as they were recorded; {found['checkpoints']} checkpoints say so"


def accept_audit(settings: Settings, reason: str, by: str) -> dict[str, Any]:
    """Begin anew with the log as it is, after it was restored from a backup.

    That checkpoints say something else can be accepted; that records were changed cannot. What was found is signed with
    the acceptance, and every later verification tells it.

    Returns:
        {"last", "head", "reason", "by", "findings": [TEXT]}.

    Raises:
        IntegrityError: E7960 the records are not what was recorded.
    """
    stores = open_stores(settings)
    examined = tampering.examine(stores.audit.engine, stores.keyring.trust(), _in_bundles(stores))
    if examined.findings:
        raise tampered({"findings": [finding.model_dump() for finding in examined.findings]})
    findings = _told(verified(stores)["findings"])[:MOST_ACCEPTED]
    stores.seals.accept(reason=reason, by=by, findings=findings)
    stands = stores.audit.head()
    return {"last": stands.sequence, "head": stands.head, "reason": reason, "by": by, "findings": findings}


# --- remove what is old --------------------------------------------------------------------------------------------


def prune_audit(settings: Settings, older_than: str | None, by: str) -> dict[str, Any]:
    """Remove the beginning of the log that is older than the settings say, and leave a signed record of it.

    Args:
        settings: Say for how long everything is kept.
        older_than: Remove only what is older than this, such as 180d.
        by: Who.

    Returns:
        {"removed", "carried", "before", "first", "last", "root"}; without the last three where nothing was old enough.

    Raises:
        IntegrityError: E7960 the log is not what was recorded; E7961 what is to go is too young; E7963 it is no age.
    """
    stores, days = open_stores(settings), settings.audit_retention_days
    wanted = days if older_than is None else _days(older_than)
    if wanted < days:
        raise IntegrityError(
            "E7961", f"records of {wanted} days would go, and everything is kept for {days} days",
            f"ask for {days}d or more, or have who keeps the settings change RATCHET_AUDIT_RETENTION_DAYS",
        )  # fmt: skip
    check(stores)  # what is wrong must be seen before it is gone
    snapshot(stores, by=by)
    today = datetime.now(UTC)
    age = timedelta(days=min(wanted, today.toordinal() - 1))  # there is no day before the first of the calendar
    before = (today - age).isoformat(timespec="microseconds")
    found = stores.seals.prune(before, by=by)
    stores.seals.write()
    told = {"removed": 0, "carried": 0} if found is None else found.model_dump(exclude={"envelope"})
    return {**told, "before": before}


def _days(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})\s*d(ays?)?", text.strip())
    if found is None:
        raise IntegrityError("E7963", f"{text[:40]!r} is no age", "give a number of days, such as 90d")
    return int(found[1])


# --- what is recorded besides --------------------------------------------------------------------------------------


def snapshot(stores: Stores, by: str = "ratchet") -> dict[str, Any]:
    """Record what is registered now: every version of every model with its stage, aliases and digests.

    Returns:
        {"models": {MODEL: [{"version", "stage", "aliases", "dataset", "artifact_digest"}]}}.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    for each in stores.models.versions():
        told = each.model_dump(mode="json", include={"version", "stage", "aliases", "dataset", "artifact_digest"})
        models.setdefault(each.name, []).append(told)
    body = {"models": dict(sorted(models.items()))}
    stores.history.note(SNAPSHOT, "", body, by=by)
    return body


@contextlib.contextmanager
def sealing(stores: Stores) -> Iterator[None]:
    """Sign how far the audit log has come when the block ends, however it ends: what no checkpoint is about can be cut.

    That it cannot be signed (no disk, no key) never hides what happened in the block.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        try:
            stores.seals.write()
        except RatchetError as error:  # told aloud only where nothing else is told
            logger.log(
                logging.INFO if failed else logging.WARNING, "no checkpoint of the audit log was written: %s", error
            )


def note_settings(stores: Stores, model: str, policy: Policy, by: str = "ratchet") -> bool:
    """Record the policy's digest and the settings of a run where they are not those that were last recorded.

    Secrets are left out, and passwords in addresses are blanked. Returns whether anything was recorded.
    """
    body: dict[str, Any] = {
        "policy": canonical_digest(policy.model_dump(mode="json")),
        "settings": public(stores.settings),
    }
    before = stores.history.notes(SETTINGS, model, last=1)
    known = before[-1].body if before else {"policy": None, "settings": {}}
    if {name: known[name] for name in body} == body:
        return False
    changed = [name for name, value in body["settings"].items() if known["settings"].get(name) != value]
    changed += ["policy"] if known["policy"] != body["policy"] else []
    stores.history.note(SETTINGS, model, {**body, "changed": sorted(changed)}, by=by)
    return True


def public(settings: Settings) -> dict[str, Any]:
    """Return the settings that have an effect, without secrets."""
    return {
        name: _blanked(getattr(settings, name)) for name in sorted(type(settings).model_fields) if name not in _PERSONAL
    }


def _blanked(value: object) -> object:
    if isinstance(value, SecretStr):
        return "given"
    if isinstance(value, str | Path):
        return _PASSWORD.sub(r"\1:***@", str(value))
    return value
