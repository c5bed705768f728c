"""`ratchet status`: what runs, who serves, what is tried, what would trigger a retrain, and what waits for a person.

Everything comes from Ratchet's own records and from one question to each service, so that it is quick and works when
nothing runs.
"""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from flows.addresses import ALONE, Address, addresses_of, gateway_address, prefect_address
from flows.promotion import decisions_of
from flows.services import well
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.situation import champions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.experiments import Experiment
    from registry.records import StageChange

SERVICES = ("prefect", "mlflow", "worker", "gateway")
RUNS = 5
"""How many of the last runs are shown."""


def status_of(settings: Settings) -> dict[str, Any]:
    """Return how things stand in a home, or on the databases that the settings name."""
    stores = open_stores(settings)
    running = addresses_of(settings.layout)
    return {
        "home": str(settings.home),
        "up": None if running is None else {"pid": running[0]},
        "services": _services(settings, {} if running is None else running[1]),
        "models": [_model(stores, model) for model in stores.history.models()],
        "runs": _runs(stores),
        "log": _log(stores),
    }


def _services(settings: Settings, running: dict[str, Address]) -> dict[str, dict[str, Any]]:
    alone = addresses_of(settings.layout, ALONE)
    known = {**_elsewhere(settings), **(alone[1] if alone else {}), **running}
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        health = dict(zip(known, pool.map(well, [address.health for address in known.values()]), strict=True))
    return {
        name: {
            "url": known[name].url if name in known else None,
            "state": ("healthy" if health[name] else "silent") if name in known else "not running",
            "pid": known[name].pid if name in known else None,
        }
        for name in SERVICES
    }


def _elsewhere(settings: Settings) -> dict[str, Address]:
    """Return the services that the settings name."""
    found = {}
    if settings.prefect_api_url is not None:
        found["prefect"] = prefect_address(settings.prefect_api_url)
    if (uri := settings.mlflow_uri) is not None and uri.startswith(("http://", "https://")):
        found["mlflow"] = Address(uri, f"{uri}/health")
    if settings.gateway_url is not None:
        found["gateway"] = gateway_address(settings.gateway_url)
    return found


def _model(stores: Stores, model: str) -> dict[str, Any]:
    history = stores.history.of(model)
    checks = stores.history.notes("trigger_check", model, last=1)
    return {
        "model": model,
        "champion": _champion(stores, model, history),
        "pending": _pending(stores, model, history),
        "experiments": [_experiment(stores, each) for each in stores.experiments.running(model)],
        "trigger_check": {"time": checks[0].time, **checks[0].body} if checks else None,
    }


def _champion(stores: Stores, model: str, history: Sequence[StageChange]) -> dict[str, Any] | None:
    line = champions(history)
    if not line:
        return None
    since = next(each.time for each in reversed(history) if (each.version, each.after) == (line[-1], "production"))
    decisions = decisions_of(stores, model, line[-1])
    readiness = decisions[-1][1].readiness if decisions else None
    return {"version": line[-1], "since": since, "readiness": readiness.score if readiness is not None else None}


def _pending(stores: Stores, model: str, history: Sequence[StageChange]) -> list[dict[str, Any]]:
    """Return the versions that wait for nothing but a person, each with the command that approves it."""
    stage = {change.version: change for change in history if change.after != change.before}
    waiting = [change for change in stage.values() if change.after == "staging"]
    home = "" if str(stores.settings.home) == ".ratchet" else f" --home {shlex.quote(str(stores.settings.home))}"
    return [
        {
            "version": change.version,
            "since": change.time,
            "command": f"ratchet approve {model} {change.version} --by YOU{home}",
        }
        for change in waiting
        if (decisions := decisions_of(stores, model, change.version)) and decisions[-1][0].verdict == "pending_approval"
    ]


def _experiment(stores: Stores, experiment: Experiment) -> dict[str, Any]:
    return {
        "key": experiment.key,
        "mode": experiment.mode,
        "started": experiment.started,
        "share": experiment.share,
        "arms": [
            {"name": arm.name, "version": arm.version, "units": units}
            for arm, units in zip(experiment.arms, _units(stores, experiment), strict=True)
        ],
    }


def _units(stores: Stores, experiment: Experiment) -> list[int]:
    """Count the units that each arm has had so far."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from registry.event_queries import Query

    seen: dict[str, list[pa.Array]] = {arm.name: [] for arm in experiment.arms}
    where = Query(experiment=experiment.key, after=experiment.first_offset, shadow=None)
    for batch in stores.events.arrow(where, ["arm", "unit"]):
        for name, units in seen.items():
            mine = batch.filter(pc.equal(batch["arm"], name))
            units.append(pc.unique(mine["unit"]))
    return [len(pc.unique(pa.chunked_array(units, pa.string()))) if units else 0 for units in seen.values()]


def _runs(stores: Stores) -> list[dict[str, Any]]:
    """Return the last runs, newest first, each with the last that happened to it."""
    last = {entry.run_id: entry for entry in stores.history.ledger()}
    newest = sorted(last.values(), key=lambda entry: entry.time, reverse=True)[:RUNS]
    return [
        {
            "run_id": entry.run_id,
            "model": entry.model,
            "event": entry.event,
            "time": entry.time,
            "decision": (entry.body or {}).get("decision"),
            "error": (entry.body or {}).get("error"),
        }
        for entry in newest
    ]


def _log(stores: Stores) -> dict[str, Any]:
    newest = stores.events.query(limit=1, newest_first=True)
    return {
        "head": stores.events.head(),
        "last_event": newest[0].event.get("time") if newest else None,
    }
