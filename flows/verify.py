"""Look whether everything that is kept is what was recorded: history, datasets, what serves, half-done work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.settings import load_settings
from flows.stores import Stores, open_stores
from registry.errors import IntegrityError, RatchetError, listed
from registry.situation import champions


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


@flow(name="verify", log_prints=False)
def verify(home: str | None = None) -> dict[str, Any]:
    """Check everything that is kept against what was recorded, and finish what a crash left half done.

    Args:
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        {"ok": true, "checks": [{"name", "ok", "detail"}]}.

    Raises:
        IntegrityError: E7931 something is not as it was recorded; all of it.
    """
    checks = check_everything(open_stores(load_settings(home=home)))
    create_table_artifact([check._asdict() for check in checks], key="verify", description="What was verified")
    return verdict(checks)


def check_everything(stores: Stores) -> list[Check]:
    """Look at everything; a failure of one check never hides another."""
    looks: list[tuple[str, Callable[[], str]]] = [
        ("half-done work", lambda: f"{len(stores.transitions.recover())} intents finished"),
        ("stage history", partial(_history, stores)),
    ]
    for name in stores.datasets.names():
        looks += [(f"dataset {name}/{v}", partial(_dataset, stores, name, v)) for v in stores.datasets.versions(name)]
    looks += [(f"model {model}", partial(_champion, stores, model)) for model in stores.history.models()]
    return [_check(name, look) for name, look in looks]


def verdict(checks: list[Check]) -> dict[str, Any]:
    """Return the checks, or fail with all that are not in order.

    Raises:
        IntegrityError: E7931.
    """
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    if wrong:
        raise IntegrityError("E7931", listed(wrong), "restore what is damaged from a backup; each line says what")
    return {"ok": True, "checks": [check._asdict() for check in checks]}


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except RatchetError as error:
        return Check(name, False, str(error))


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
