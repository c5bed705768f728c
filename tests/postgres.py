"""A PostgreSQL of the tests' own, on a free loopback port; what needs it is skipped, loudly, where there is none."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
USER = "postgres"
QUICK = {"shared_buffers": "256MB", "max_connections": "200", "unix_socket_directories": "''", "max_wal_size": "2GB"}


def binaries() -> Path | None:
    """Return the folder with the newest PostgreSQL's programs; None, with a warning, where there is none."""
    on_path = shutil.which("initdb")
    if BINARIES or on_path:
        return BINARIES[-1].parent if BINARIES else Path(str(on_path)).parent
    warnings.warn("PostgreSQL is not installed (Debian: postgresql): its tests are skipped", stacklevel=2)
    return None


def _as_user(command: list[str], folder: Path) -> None:
    """Run a program of PostgreSQL, which refuses to be root."""
    if os.getuid() == 0:
        account = pwd.getpwnam(USER)
        groups = f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"
        command = ["setpriv", *groups, *command]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@contextmanager
def running(folder: Path | None = None) -> Iterator[Postgres]:
    """Run an instance while the block lasts."""
    programs = binaries()
    assert programs is not None
    # Not in pytest's folder: that belongs to root alone.
    place = Path(tempfile.mkdtemp(prefix="ratchet-postgres-", dir=folder))
    if os.getuid() == 0:
        shutil.chown(place, USER, USER)
    data = place / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        _as_user([str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", USER, "-N"], place)
        options = " ".join(f"-c {name}={value}" for name, value in QUICK.items())
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(place / "log")]
        _as_user([*control, "-o", f"-p {port} -h 127.0.0.1 {options}", "start"], place)
        try:
            yield Postgres(f"postgresql://{USER}@127.0.0.1:{port}")
        finally:
            _as_user([*control, "-m", "immediate", "stop"], place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Postgres(NamedTuple):
    """A running instance."""

    url: str
    """`postgresql://USER@127.0.0.1:PORT`, without a database."""

    def fresh(self) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        name = f"ratchet_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{self.url}/{name}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give an instance that all tests of a session share; each makes databases of its own in it."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with running() as server:
        yield server
