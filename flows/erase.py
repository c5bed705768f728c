"""A person, by subject, user or trace: where their text went, and everything without it.

find → plan → files → records → adapters → datasets → event log → search → signed record

What leads to the person is erased last, so that the same command goes on where a crash ended it. No flow of Prefect:
its server would keep the name of the person as a parameter of the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from flows.forgetting import forget_models, rows_of
from flows.settings import Settings
from flows.stores import Stores, open_stores
from flows.sweep import remaining, sweep
from flows.whereabouts import Found, find, needles_of, nobody, shown
from registry import database
from registry.audit import retention
from registry.audit.log import AuditLog
from registry.erasure import events as event_erasure
from registry.erasure import plan as erasure
from registry.erasure import tombstones
from registry.erasure.events import Person
from registry.erasure.needles import Needles
from registry.erasure.plan import DatasetPlan, ModelPlan, Plan
from registry.erasure.scrubbing import scrubbed_text
from registry.errors import IntegrityError, listed
from registry.home import now
from registry.spool import Spool

LOCK_SECONDS = 5.0
SPOOL_SECONDS = 3.0
ROUNDS = 3
"""How often it is looked for what came meanwhile."""


def erase(settings: Settings, person: Person, *, reason: str, by: str, policy: erasure.ErasurePolicy) -> dict[str, Any]:
    """Erase what a person said from everything in the home and on the MLflow server, and say what was done.

    Raises:
        SettingsError: E7823 somebody learns, or erases, at this moment.
        IntegrityError: E7983 nobody is known by that name, E7984 the reason names the person, E7985 some text is still
            there; and what is wrong with any file that is to be changed.
    """
    if len(person.value) >= event_erasure.SHORTEST and (person.value in reason or person.value in by):
        what = "the reason, which is kept for ever, names who is to be erased"
        raise IntegrityError("E7984", what, "give one without the name")
    stores = open_stores(settings)
    with _alone(stores):
        _ship(stores)
        _finish_datasets(stores)
        found, folder = find(stores, person), stores.home.root / "erasures"
        plan = erasure.begun(folder, person)
        if plan is None and not found.anything:
            raise nobody(stores, person)
        told = shown(person, found)
        plan = plan or erasure.new_plan(person, by, reason, now())
        for _ in range(ROUNDS):
            plan = _once(stores, plan, person, found)
            found = find(stores, person)
            if not found.anything:
                break
        note = erasure.record(stores.history, plan, stores.keyring.own())
        stores.seals.write()
        (folder / f"{plan.plan}.json").unlink()
    return {**told, **_done(stores, plan, policy, by), "record": note.sequence}


def _once(stores: Stores, plan: Plan, person: Person, found: Found) -> Plan:
    """Erase what was found, in an order in which a crash leaves the rest to be found."""
    folder = stores.home.root / "erasures"
    plan = erasure.keep(folder, _planned(stores, plan, found))
    needles = needles_of(stores, found)
    log, files = stores.events, sweep(stores, needles)
    rows = _recorded(log.engine, needles)
    if any(rows.values()):
        AuditLog(stores.settings.records_url).erase(rows, reason=plan.reason, by=plan.by, signer=stores.keyring.own())
    plan = forget_models(stores, plan, folder, found.keys)
    for each in found.held:
        manifest = each.manifest
        place = stores.datasets.path(manifest.name, manifest.version)
        tombstones.take_out(
            place, manifest, lambda schema: erasure.is_theirs(schema, found.keys), stores.keyring.own(),
            stores.datasets.trust,
        )  # fmt: skip
    event_erasure.erase(log.engine, found.logged.offsets, found.logged.names)
    event_erasure.overwrite_free_space(log.engine)
    left = [stores.home.relative(path) for path in remaining(stores.home, needles)]
    left += [name for name, numbers in _recorded(log.engine, needles).items() if numbers]
    if left:
        raise IntegrityError(
            "E7985", f"text of the person is still in {listed(left)}", "stop what writes there, and run it again"
        )
    return erasure.keep(folder, plan.model_copy(update={"files": plan.files + files + sum(map(len, rows.values()))}))


def _recorded(engine: sa.Engine, needles: Needles) -> dict[str, list[int]]:
    """Return the rows of the records (audit log, history, runs, intents) that quote the person."""
    found: dict[str, list[int]] = {}
    for name, (column, _) in retention.TEXTS.items():
        table = database.metadata.tables[name]
        rows = database.read(engine, sa.select(table.c.sequence, table.c[column].label("text")))
        found[name] = [
            row["sequence"] for row in rows if scrubbed_text(row["text"] or "", needles) != (row["text"] or "")
        ]
    return found


# --- planning ------------------------------------------------------------------------------------------------------


def _planned(stores: Stores, plan: Plan, found: Found) -> Plan:
    """Return a plan with what was found, beside what it had."""
    keys = {*plan.event_keys, *found.keys.events}
    for each in found.held:
        keys |= set(rows_of(stores, each.name, found.keys, [])["event_key"].to_pylist())
    datasets = {each.dataset: each for each in plan.datasets}
    for held in found.held:
        datasets[held.name] = DatasetPlan(dataset=held.name, digest=held.manifest.digest, rows=held.rows)
    models = {(each.model, each.version): each for each in plan.models}
    for version in found.versions:
        fresh = ModelPlan(model=version.name, version=version.version, dataset=version.dataset or "")
        models.setdefault((version.name, version.version), fresh)
    return plan.model_copy(
        update={
            "events": len(keys),
            "event_keys": sorted(keys),
            "datasets": list(datasets.values()),
            "models": list(models.values()),
            "experiments": sorted({*plan.experiments, *found.experiments}),
        }
    )


# --- around it -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(stores: Stores) -> Iterator[None]:
    """Keep out whoever learns or erases."""
    names = sorted({*stores.datasets.names(), *stores.history.models()})
    with contextlib.ExitStack() as held:
        for name in ["erase", *(f"learn-{name}" for name in names)]:
            held.enter_context(stores.home.lock(name, "ratchet erase", LOCK_SECONDS))
        yield


def _finish_datasets(stores: Stores) -> None:
    """Put the files of dataset versions in their places that a crash of an earlier erasure left aside."""
    for name in stores.datasets.names():
        for number in stores.datasets.versions(name):
            manifest = stores.datasets.manifest(name, number)
            tombstones.finish(stores.datasets.path(name, number), manifest, stores.datasets.trust)


def _ship(stores: Stores) -> None:
    """Bring into the log what is on its way there, from processes that live and from dead ones."""
    folder = stores.home.root / "spool"
    if not any(folder.glob("*/*.jsonl")):
        return
    spool = Spool(folder, stores.events.append)
    spool.close()
    deadline = time.monotonic() + SPOOL_SECONDS
    while any(path.stat().st_size for path in folder.glob("*/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)


def _done(stores: Stores, plan: Plan, policy: erasure.ErasurePolicy, by: str) -> dict[str, Any]:
    """Return what was done, and do what the policy says of tainted champions."""
    tainted = [{"name": model.model, "version": model.version, "turns": model.turns} for model in plan.models]
    models = sorted({model.model for model in plan.models})
    return {
        "erasure": plan.plan,
        "events": plan.events,
        "datasets": [{"dataset": each.dataset, "rows": each.rows} for each in plan.datasets],
        "experiments": plan.experiments,
        "files": plan.files,
        "tainted": tainted,
        "policy": policy.tainted,
        "rolled_back": roll_back(stores, plan, by) if policy.tainted == "rollback" else [],
        "retrain": [_retrain(stores, name) for name in models],
        "not_reached": _not_reached(stores),
    }


def _retrain(stores: Stores, name: str) -> str:
    """Return the command that trains a model without what was erased."""
    dataset = stores.datasets.manifest(name) if name in stores.datasets.names() else None
    given = "EVENTS" if dataset is None or dataset.log is None else f"log:{dataset.log.agent or ''}"
    return f"ratchet learn {given} --model {name} --strategy full_retrain"


def roll_back(stores: Stores, plan: Plan, by: str) -> list[dict[str, str]]:
    """Put back the newest earlier champion that an erasure did not taint, of each model whose champion it did."""
    from flows.promotion import restore_champion

    done = []
    ours = {(model.model, model.version) for model in plan.models}
    for name in sorted({name for name, _ in ours}):
        champion = stores.models.champion(name)
        if champion is None or (name, champion.version) not in ours:
            continue
        usable = {
            version.version
            for version in stores.models.versions(name)
            if (name, version.version) not in ours
            and version.stage != "quarantine"
            and erasure.tainted(stores.models.connection, version) is None
        }
        promoted = [line.version for line in stores.history.of(name) if line.action in {"promote", "rollback"}]
        to = next((number for number in reversed(promoted) if number in usable), None)
        if to is not None:
            restore_champion(stores.settings, name, by, f"erasure {plan.plan}: it saw what was erased", to)
            done.append({"model": name, "from": champion.version, "to": to})
    return done


def _not_reached(stores: Stores) -> list[str]:
    """Say what Ratchet cannot look into."""
    settings = stores.settings
    told = ["the event files that were learned from, where they lie outside the home", "backups"]
    told += ["a running gateway, until it is restarted"] if any(stores.home.root.glob("spool/*")) else []
    told += ["the databases behind the MLflow server"] if not stores.models.connection.embedded else []
    return told + (["the database behind the Prefect server"] if not settings.embedded else [])
