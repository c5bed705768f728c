"""Template databases: migrated once when Ratchet is installed, copied into each fresh home.

Migrating takes 6 s for Prefect's database and 3 s for MLflow's; a copy takes milliseconds. The templates lie in the
environment that they belong to and carry the library's version in their names. Where there are none (an environment
that is not writable), the libraries migrate an empty database as ever.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from flows.settings import Settings, load_settings, prepare_environment, restored_environment
from registry.errors import IntegrityError, SettingsError

Library = Literal["prefect", "mlflow"]
FOLDER = Path(sys.prefix) / "share" / "ratchet"
SQLITE = b"SQLite format 3\0"
"""How every SQLite database begins (https://www.sqlite.org/fileformat.html, 1.3)."""
SCHEMA = "schema-version"
"""File beside Prefect's database that names the version of Prefect that last migrated it."""


def template(library: Library) -> Path:
    """Return where the template database of the installed version of `library` lies, or would."""
    return FOLDER / f"{library}-{version(library)}.db"


def place(library: Library, target: Path) -> bool:
    """Copy the template to `target` unless there is a database already; tell whether a copy was made.

    The copy appears whole or not at all, and never over another process's.
    """
    if target.exists() or not template(library).exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(template(library), aside)
        os.link(aside, target)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def mlflow_template() -> Path | None:
    """Return the template of MLflow's database, for `registry.connection`; None where there is none."""
    path = template("mlflow")
    return path if path.exists() else None


def place_prefect(settings: Settings) -> None:
    """Give a fresh home the embedded server's database.

    Raises:
        SettingsError: E7820–E7822 when the home cannot be written to.
    """
    home = settings.layout
    with home.guard():
        if place("prefect", home.prefect / "prefect.db"):
            mark_migrated(home.prefect)


def migrated(folder: Path) -> bool:
    """Tell whether the Prefect database in `folder` was made or migrated by the installed version."""
    try:
        return (folder / SCHEMA).read_text() == version("prefect") and (folder / "prefect.db").exists()
    except FileNotFoundError:
        return False


def check_prefect(folder: Path) -> None:
    """Look whether the Prefect database in `folder` is one at all, before a server waits in vain for it.

    Raises:
        IntegrityError: E7930 it does not begin as an SQLite database does.
    """
    path = folder / "prefect.db"
    try:
        with path.open("rb") as database:
            begins = database.read(len(SQLITE))
    except FileNotFoundError:
        return
    if begins and begins != SQLITE:  # an empty file is an empty database
        raise damaged(path, "it is not an SQLite database")


def damaged(path: Path, why: str) -> IntegrityError:
    """Return what to tell about the embedded server's database when it cannot be used."""
    return IntegrityError(
        "E7930",
        f"{path} is damaged: {why}",
        f"delete {path.name} and what begins with that name beside it: only the embedded server's list of runs is lost",
    )


def mark_migrated(folder: Path) -> None:
    """Note that the Prefect database in `folder` is of the installed version."""
    (folder / SCHEMA).write_text(version("prefect"))


def make_templates() -> list[Path]:
    """Make the templates that are missing, and return them.

    Raises:
        SettingsError: E7806 when a library cannot migrate an empty database.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, restored_environment():
        settings = load_settings(home=Path(scratch))
        prepare_environment(settings)
        if not template("mlflow").exists():
            database = settings.layout.mlflow_database
            database.parent.mkdir(parents=True)
            _run([sys.executable, "-m", "mlflow", "db", "upgrade", settings.layout.tracking_uri])
            _keep(database, template("mlflow"))
        if not template("prefect").exists():
            _migrate_prefect(settings)
            _keep(settings.layout.prefect / "prefect.db", template("prefect"))
    return [template("mlflow"), template("prefect")]


def _migrate_prefect(settings: Settings) -> None:
    from flows.engine import engine  # the server itself migrates, and registers its block types

    embedded = settings.model_copy(update={"prefect_api_url": None})
    with engine(embedded, from_templates=False) as live:
        live.ready()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise SettingsError("E7806", f"no template database could be made: {last}", "run `make install` again")


def _keep(database: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(database, aside)
    aside.replace(target)
