"""Look whether everything that is kept is what was recorded, and whether the gates catch what they must."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.looked import Check, looked_at
from flows.policy import load_policy
from flows.settings import Settings, load_settings
from flows.stores import Stores, open_stores
from registry.errors import MAX_LISTED, IntegrityError, listed
from registry.situation import champions

Gates = Literal["quick", "full", "none"]
FAILED = "ratchet.verify.failed"


@flow(name="verify", log_prints=False)
def verify(home: str | None = None, gates: Gates = "quick") -> dict[str, Any]:
    """Check everything that is kept against what was recorded, finish what a crash left half done, test the gates.

    What fails raises the event `ratchet.verify.failed`, which automations can act on.

    Args:
        home: Ratchet's home, where it is not the worker's default.
        gates: How the gates are tested with faulty and good candidates (`ratchet verify`), in a sandbox.

    Returns:
        {"ok": true, "checks": [{"name", "ok", "detail"}], "gates": what `ratchet verify --json` prints, or null}.

    Raises:
        IntegrityError: E7931 something is not as it was recorded; all of it. E7991 the gates are not to be trusted.
    """
    settings = load_settings(home=home)
    checks = check_everything(open_stores(settings))
    tested = None if gates == "none" else _tested(settings, quick=gates == "quick")
    rows = [*checks, *(Check(**row) for row in tested["checks"])] if tested is not None else checks
    create_table_artifact([check._asdict() for check in rows], key="verify", description="What was verified")
    wrong = [check._asdict() for check in checks if not check.ok]
    if wrong or (tested is not None and not tested["ok"]):
        raise_event({"checks": wrong, "problems": tested["problems"] if tested is not None else []})
    kept = verdict(checks)
    if tested is not None:
        from flows.verification import refuse

        refuse(tested)
    return {**kept, "gates": tested}


def raise_event(result: Mapping[str, Any]) -> None:
    """Tell Prefect that a verification failed, and wait until it is told."""
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    payload = {"problems": list(result["problems"])[:MAX_LISTED], "checks": list(result["checks"])[:MAX_LISTED]}
    emit_event(FAILED, {"prefect.resource.id": "ratchet.verify", "prefect.resource.name": "verify"}, payload=payload)
    EventsWorker.instance().wait_until_empty()


def _tested(settings: Settings, *, quick: bool) -> dict[str, Any]:
    from flows.verification import verify_gates

    result = verify_gates(settings, policy=load_policy(settings.policy), quick=quick)
    create_table_artifact(
        [{**cell, "by": ", ".join(cell["by"])} for cell in result["cells"]],
        key="verify-gates",
        description="Candidates with a fault, and which stages and gates caught them",
    )
    return result


def check_everything(stores: Stores) -> list[Check]:
    """Look at everything; a failure of one check never hides another."""
    looks: list[tuple[str, Callable[[], str]]] = [
        ("half-done work", lambda: f"{len(stores.transitions.recover())} intents finished"),
        ("stage history", partial(_history, stores)),
    ]
    for name in stores.datasets.names():
        looks += [(f"dataset {name}/{v}", partial(_dataset, stores, name, v)) for v in stores.datasets.versions(name)]
    looks += [(f"model {model}", partial(_champion, stores, model)) for model in stores.history.models()]
    return [looked_at(name, look) for name, look in looks]


def verdict(checks: list[Check]) -> dict[str, Any]:
    """Return the checks, or fail with all that are not in order.

    Raises:
        IntegrityError: E7931.
    """
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    if wrong:
        raise IntegrityError("E7931", listed(wrong), "restore what is damaged from a backup; each line says what")
    return {"ok": True, "checks": [check._asdict() for check in checks]}


def _history(stores: Stores) -> str:
    stores.history.verify()
    return "no line is missing"


def _dataset(stores: Stores, name: str, version: str) -> str:
    manifest = stores.datasets.load(name, version)
    return f"{len(stores.datasets.files(manifest))} files are those that were written"


def _champion(stores: Stores, model: str) -> str:
    """Check that the version which the history says serves is the one that does, and that its files are its own."""
    recorded = next(iter(champions(stores.history.of(model))[-1:]), None)
    found = stores.models.champion(model)
    serving = found.version if found is not None else None
    if recorded != serving:
        raise IntegrityError(
            "E7923",
            f"the history says that {model}/{recorded} serves, MLflow's alias champion says {serving}",
            "put it right with `ratchet rollback`",
        )
    if found is None:
        return "none serves, as recorded"
    stores.models.artifact(found)
    return f"version {serving} serves, as recorded, with the files that were registered"
