"""Runs opened and closed: the lock, the ledger, the log, and the engine under a command."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import progress
from flows.audit import note_settings, sealing
from flows.job import Job, Wish, already_learned, prepare
from flows.log_input import discard_log
from flows.logs import hush_prefect, quiet, run_logs
from flows.promotion import Approving, approve_and_promote, restore_champion, sign_approval
from flows.stores import Stores, open_stores
from registry.errors import IntegrityError, PromotionError, SettingsError
from registry.files import write_whole

if TYPE_CHECKING:
    from flows.settings import Settings
    from registry.history import RunEvent
    from registry.records import ModelVersion

logger = logging.getLogger(__name__)

BY = "ratchet"
"""Who does what follows from a policy."""
LOCK_SECONDS = 2.0
"""How long a run waits for another one of the same model."""


@dataclass
class Run:
    """A run of the main job while it goes on."""

    job: Job
    stores: Stores
    progress: progress.Progress
    known: dict[str, Any] | None = None
    """The summary of the run that did the same work before."""
    started_by: str = ""
    """Identity that started it first, where it was killed and taken up again."""
    mlflow_run_id: str | None = None
    warnings: list[str] = field(default_factory=list)

    def unchanged(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Record that there was nothing new to learn, and return the summary of what is there."""
        self.complete({**summary, "run_id": self.job.run_id})
        return as_it_is_now(self.job, {**summary, "run_id": self.job.run_id})

    def complete(self, summary: dict[str, Any]) -> None:
        """Record the run as completed; from here on the same work is `unchanged`."""
        self.stores.history.record_run(self.job.work, self.job.run_id, self.job.model, "completed", summary)


@contextmanager
def opened(job: Job) -> Iterator[Run]:
    """Hold the model's lock, log to the run's file, and record how the run ends.

    Raises:
        SettingsError: E7823 when another run of the same model goes on.
    """
    from flows.assets import ProgressArtifact

    quiet(job.settings.debug)
    stores = open_stores(job.settings)
    with job.home.lock(f"learn-{job.model}", f"ratchet learn, run {job.run_id}", LOCK_SECONDS):
        listeners = progress.Progress(progress.listener, ProgressArtifact(job.model))
        run = Run(job, stores, listeners, known=already_learned(job, stores.history))
        if run.known is not None:
            yield run
            discard_log(job.inputs)
            return
        with run_logs(job.settings, job.run_id), _seen_in_prefect(job), sealing(stores):
            stores.keyring.own()  # a key that may not sign is told before anything is made
            note_settings(stores, job.model, job.policy, job.by)
            stores.history.record_run(job.work, job.run_id, job.model, "started", {"by": job.by})
            run.started_by = _started_by(run)
            job.folder.mkdir(parents=True, exist_ok=True)
            try:
                yield run
            except BaseException as error:
                _record_failure(run, error)
                raise
            finally:
                shutil.rmtree(job.scratch, ignore_errors=True)
                discard_log(job.inputs)


@contextmanager
def _seen_in_prefect(job: Job) -> Iterator[None]:
    """Note which flow run holds the model's lock; one that is noted already is of a process that was killed."""
    from prefect import runtime

    from flows.recovery import end_lost_run

    note = job.home.locks / f"learn-{job.model}.flow-run"
    with contextlib.suppress(Exception):  # it stays Running in Prefect then, which hinders nobody
        if note.exists() and end_lost_run(note.read_text()):
            logger.warning("the run of %s before this one was killed; it is marked Crashed in Prefect", job.model)
    if runtime.flow_run.id:
        write_whole(note, str(runtime.flow_run.id).encode())
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _started_by(run: Run) -> str:
    entries = [each for each in run.stores.history.ledger(run.job.work) if each.event == "started"]
    started = next((each.body for each in entries if each.run_id == run.job.run_id), None) or {}
    return str(started.get("by", run.job.by))


def _record_failure(run: Run, error: BaseException) -> None:
    """Record why a run ended early. Nothing here may hide the error itself."""
    with contextlib.suppress(Exception):
        cancelled = isinstance(error, KeyboardInterrupt | SystemExit)
        logger.error("the run ended: %s", error, extra={"step": "failed"})
        if run.mlflow_run_id is not None:
            state = run.stores.models.tracking.state(run.mlflow_run_id)
            if state not in {"COMPLETED", "FAILED", "CANCELLED"}:
                run.stores.models.tracking.set_state(
                    run.mlflow_run_id, "CANCELLED" if cancelled else "FAILED", str(error)[:500]
                )
        body = {"error": str(error)[:500]}
        event: RunEvent = "cancelled" if cancelled else "failed"
        run.stores.history.record_run(run.job.work, run.job.run_id, run.job.model, event, body)


def as_it_is_now(job: Job, summary: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of an earlier run as `unchanged`, with the stage that its version has by now.

    What only waits for an approval is approved where the job names who does.
    """
    stores, model = open_stores(job.settings), summary["model"]
    dataset = summary["dataset"]
    now = {
        **summary,
        "flow_run_id": None,
        "home": str(job.settings.home),  # which may have been moved since
        "report": str(job.home.reports / Path(summary["report"]).name),
        "dataset": {**dataset, "path": str(stores.datasets.path(dataset["name"], dataset["version"]))},
        "decision": "unchanged",
    }
    stage = stores.history.of(model["name"], model["version"])[-1].after
    if stage == "staging" and job.approve_as:
        done = approve_and_promote(job.settings, model["name"], model["version"], job.approve_as, "learn --approve-as")
        changed = {"stage": done["stage"], "aliases": done["aliases"]}
        return {**now, "model": {**model, **changed}, "gates": done["gates"], "decision": done["decision"]}
    if stage != model["stage"]:
        found = _still_registered(stores, model["name"], model["version"])
        now["model"] = {**model, "stage": found.stage, "aliases": found.aliases}
    return now


def _still_registered(stores: Stores, model: str, version: str) -> ModelVersion:
    try:
        return stores.models.get(model, version)
    except PromotionError as error:
        raise IntegrityError(
            "E7929",
            f"{model}/{version} was registered, says the history, and MLflow at {stores.settings.tracking_uri} has "
            "no such version",
            "restore MLflow's database from a backup, or start anew in another home",
        ) from error


# --- what the commands call ----------------------------------------------------------------------------------------


def run_learn(
    settings: Settings,
    *,
    events: Sequence[str],
    model: str,
    policy: Path | None,
    seed: int,
    by: str | None = None,
    approve_as: str | None,
    strategy: Wish,
    golden: Path | None,
    listener: progress.Listener | None = None,
) -> dict[str, Any]:
    """Run the main job on the engine that the settings name, and return its summary.

    Wrong input and work that was done before are answered before anything is started.
    """
    with _readable_twice(settings, events) as given:
        job = prepare(
            settings, events=given, model=model, policy=policy, seed=seed, by=by, approve_as=approve_as,
            strategy=strategy, golden=golden,
        )  # fmt: skip
        known = already_learned(job, open_stores(settings).history)
        if known is not None:
            discard_log(job.inputs)
            return as_it_is_now(job, known)
        from flows.engine import engine

        with engine(settings) as live, progress.listening(listener or progress.Silent()):
            from flows.learn import learn  # while the embedded server starts

            hush_prefect(settings.debug)
            live.ready()
            summary: dict[str, Any] = learn(
                events=job.events, model=model, policy=_text(policy), seed=seed, by=job.by, approve_as=approve_as,
                strategy=strategy, golden=_text(golden), home=str(settings.home),
            )  # fmt: skip
    return summary


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def _readable_twice(settings: Settings, events: Sequence[str]) -> Iterator[list[str]]:
    """Give `events` with `-` replaced by a copy of standard input, which is gone when the block ends."""
    if "-" not in events:
        yield list(events)
        return
    from registry.home import Home
    from tasks.extraction.inputs import discard, find_inputs

    home = Home(settings.home).create()
    spooled = find_inputs(["-"], scratch=home.scratch)
    try:
        yield [spooled[0].path if event == "-" else event for event in events]
    finally:
        discard(spooled)


def run_approve(
    settings: Settings, *, model: str, version: str, by: str, note: str, key: Path | None = None
) -> dict[str, Any]:
    """Approve a version: as a flow run where there is a Prefect server, at once where there is none.

    The approval is signed here in both cases; a server never sees the key.
    """
    if settings.embedded:
        return approve_and_promote(settings, model, version, by, note, key)
    signed = run_sign_approval(settings, model=model, version=version, by=by, note=note, key=key)["signed"]
    from flows.engine import engine

    with engine(settings) as live:
        from flows.approve import approve

        hush_prefect(settings.debug)
        live.ready()
        done: dict[str, Any] = approve(
            model=model, version=version, by=by, note=note, signed=signed, home=str(settings.home)
        )
    return done


def run_sign_approval(
    settings: Settings, *, model: str, version: str, by: str, note: str, key: Path | None = None
) -> dict[str, Any]:
    """Sign an approval and record nothing: for the deployment `approve`, where the worker has not the key."""
    given = Approving(by.strip(), note, key)
    envelope = sign_approval(open_stores(settings), model, version, given)
    return {"model": model, "version": version, "by": given.by, "signed": envelope}


def run_rollback(settings: Settings, *, model: str, to: str | None, by: str, reason: str) -> dict[str, Any]:
    """Roll back at once; as a flow run where there is a Prefect server that answers."""
    if settings.embedded:
        return restore_champion(settings, model, by, reason, to)
    from flows.engine import engine

    try:
        with engine(settings) as live:
            from flows.rollback import rollback

            hush_prefect(settings.debug)
            live.ready()
            done: dict[str, Any] = rollback(model=model, by=by, reason=reason, to=to, home=str(settings.home))
        return done
    except SettingsError as error:
        if error.code != "E7804":
            raise
        logger.warning("%s; the rollback does not wait for it", error.what)
        return restore_champion(settings, model, by, reason, to)
