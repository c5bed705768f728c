"""Checkpoints: signed statements of where the audit log stood, kept where the database's keeper does not reach.

    HOME/audit/checkpoints.jsonl   one DSSE envelope a line, the newest last
    MLflow                         the newest one, as the tag `ratchet.audit.LOG` of Ratchet's experiment

A chain alone proves nothing against who can rewrite all of it; a checkpoint does, as long as the key that signed it is
not in the same hands. Keep a copy of the file elsewhere: `ratchet audit verify --checkpoint FILE` looks at it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry import database
from registry.audit import retention
from registry.audit.chain import digest
from registry.audit.checkpoints import PAYLOAD_TYPE, TAG, Checkpoint, Found, Standing, opened, read, signer_of, standing
from registry.audit.log import AuditLog, AuditRecord, Entry, head
from registry.audit.retention import unverified
from registry.connection import Connection
from registry.errors import RatchetError, SettingsError
from registry.files import locked
from registry.home import Home, now
from registry.trust.signing import INSTALLATION, Keyring

logger = logging.getLogger(__name__)

ANNOUNCED, ACCEPTED = "checkpoint", "accept"
ACCEPTANCE_TYPE = "application/vnd.ratchet.acceptance+json"
LONGEST_LINE = 65536
LONGEST_ID = 12


class Seals:
    """The checkpoints of a home's audit log.

    Args:
        log: The audit log.
        keyring: Signs them.
        home: Where they are kept.
        connection: The MLflow that has the newest one as well.
    """

    def __init__(self, log: AuditLog, keyring: Keyring, home: Home, connection: Connection | None = None) -> None:
        self.log = log
        self.keyring = keyring
        self.home = home
        self.connection = connection
        self.file = home.root / "audit" / "checkpoints.jsonl"

    def write(self) -> Checkpoint | None:
        """Sign where the log stands now and return it; None where nothing was added since the last time.

        MLflow may be away: the file has it, and the next one is written there again. Where the file, MLflow and the log
        contradict each other, nothing is signed or written over: that would hide what `ratchet audit verify` finds.

        Raises:
            SettingsError: E78xx there is no key to sign with, E782x the file cannot be written.
        """
        with self.home.guard():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.file.with_name(".checkpoints.lock")):
                last, stands = _last_line(self.file), self.log.head()
                if last is not None and unverified(last).get("head") == stands.head:
                    return None
                signer = self.keyring.own()
                follows = [digest(last)] if last is not None else self._beginnings(stands.sequence)
                tag, away = self._looked_up()
                wrong = self._contradiction(last, tag, follows)
                if wrong is not None:
                    logger.warning("no checkpoint of the audit log is signed: %s; see `ratchet audit verify`", wrong)
                    return None
                checkpoint = Checkpoint(**dict(stands), time=now(), previous=follows[-1])
                envelope = signer.sign(checkpoint.model_dump(), PAYLOAD_TYPE)
                append_line(self.file, envelope)
                if not away:  # what was not seen is not written over
                    self._publish(envelope)
                first = _first_line(self.file)
                if last is None or last == first or signer_of(last) != signer.key_id:
                    self._announce(signer.key_id, first)  # twice, should a crash have come between
        return checkpoint

    def _contradiction(self, last: str | None, tag: str | None, follows: Sequence[str]) -> str | None:
        """Return how the file's end, MLflow's checkpoint and the log contradict each other; None where they do not."""
        if not follows:
            return f"the checkpoints that were in {self.file.name} are gone"
        if last is not None and not self._holds(last):
            return f"the log is not the one that the last checkpoint in {self.file.name} is about"
        if tag is None or tag == last or digest(tag) in {*follows, *self._beginnings(self._began())}:
            return None
        if last is not None and tag in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
            return None  # MLflow was away
        if self._is_own(signer_of(tag)):
            return f"{self.file.name} lacks the checkpoint that MLflow has"
        problem = opened("MLflow's checkpoint", tag, self.keyring.trust()).problem
        if problem is not None and problem.code != "E7943":
            return f"MLflow's checkpoint does not count: {problem.what}"
        return None if self._holds(tag) else "the log is not the one that MLflow's checkpoint is about"

    def _holds(self, envelope: str) -> bool:
        """Tell whether the log has the record that a checkpoint is about; one that was pruned counts as there."""
        said, table = unverified(envelope), database.audit
        sequence = said.get("sequence")
        if not isinstance(sequence, int) or said.get("log") != self.log.head().log:
            return False
        first = sa.select(sa.func.min(table.c.sequence)).scalar_subquery()
        ends = sa.select(table.c.sequence, table.c.hash).where(table.c.sequence.in_([sequence, first]))
        hashes = {row["sequence"]: row["hash"] for row in database.read(self.log.engine, ends)}
        if sequence not in hashes:
            return sequence < min(hashes, default=1)
        return bool(hashes[sequence] == said.get("head"))

    def prune(self, before: str, *, by: str) -> retention.Pruned | None:
        """Remove the log's beginning as far as it is older than a time, and say where the log stands then.

        The signed statement of what went is in the log, and a line of HOME/audit/pruned.jsonl.

        Raises:
            SettingsError: E78xx there is no key to sign with, E782x the files cannot be written.
        """
        signer, engine = self.keyring.own(), self.log.engine
        with database.explained(engine), database.writing(engine) as connection:
            pruned = retention.prune(connection, head(connection).log, before, by=by, signer=signer)
        if pruned is not None:
            with self.home.guard():
                self.file.parent.mkdir(parents=True, exist_ok=True)
                append_line(self.file.with_name("pruned.jsonl"), pruned.envelope)
            self.write()
        return pruned

    def accept(self, *, reason: str, by: str, findings: Sequence[str] = ()) -> Checkpoint | None:
        """Begin anew with the log as it is, after it was restored from a backup: set the checkpoints there are aside.

        A signed record of it is in the log for ever, with what was found; the file stays, under another name.

        Raises:
            SettingsError: E78xx there is no key to sign with, E782x the files cannot be written.
        """
        signer, aside = self.keyring.own(), self.file.with_name(f"checkpoints-{now()[:19].replace(':', '')}.jsonl")
        tag, log = self._looked_up()[0], self.log.head().log
        statement = {"log": log, "follows": digest(tag) if tag else "", "reason": reason, "by": by, "time": now()}
        signed = signer.sign(statement | {"findings": [*findings]}, ACCEPTANCE_TYPE)
        body = {**statement, "findings": [*findings], "aside": aside.name, "signed": signed}
        self.log.append_many([Entry(ACCEPTED, "", body, by=by)])
        with self.home.guard():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.file.with_name(".checkpoints.lock")):
                if self.file.exists():
                    self.file.rename(aside)
        return self.write()

    def accepted(self) -> list[dict[str, Any]]:
        """Return what was accepted, oldest first, by signatures that count.

        Each: {"sequence", "log", "follows", "reason", "by", "time", "findings"}.
        """
        trust, log, found = self.keyring.trust(), self.log.head().log, list[dict[str, Any]]()
        for record in self.log.records(kind=ACCEPTED):
            try:
                said = trust.opened(json.loads(record.body)["signed"], ACCEPTANCE_TYPE).payload
            except (RatchetError, LookupError, TypeError):
                continue  # it accepts nothing
            if said["log"] == log:
                found.append({"findings": [], **said, "sequence": record.sequence})
        return found

    def _beginnings(self, at: int) -> list[str]:
        """Return what the file's first checkpoint, about the record `at`, may follow; nothing where none may be first.

        Once the log says that there are checkpoints, a file begins anew only with what was accepted since.
        """
        told = self.log.records(kind=ANNOUNCED)
        announced = max((each.sequence for each in told if each.sequence <= at and self._announces(each)), default=0)
        since = [each["follows"] for each in self.accepted() if each["sequence"] > announced]
        return since if announced else ["", *since]

    def standing(self, copy: Path | None = None) -> Standing:
        """Judge the checkpoints there are: those of the file, of MLflow, and of a copy that was kept elsewhere.

        Raises:
            IntegrityError: E7962 the copy cannot be read, E7944 the trusted keys cannot be read.
        """
        trust, away = self.keyring.trust(), list[str]()
        in_file = read(self.file, trust) if self.file.exists() else []
        in_mlflow: Found | None = None
        try:
            tag = self._tag()
            in_mlflow = None if tag is None else opened(f"MLflow's tag {self._name}", tag, trust)
        except RatchetError as error:
            away.append(f"MLflow's checkpoint could not be looked at: {error.what}")
        given = [] if copy is None else read(copy, trust)
        if in_mlflow is not None and not in_file and signer_of(in_mlflow.envelope) != self.keyring.own().key_id:
            given, in_mlflow = [*given, in_mlflow], None  # of another home on the same log; this one has written none
        beginnings = self._beginnings(self._began())
        found = standing(in_file, in_mlflow, given, beginnings)
        problems = found.problems
        if not in_file and not beginnings:
            gone = f"the checkpoints are gone: the log says that there were some in {self.file.name}"
            problems = [*problems, gone]
        if copy is not None and not any(each.checkpoint for each in given):
            problems = [*problems, f"no checkpoint in {copy} counts"]
        return Standing(found.checkpoints, problems, away or found.notes)

    def _announce(self, key_id: str, first: str | None) -> None:
        """Record in the log that there are checkpoints from here on, so that they are missed when they are gone."""
        body = {"key_id": key_id, "file": "audit/checkpoints.jsonl"}
        self.log.append_many([Entry(ANNOUNCED, "", body, key=f"{ANNOUNCED}:{key_id}:{digest(first or '')}")])

    def _announces(self, record: AuditRecord) -> bool:
        """Tell whether a record says that this home has checkpoints; another one on the same log has its own."""
        said = json.loads(record.body)
        return isinstance(said, dict) and self._is_own(str(said.get("key_id")))

    def _is_own(self, key_id: str) -> bool:
        """Tell whether a key is this home's, or was until another took its place."""
        earlier = {path.stem.partition("-")[2] for path in self.keyring.folder.glob("ratchet-*.pem")}
        try:
            return key_id == self.keyring.own().key_id or key_id[:LONGEST_ID] in earlier
        except SettingsError:  # revoked, and no other one made yet: what it said here was this home's all the same
            known = self.keyring.trust().keys.get(key_id)
            return key_id[:LONGEST_ID] in earlier or (known is not None and known.identity == INSTALLATION)

    def _began(self) -> int:
        """Return the record that the file's first checkpoint is about; the log's last one where there is no file."""
        first = _first_line(self.file)
        found = self.log.head().sequence if first is None else unverified(first).get("sequence")
        return found if isinstance(found, int) else 0

    @property
    def _name(self) -> str:
        """Name of the tag: several logs may share an MLflow."""
        return f"{TAG}.{self.log.head().log[:LONGEST_ID]}"

    def _tag(self) -> str | None:
        if self.connection is None:
            return None
        with self.connection.explained() as client:
            tag = client.get_experiment(self.connection.experiment_id).tags.get(self._name)
        return None if tag is None else str(tag)

    def _looked_up(self) -> tuple[str | None, bool]:
        """Return MLflow's checkpoint, and whether MLflow is away."""
        try:
            return self._tag(), False
        except RatchetError:
            return None, True

    def _publish(self, envelope: str) -> None:
        if self.connection is None:
            return
        try:
            with self.connection.explained() as client:
                client.set_experiment_tag(self.connection.experiment_id, self._name, envelope)
        except RatchetError:
            return  # what happened is recorded; `ratchet audit verify` tells that MLflow's is an older one


def _last_line(file: Path) -> str | None:
    """Return the last envelope in the file, unverified; None where there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - LONGEST_LINE, 0))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    return next((line for line in reversed(lines) if unverified(line)), None)


def _first_line(file: Path) -> str | None:
    """Return the first envelope in the file, unverified; None where there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return next((line for each in stream if unverified(line := each.rstrip("\n"))), None)
    except FileNotFoundError:
        return None


def append_line(file: Path, line: str) -> None:
    """Append a line and wait until it is on disk; a part of a line that a crash left is ended first."""
    with file.open("a+b") as stream:
        torn = False
        if size := stream.seek(0, os.SEEK_END):
            stream.seek(size - 1)
            torn = stream.read(1) != b"\n"
        stream.write((b"\n" if torn else b"") + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
