"""Reading checkpoints: signed statements of where the audit log stood (`registry.audit.seals` writes them).

Each has the digest of the one before it, so that one that is taken out of the file is missed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pydantic

from registry.audit.chain import digest
from registry.audit.log import Head
from registry.audit.retention import unverified
from registry.errors import IntegrityError
from registry.trust.signing import Trust

PAYLOAD_TYPE = "application/vnd.ratchet.checkpoint+json"
TAG = "ratchet.audit"
LARGEST_FILE = 256 << 20


class Checkpoint(Head):
    """Where an audit log stood at some time."""

    time: str
    previous: str = ""
    """sha256 of the envelope before it; empty for the first."""


class Found(NamedTuple):
    """An envelope as it was found, and what became of it."""

    where: str
    envelope: str
    checkpoint: Checkpoint | None
    problem: IntegrityError | None
    """Why it does not count."""


class Standing(NamedTuple):
    """What the checkpoints of a log are worth."""

    checkpoints: list[Checkpoint]
    """Those that count."""
    problems: list[str]
    """What shows that somebody took some away, or changed one."""
    notes: list[str]
    """What is worth knowing, and proves nothing."""


def read(file: Path, trust: Trust) -> list[Found]:
    """Return the checkpoints in a file, a line each, oldest first; those that do not count with the reason.

    Raises:
        IntegrityError: E7962 it cannot be read.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise OSError(0, "it is too large")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise IntegrityError(
            "E7962", f"the checkpoints in {file} cannot be read: {error.strerror or error}", "check its name"
        ) from error
    return [
        opened(f"line {number} of {file.name}", line, trust) for number, line in enumerate(lines, 1) if line.strip()
    ]


def opened(where: str, envelope: str, trust: Trust) -> Found:
    """Return the checkpoint in an envelope, with the reason where it does not count."""
    try:
        payload = trust.opened(envelope, PAYLOAD_TYPE).payload
        return Found(where, envelope, Checkpoint.model_validate(payload), None)
    except IntegrityError as error:
        return Found(where, envelope, None, error)
    except pydantic.ValidationError as error:
        what = f"it says nothing of an audit log: {error.errors()[0]['msg']}"
        return Found(where, envelope, None, IntegrityError("E7940", what, "restore it from a backup"))


def standing(
    in_file: Sequence[Found],
    in_mlflow: Found | None,
    given: Sequence[Found] = (),
    beginnings: Collection[str] = ("",),
) -> Standing:
    """Judge the checkpoints of the home's file, the one in MLflow, and those of a copy that was kept elsewhere.

    Args:
        in_file: Of the home's file, oldest first.
        in_mlflow: The one in MLflow, None where there is none.
        given: Of the copy.
        beginnings: Digests that the file's first checkpoint may follow.
    """
    problems, notes = _of_file(in_file, beginnings), list[str]()
    if in_mlflow is not None:
        problems += _of_mlflow(in_file, in_mlflow, notes)
    elif in_file:
        notes.append("MLflow has no checkpoint")
    every = [*in_file, *([] if in_mlflow is None else [in_mlflow]), *given]
    revoked = list[str]()
    for each in every:
        if each.problem is None:
            continue
        if each.problem.code == "E7943":
            revoked.append(each.problem.what)
        elif each in in_file and not unverified(each.envelope):
            notes.append(
                f"{each.where}: {each.problem.what}"
            )  # torn by a crash; were one taken away, it would be missed
        else:
            problems.append(f"{each.where}: {each.problem.what}")
    notes += [f"{count} checkpoints do not count: {what}" for what, count in Counter(revoked).items()]
    counting = {each.envelope: each.checkpoint for each in every if each.checkpoint is not None}
    return Standing(list(counting.values()), problems, notes)


def _of_file(found: Sequence[Found], beginnings: Collection[str]) -> list[str]:
    """Find where a file lacks checkpoints."""
    problems, before, where = list[str](), beginnings, "the first line"
    for each in found:
        said = unverified(each.envelope)
        if not said:
            continue
        if said.get("previous", "") not in before:
            problems.append(f"{each.where} does not follow {where}: checkpoints between them are gone")
        before, where = {digest(each.envelope)}, each.where
    return problems


def _of_mlflow(in_file: Sequence[Found], found: Found, notes: list[str]) -> list[str]:
    """Compare MLflow's checkpoint, which the file of the home that wrote it has as well."""
    envelopes = [each.envelope for each in in_file if unverified(each.envelope)]
    if found.envelope in envelopes:
        if found.envelope != envelopes[-1]:
            notes.append("MLflow's checkpoint is not the newest: MLflow was away, or somebody put it back")
        return []
    writers = {signer_of(envelope) for envelope in envelopes}
    if envelopes and signer_of(found.envelope) not in writers:
        return []  # another home on the same MLflow wrote it
    return ["the file lacks the checkpoint that MLflow has: its end, or all of it, was taken away"]


def signer_of(envelope: str) -> str:
    """Return the id of the key that an envelope names, unverified; empty where it names none."""
    try:
        return str(json.loads(envelope)["signatures"][0]["keyid"])
    except (ValueError, LookupError, TypeError):
        return ""
