"""`ratchet`, killed at its k-th write: `python tests/flows/killed.py K DELAY COUNT_FILE learn EVENTS ...`.

A write is a file of the home opened for writing, renamed, linked or removed, a folder made or removed, or a database
transaction committed. The process gets SIGKILL DELAY seconds after the k-th of them begins: with 0 before anything of
it happened, else somewhere in the middle. With K = 0 it runs to its end, and COUNT_FILE says how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

FILE_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.copyfile"}


class Killer:
    """Counts writes, and ends the process at one of them."""

    def __init__(self, at: int, delay: float, home: str) -> None:
        self.at, self.delay, self.home, self.count = at, delay, home, 0

    def write(self) -> None:
        self.count += 1
        if self.count == self.at:
            if self.delay:
                threading.Timer(self.delay, self.kill).start()
            else:
                self.kill()

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "w" in (mode or "")
            if writes and self._ours(path):
                self.write()
        elif event in FILE_EVENTS and self._ours(arguments[0]):
            self.write()

    def _ours(self, path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.home)


def main() -> None:
    at, delay, count_file, arguments = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    home = arguments[arguments.index("--home") + 1]
    killer = Killer(at, delay, str(Path(home).absolute()))
    sys.addaudithook(killer.audit)
    import sqlalchemy as sa

    sa.event.listen(sa.Engine, "commit", lambda connection: killer.write())
    from flows.cli import main as ratchet

    sys.argv = ["ratchet", *arguments]
    try:
        ratchet()
    finally:
        count_file.write_text(str(killer.count))


if __name__ == "__main__":
    main()
