"""What happened, for ever: stage history, approvals, decisions, intents and the run ledger.

Everything here is appended and never changed (`registry.database`). An append under a key that is there already does
nothing and returns what is there, so that a step which is repeated after a crash leaves one row.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from registry import database
from registry.audit.chain import ERASED, digest
from registry.errors import IntegrityError
from registry.home import now
from registry.records import ApprovalRecord, Decision, Evidence, Stage, StageChange

RunEvent = Literal["started", "completed", "failed", "cancelled"]


class Intent(NamedTuple):
    """Effects that somebody set out to do. `body` says all that is needed to do them again."""

    intent_id: str
    time: str
    model: str
    body: dict[str, Any]


class AuditNote(NamedTuple):
    """One audit record that is no decision of the gates."""

    sequence: int
    time: str
    kind: str
    model: str
    version: str
    body: dict[str, Any]
    by: str


class LedgerEntry(NamedTuple):
    """Something that happened to a run: it started, completed, failed or was cancelled."""

    work: str
    run_id: str
    model: str
    event: RunEvent
    time: str
    body: dict[str, Any] | None


class History:
    """The append-only records of a home, or of a database server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = database.connect(url)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # --- stage history -------------------------------------------------------------------------------------------

    def append(
        self,
        model: str,
        version: str,
        action: str,
        *,
        before: Stage | None,
        after: Stage | None,
        by: str,
        reason: str = "",
        run_id: str | None = None,
        evidence_digest: str | None = None,
        time: str | None = None,
        key: str | None = None,
    ) -> StageChange:
        """Append a line to a version's history and return it with its number.

        Args:
            model: Name of the registered model.
            version: Its version.
            action: train, validate, stage, approve, challenge, withdraw, promote, archive, rollback, quarantine,
                release, reject.
            before: Stage before, None for a version that is new.
            after: Stage after; the same as `before` where the action moves nothing.
            by: Who, a person's name or the run that did it.
            reason: Why, for the reader.
            run_id: Ratchet's run id, where a run did it.
            evidence_digest: Digest of the evidence of the decision behind it.
            time: When, default now.
            key: Append once under this key; default: append always.
        """
        values = {
            "time": time or now(),
            "model": model,
            "version": version,
            "action": action,
            "before": before,
            "after": after,
            "by": by,
            "reason": reason,
            "run_id": run_id,
            "evidence_digest": evidence_digest,
        }
        return _change(database.append(self._engine, database.history, key or uuid.uuid4().hex, values))

    def of(self, model: str, version: str | None = None) -> list[StageChange]:
        """Return the history of a model, or of one version of it, oldest first."""
        table = database.history
        query = sa.select(table).where(table.c.model == model).order_by(table.c.sequence)
        if version is not None:
            query = query.where(table.c.version == version)
        return [_change(row) for row in database.read(self._engine, query)]

    def models(self) -> list[str]:
        """Return the names of all models that have a history, sorted."""
        query = sa.select(database.history.c.model).distinct().order_by(database.history.c.model)
        return [str(row["model"]) for row in database.read(self._engine, query)]

    def approve(self, model: str, version: str, by: str, note: str = "", key: str | None = None) -> ApprovalRecord:
        """Record an approval as it is; `Transitions.approve` looks at the version's stage first."""
        stage = next((line.after for line in reversed(self.of(model, version)) if line.after), None)
        change = self.append(model, version, "approve", before=stage, after=stage, by=by, reason=note, key=key)
        return ApprovalRecord(by=change.by, time=change.time, note=change.reason)

    def approvals(self, model: str, version: str) -> list[ApprovalRecord]:
        """Return the approvals that count: those given since the version was last quarantined or released."""
        approved: list[ApprovalRecord] = []
        for line in self.of(model, version):
            if line.action in {"quarantine", "release"}:
                approved = []
            elif line.action == "approve":
                approved.append(ApprovalRecord(by=line.by, time=line.time, note=line.reason))
        return approved

    def verify(self) -> None:
        """Check that no line of history is missing.

        Raises:
            IntegrityError: E7921 when the numbers have a gap.
        """
        table = database.history
        query = sa.select(sa.func.count().label("rows"), sa.func.max(table.c.sequence).label("last"))
        row = database.read(self._engine, query)[0]
        if row["rows"] != (row["last"] or 0):
            raise IntegrityError(
                "E7921",
                f"the stage history has {row['rows']} lines, but its last number is {row['last']}",
                "lines were removed by hand: restore the record database from a backup",
            )

    # --- decisions -----------------------------------------------------------------------------------------------

    def record_decision(self, decision: Decision, evidence: Evidence) -> None:
        """Keep a decision with all its evidence; the same decision on the same evidence, sealed so, is kept once."""
        body = _text({"decision": decision.model_dump(mode="json"), "evidence": evidence.model_dump(mode="json")})
        key = f"decision:{decision.model}:{decision.version}:{decision.verdict}:{decision.evidence_digest}"
        key += f":{digest(decision.seal)[:16]}" if decision.seal else ""
        values = {"kind": "decision", "model": decision.model, "version": decision.version, "body": body}
        database.append(self._engine, database.audit, key, values | {"time": now(), "by": "ratchet"})

    def decisions(self, model: str, version: str | None = None) -> list[tuple[Decision, Evidence]]:
        """Return the decisions about a model, or about one version of it, with their evidence, oldest first.

        Those whose text was erased are left out.
        """
        table = database.audit
        of_model = (table.c.kind == "decision", table.c.model == model, table.c.body != ERASED)
        query = sa.select(table).where(*of_model).order_by(table.c.sequence)
        if version is not None:
            query = query.where(table.c.version == version)
        bodies = [json.loads(row["body"]) for row in database.read(self._engine, query)]
        return [
            (Decision.model_validate(body["decision"]), Evidence.model_validate(body["evidence"])) for body in bodies
        ]

    # --- everything else that is audited ---------------------------------------------------------------------------

    def note(
        self,
        kind: str,
        model: str,
        body: Mapping[str, Any],
        *,
        version: str = "",
        by: str = "ratchet",
        key: str | None = None,
    ) -> AuditNote:
        """Append an audit record and return it; once under `key` where one is given.

        Args:
            kind: What happened: trigger_check, experiment, bake, ...
            model: Name of the model.
            body: All that was known, as JSON.
            version: The version it is about, if any.
            by: Who did it.
            key: What makes it the same record when it is written again.
        """
        values = {"time": now(), "by": by, "kind": kind, "model": model, "version": version, "body": _text(body)}
        return _note(database.append(self._engine, database.audit, key or uuid.uuid4().hex, values))

    def notes(self, kind: str, model: str | None = None, *, last: int | None = None) -> list[AuditNote]:
        """Return the audit records of a kind, of one model or of all, oldest first; only the `last` ones if given.

        Those whose text was erased are left out.
        """
        table = database.audit
        of_kind = (table.c.kind == kind, table.c.body != ERASED)
        query = sa.select(table).where(*of_kind).order_by(table.c.sequence.desc())
        if model is not None:
            query = query.where(table.c.model == model)
        if last is not None:
            query = query.limit(last)
        return [_note(row) for row in reversed(database.read(self._engine, query))]

    # --- intents -------------------------------------------------------------------------------------------------

    def intend(self, model: str, body: Mapping[str, Any], intent_id: str | None = None) -> Intent:
        """Write down what is about to be done, before it is done."""
        values = {"time": now(), "model": model, "body": _text(body)}
        return _intent(database.append(self._engine, database.intents, intent_id or uuid.uuid4().hex, values))

    def close_intent(self, intent_id: str, outcome: str = "done") -> None:
        """Write down that everything an intent set out to do is done."""
        database.append(self._engine, database.closures, intent_id, {"time": now(), "outcome": outcome})

    def open_intents(self, model: str | None = None) -> list[Intent]:
        """Return the intents that nobody closed, oldest first: what a crash left half done."""
        table = database.intents
        closed = sa.select(database.closures.c.key)
        query = sa.select(table).where(table.c.key.not_in(closed)).order_by(table.c.sequence)
        if model is not None:
            query = query.where(table.c.model == model)
        return [_intent(row) for row in database.read(self._engine, query)]

    # --- run ledger ----------------------------------------------------------------------------------------------

    def record_run(
        self, work: str, run_id: str, model: str, event: RunEvent, body: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a run started, completed, failed or was cancelled; once a run and event.

        Args:
            work: Digest of what the run works on (events and policy): the key of `completed`.
            run_id: Ratchet's run id.
            model: Name of the model.
            event: What happened.
            body: For `completed` the run's summary (the JSON of DESIGN §7), for `failed` the error.
        """
        text = None if body is None else _text(body)
        values = {"time": now(), "work": work, "run_id": run_id, "model": model, "event": event, "body": text}
        database.append(self._engine, database.runs, f"{run_id}:{event}", values)

    def completed(self, work: str) -> dict[str, Any] | None:
        """Return the summary of the last run that completed this work, None where none did."""
        done = [entry for entry in self.ledger(work) if entry.event == "completed"]
        return done[-1].body if done else None

    def ledger(self, work: str | None = None) -> list[LedgerEntry]:
        """Return what happened to the runs, of one piece of work or of all, oldest first."""
        table = database.runs
        query = sa.select(table).order_by(table.c.sequence)
        if work is not None:
            query = query.where(table.c.work == work)
        return [
            LedgerEntry(
                row["work"],
                row["run_id"],
                row["model"],
                row["event"],
                row["time"],
                json.loads(row["body"]) if row["body"] not in {None, ERASED} else None,
            )
            for row in database.read(self._engine, query)
        ]


def _text(value: object) -> str:
    """Return JSON with sorted keys; numbers that are none (a loss may be NaN) survive, as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _change(row: sa.RowMapping) -> StageChange:
    return StageChange.model_validate({name: value for name, value in row.items() if name != "key"})


def _note(row: sa.RowMapping) -> AuditNote:
    what = (row["sequence"], row["time"], row["kind"], row["model"], row["version"])
    return AuditNote(*what, json.loads(row["body"]), row["by"])


def _intent(row: sa.RowMapping) -> Intent:
    return Intent(row["key"], row["time"], row["model"], json.loads(row["body"]))
