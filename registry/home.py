"""Home: the one folder that holds everything which is not on a server that the settings name.

    .ratchet/
      datasets/    NAME/VERSION/: immutable dataset versions
      reports/     one self-contained page a run
      runs/        what a run leaves beside its report, such as rejects.jsonl
      scratch/     work in progress; may be deleted while nothing runs
      cache/       models fetched from a tracking server, by LoggedModel id
      keys/ logs/  signing keys, structured logs
      locks/       one file a lock
      mlflow/      the embedded MLflow: mlflow.db and artifacts/
      prefect/     the embedded Prefect
      ratchet.db   history, decisions, intents, run ledger

Every path in it is relative to it, so that a home can be moved or copied; two homes never touch each other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import RatchetError, SettingsError, listed

FOLDERS = ("datasets", "reports", "runs", "scratch", "cache", "keys", "logs", "locks", "mlflow", "prefect")
PROBE_BYTES = 4096
POLL_SECONDS = 0.05

_held: set[int] = set()
"""File descriptors of the locks that this process holds; a forked child must not keep them alive."""


def now() -> str:
    """Return the time as it is recorded everywhere: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Home:
    """The layout of a home. Making one touches nothing; `create()` does."""

    def __init__(self, path: Path | str) -> None:
        self.root = Path(path).expanduser().absolute()
        self.datasets = self.root / "datasets"
        self.reports = self.root / "reports"
        self.runs = self.root / "runs"
        self.scratch = self.root / "scratch"
        self.cache = self.root / "cache"
        self.keys = self.root / "keys"
        self.logs = self.root / "logs"
        self.locks = self.root / "locks"
        self.mlflow = self.root / "mlflow"
        self.prefect = self.root / "prefect"
        self.database = self.root / "ratchet.db"
        self.mlflow_database = self.mlflow / "mlflow.db"
        self.artifacts = self.mlflow / "artifacts"

    def __repr__(self) -> str:
        return f"Home({str(self.root)!r})"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of history, decisions, intents and the run ledger."""
        return f"sqlite:///{self.database}"

    @property
    def tracking_uri(self) -> str:
        """MLflow URI of the embedded store."""
        return f"sqlite:///{self.mlflow_database}"

    @property
    def read_only(self) -> bool:
        """Whether there is a home that cannot be written to: a backup, or what an auditor was given."""
        there = self.root.is_dir() and all((self.root / folder).is_dir() for folder in FOLDERS)
        return there and not os.access(self.root, os.W_OK, effective_ids=True)

    def relative(self, path: Path) -> str:
        """Return `path` as it is recorded: relative to the home where it lies in it."""
        absolute = path.absolute()
        return absolute.relative_to(self.root).as_posix() if absolute.is_relative_to(self.root) else str(absolute)

    def create(self) -> Home:
        """Make the folders that are missing and prove that they can be written to.

        A home that is there and read-only stays as it is: it can be read.

        Raises:
            SettingsError: E7820 not a directory, E7821 not writable, E7822 disk full, E7824 a name that no database's
                address can hold.
        """
        if unusable := sorted(set(str(self.root)) & set("?%")):
            raise SettingsError(
                "E7824", f"the home {self.root} has {listed(unusable)} in its name", "name another with --home"
            )
        if self.read_only:
            return self  # it can be read all the same; what writes says why it cannot
        with self.guard():
            for folder in FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            try:
                probe.write_bytes(bytes(PROBE_BYTES))
            finally:
                probe.unlink(missing_ok=True)
        return self

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the disk's errors (full, read-only, forbidden) into SettingsErrors that say what to do."""
        try:
            yield
        except RatchetError:
            raise
        except OSError as error:
            raise disk_error(self.root, error) from error

    @contextlib.contextmanager
    def lock(self, name: str, purpose: str = "", wait: float = 0.0) -> Iterator[None]:
        """Hold the lock `name`, one holder on this machine at a time, thread or process.

        The kernel frees the lock of a process that ends in any way, so there are no stale locks.

        Args:
            name: What is locked, such as `learn-support`.
            purpose: What the holder does, for the message that others get.
            wait: How long to wait for another holder, in seconds.

        Raises:
            SettingsError: E7823 when somebody else still holds it after `wait` seconds; it says who.
        """
        path = self.locks / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock"
        with self.guard():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _held.add(descriptor)
        try:
            _take(descriptor, name, wait)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "purpose": purpose}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
            yield
        finally:
            _held.discard(descriptor)
            os.close(descriptor)


def _take(descriptor: int, name: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise SettingsError(
                    "E7823",
                    f"{name} is held by {_holder(descriptor)}",
                    "wait for it to end, or stop that process; its lock goes with it",
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, PROBE_BYTES, 0))
        doing = f" ({holder['purpose']})" if holder["purpose"] else ""
        return f"process {holder['pid']} on {holder['host']}{doing} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _forget_locks() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)  # the child's copy: the parent keeps its lock, and a killed parent leaves none behind
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def disk_error(path: Path, error: OSError) -> SettingsError:
    """Return what to tell the user about a failed read or write under `path`."""
    where = Path(str(error.filename2 or error.filename or path))  # of a copy, where it was to go
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return SettingsError(
            "E7822", f"the disk is full at {where}", "free some space, or name a home elsewhere with --home"
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        blocking = next((part for part in (*reversed(where.parents), where) if part.is_file()), where)
        return SettingsError(
            "E7820", f"{blocking} is not a directory", "name another folder with --home, or move the file away"
        )
    reason = error.strerror or str(error)
    return SettingsError(
        "E7821",
        f"the home {path} cannot be used: {reason} ({where})",
        "check its owner and permissions, or name another with --home",
    )
