"""Checkpoints: signed statements of where the audit log stood, kept where the database's keeper does not reach.

    HOME/audit/checkpoints.jsonl   one DSSE envelope a line, the newest last
    MLflow                         the newest one, as the tag `ratchet.audit.LOG` of Ratchet's experiment

A chain alone proves nothing against who can rewrite all of it; a checkpoint does, as long as the key that signed it is
not in the same hands. Keep a copy of the file elsewhere: `ratchet audit verify --checkpoint FILE` looks at it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from registry import database
from registry.audit import retention
from registry.audit.chain import digest
from registry.audit.checkpoints import PAYLOAD_TYPE, TAG, Checkpoint, Found, Standing, opened, read, signer_of, standing
from registry.audit.log import AuditLog, Entry, head
from registry.audit.retention import unverified
from registry.connection import Connection
from registry.errors import RatchetError
from registry.files import locked
from registry.home import Home, now
from registry.trust.signing import Keyring, Trust

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

        MLflow may be away: the file has it, and the next one is written there again.

        Raises:
            SettingsError: E78xx there is no key to sign with, E782x the file cannot be written.
        """
        with self.home.guard():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.file.with_name(".checkpoints.lock")):
                last = _last_line(self.file)
                if last is not None and unverified(last).get("head") == self.log.head().head:
                    return None
                signer = self.keyring.own()
                before = last or self._mine(signer.key_id) or ""
                stands, previous = self.log.head(), digest(before) if before else ""
                checkpoint = Checkpoint(**dict(stands), time=now(), previous=previous)
                envelope = signer.sign(checkpoint.model_dump(), PAYLOAD_TYPE)
                append_line(self.file, envelope)
                self._publish(envelope)
                if last is None or signer_of(last) != signer.key_id or not unverified(last).get("previous"):
                    self._announce(signer.key_id)  # twice, should a crash have come between
        return checkpoint

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

    def accept(self, *, reason: str, by: str) -> Checkpoint | None:
        """Begin anew with the log as it is, after it was restored from a backup: set the checkpoints there are aside.

        A signed record of it is in the log for ever; the file stays, under another name.

        Raises:
            SettingsError: E78xx there is no key to sign with, E782x the files cannot be written.
        """
        signer, aside = self.keyring.own(), self.file.with_name(f"checkpoints-{now()[:19].replace(':', '')}.jsonl")
        before = self._mine(signer.key_id)
        follows, log = digest(before) if before else "", self.log.head().log
        statement = {"log": log, "follows": follows, "reason": reason, "by": by, "time": now()}
        body = {**statement, "aside": aside.name, "signed": signer.sign(statement, ACCEPTANCE_TYPE)}
        self.log.append_many([Entry(ACCEPTED, "", body, by=by)])
        with self.home.guard():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.file.with_name(".checkpoints.lock")):
                if self.file.exists():
                    self.file.rename(aside)
        return self.write()

    def _accepted(self, trust: Trust) -> set[str]:
        """Return what the first checkpoint of the file may follow."""
        log, found = self.log.head().log, {""}
        for record in self.log.records(kind=ACCEPTED):
            try:
                said = trust.opened(json.loads(record.body)["signed"], ACCEPTANCE_TYPE).payload
            except (RatchetError, LookupError, TypeError):
                continue  # it accepts nothing
            if said["log"] == log:
                found.add(said["follows"])
        return found

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
        found = standing(in_file, in_mlflow, given, self._accepted(trust))
        problems = found.problems if in_file else [*found.problems, *self._file_gone()]
        if copy is not None and not any(each.checkpoint for each in given):
            problems = [*problems, f"no checkpoint in {copy} counts"]
        return Standing(found.checkpoints, problems, away or found.notes)

    def _announce(self, key_id: str) -> None:
        """Record in the log that there are checkpoints from here on, so that they are missed when they are gone."""
        entry = Entry(ANNOUNCED, "", {"key_id": key_id, "file": "audit/checkpoints.jsonl"}, key=f"{ANNOUNCED}:{key_id}")
        self.log.append_many([entry])

    def _file_gone(self) -> list[str]:
        said = {json.loads(record.body).get("key_id") for record in self.log.records(kind=ANNOUNCED)}
        if said and self.keyring.own().key_id in said:
            return [f"the checkpoints are gone: the log says that there were some in {self.file.name}"]
        return []

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

    def _mine(self, key_id: str) -> str | None:
        """Return the checkpoint in MLflow that this key signed: the file had it, and somebody took the file away."""
        try:
            envelope = self._tag()
        except RatchetError:
            return None
        return envelope if envelope is not None and signer_of(envelope) == key_id else None

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
