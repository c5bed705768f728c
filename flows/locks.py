"""Locks between processes that the kernel lets go of when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple, Self

# struct flock of Linux on 64 bits: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = struct.Struct("hhqqi4x")


class Holder(NamedTuple):
    """Who holds a lock, and how."""

    pid: int
    exclusive: bool


class FileLock:
    """A POSIX record lock on one file: many may share it, or one may have it.

    The lock belongs to the process, not to the object, and closing any descriptor of the file gives it up: open each
    file once per process.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def share(self) -> None:
        """Take the lock beside others; wait while somebody has it alone."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_SH)

    def take(self) -> None:
        """Take the lock alone; wait while anybody else has it."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def try_take(self) -> bool:
        """Take the lock alone, if nobody else has it."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def holder(self) -> Holder | None:
        """Return who else has the lock; None if nobody has."""
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_GETLK, question))
        return None if kind == fcntl.F_UNLCK else Holder(pid, kind == fcntl.F_WRLCK)

    def release(self) -> None:
        """Give the lock up, and keep the file open."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the lock up and close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Return the lock, not taken yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the lock."""
        self.close()
