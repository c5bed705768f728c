"""The connection to MLflow: the embedded store of a home, or a tracking server.

The embedded store is one SQLite file and one folder. MLflow writes absolute artifact paths into that file; `relocate`
puts them right when the home was moved or copied, so that plain `mlflow.pyfunc.load_model` finds them as well.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from registry.errors import IntegrityError, PromotionError, RatchetError, SettingsError
from registry.home import Home

EXPERIMENT = "ratchet"
OPEN_SECONDS = 120.0
"""How long one process waits for another that is making the embedded store."""
_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_NOISY = ("mlflow", "alembic")
_default_uri = threading.RLock()


class Connection(NamedTuple):
    """A live MLflow, and the experiment that Ratchet's runs are in."""

    uri: str
    client: Any
    """`mlflow.MlflowClient` for this URI."""
    experiment_id: str
    home: Home

    @property
    def embedded(self) -> bool:
        """Whether this is the store in the home."""
        return self.uri == self.home.tracking_uri

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Any]:
        """Make this MLflow the process's default for a while: parts of MLflow look nowhere else."""
        import mlflow

        with _default_uri, self.explained():
            before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
            if before != self.uri:
                mlflow.set_tracking_uri(self.uri)
            try:
                yield self.client
            finally:
                if before != self.uri:
                    mlflow.set_tracking_uri(before)

    @contextlib.contextmanager
    def explained(self) -> Iterator[Any]:
        """Give the client, and turn MLflow's errors into ours."""
        with explained(self.uri), self.home.guard():
            yield self.client


def connect(
    home: Home,
    uri: str | None = None,
    *,
    template: Path | None = None,
    experiment: str = EXPERIMENT,
    timeout: float = 10.0,
) -> Connection:
    """Connect to the MLflow at `uri`, or to the store embedded in the home.

    Args:
        home: Where the embedded store lies, and where models from a server are kept.
        uri: Tracking server or database; None for the embedded store.
        template: A migrated, empty MLflow database to start a fresh embedded store from (saves 3 s).
        experiment: Name of the experiment, made where it is missing.
        timeout: How long to wait for a server's first answer, in seconds. Later requests follow MLflow's own
            `MLFLOW_HTTP_REQUEST_TIMEOUT` and `MLFLOW_HTTP_REQUEST_MAX_RETRIES`.

    Raises:
        SettingsError: E7830 server does not answer, E7831 store cannot be used, E782x home cannot be used.
    """
    target = uri or home.tracking_uri
    embedded = target == home.tracking_uri
    server = target.startswith(("http://", "https://"))
    if server:
        _probe(target, timeout)
    if embedded and home.read_only and home.mlflow_database.exists():
        return _reading(home, experiment)
    with home.guard():
        home.mlflow.mkdir(parents=True, exist_ok=True)
    with home.lock("mlflow-open", "opening the embedded MLflow", OPEN_SECONDS), explained(target), home.guard():
        if embedded:
            _place(template, home.mlflow_database)
            _prepare(home, experiment)
        client = _client(target)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            experiment_id = _create_experiment(client, experiment, None if server else home)
        else:
            experiment_id = found.experiment_id
    return Connection(target, client, experiment_id, home)


def _reading(home: Home, experiment: str) -> Connection:
    """Connect to the store embedded in a home that cannot be written to: to a copy of its database, until we end."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with home.guard():
        for file in home.mlflow.glob("mlflow.db*"):
            shutil.copyfile(file, folder / file.name)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        relocate(database, experiment, home.artifacts)
        database.commit()
    with explained(home.tracking_uri):
        client = _client(f"sqlite:///{folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(experiment)
    if found is None:
        raise _unusable(home.tracking_uri, "it is empty, and the home is read-only")
    return Connection(home.tracking_uri, client, found.experiment_id, home)


def _client(uri: str) -> Any:
    for name in _NOISY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET or logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
    from mlflow import MlflowClient

    # MLflow logs each database error with its traceback and raises it as well; we report it, once.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # A version that an earlier Ratchet trained is verified by its digests; that it says so at each load helps nobody.
    logging.getLogger("mlflow.utils.requirements_utils").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_experiment(client: Any, name: str, home: Home | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=str(home.artifacts) if home else None))
    except MlflowException as error:  # somebody else made it meanwhile, on a server
        found = client.get_experiment_by_name(name)
        if found is None:
            raise error
        return str(found.experiment_id)


def _probe(uri: str, timeout: float) -> None:
    """Ask the server whether it lives, once: MLflow's own client retries for minutes."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in shows with the first request
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SettingsError(
            "E7830",
            f"the MLflow server {uri} does not answer ({reason})",
            "start it, correct MLFLOW_TRACKING_URI, or leave that empty to use the embedded one",
        ) from None


# --- the embedded store --------------------------------------------------------------------------------------------


def _place(template: Path | None, database: Path) -> None:
    if template is None or database.exists() or not template.exists():
        return
    aside = database.with_name(f".{database.name}.{os.getpid()}")
    shutil.copyfile(template, aside)
    aside.replace(database)


def place_embedded(home: Home, template: Path | None = None) -> None:
    """Make the embedded store ready for a server on it, without importing MLflow.

    Raises:
        SettingsError: E7831 it cannot be written to, E782x the home cannot be used.
        IntegrityError: E7922 it is damaged.
    """
    with home.guard(), home.lock("mlflow-open", "opening the embedded MLflow", OPEN_SECONDS):
        home.mlflow.mkdir(parents=True, exist_ok=True)
        _place(template, home.mlflow_database)
        _prepare(home, EXPERIMENT)


def _prepare(home: Home, experiment: str) -> None:
    """Prove that the embedded store can be written to, make it durable beside readers, and put its paths right."""
    try:
        with contextlib.closing(sqlite3.connect(home.mlflow_database, timeout=30)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("BEGIN IMMEDIATE")
            relocate(database, experiment, home.artifacts)
            database.commit()
    except sqlite3.OperationalError as error:
        raise _unusable(home.tracking_uri, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(
            "E7922", f"the MLflow database {home.mlflow_database} is damaged: {error}", "restore it from a backup"
        ) from error


def relocate(database: sqlite3.Connection, experiment: str, artifacts: Path) -> bool:
    """Rewrite the artifact paths of a store that was moved, in the transaction that is open; tell whether it was.

    The experiment's own location says where the artifacts were when the store was last opened.
    """
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "experiments" not in tables:
        return False  # a fresh file: MLflow will make its tables
    database.execute(  # MLflow's default experiment keeps its files in whatever folder it was made from
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0 "
        "AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = 0)",
        (f"{artifacts}/0",),
    )
    found = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
    if found is None or found[0] == str(artifacts):
        return False
    old, new = found[0], str(artifacts)
    for table, column in _PATH_COLUMNS:
        if table in tables:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
    return True


# --- errors --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into ours: server gone, store not writable, thing not found, anything else."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except RatchetError:
        raise
    except MlflowException as error:
        raise _translated(uri, error) from error
    except OSError as error:
        if type(error).__module__.startswith(("requests", "urllib3")):
            raise _gone(uri, error) from error
        raise


def _translated(uri: str, error: Any) -> RatchetError:
    text = " ".join(str(error).split())[:300]
    if "readonly database" in text or "unable to open database" in text or "disk is full" in text:
        return _unusable(uri, text)
    if "API request to" in text and "failed with exception" in text:
        return _gone(uri, error)
    if error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return PromotionError("E7521", f"MLflow does not know that: {text}", "check the name with `ratchet history`")
    return _unusable(uri, text)


def _unusable(uri: str, reason: str) -> SettingsError:
    return SettingsError(
        "E7831", f"MLflow at {uri} cannot be used: {reason}", "check that it can be written to and has disk space"
    )


def _gone(uri: str, error: object) -> SettingsError:
    text = " ".join(str(error).split())[:200]
    return SettingsError("E7830", f"the MLflow server {uri} stopped answering ({text})", "start it and run again")
