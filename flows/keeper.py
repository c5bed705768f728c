"""No orphans: whatever becomes of `ratchet up`, its processes end with it.

Every process that it starts carries a mark in its environment, and hands it to those that it starts in turn, whatever
session or group they move to. So all of them can be found and ended at any time by anybody.

`python -m flows.keeper MARK` waits until its standard input closes, which the kernel does the moment `ratchet up` ends,
however it ends; then it ends all that carry the mark. Nothing but the standard library is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MARK = "_RATCHET_UP"
"""Variable that all processes of a `ratchet up` have in their environment."""
GRACE_SECONDS = 15.0
"""How long processes have to end in good order before they are killed."""
POLL_SECONDS = 0.05


def mark_of(home: Path, pid: int | None = None) -> str:
    """Return the mark of the processes of one `ratchet up`, or how those of all there were of a home begin."""
    return f"{home}:{'' if pid is None else pid}"


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark which begins with `mark`, but not this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has just ended, or is another user's
                if any(word.startswith(wanted) for word in (entry / "environ").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
    return found


def end(mark: str, grace: float = GRACE_SECONDS) -> int:
    """End all processes that carry the mark, in good order if they can; return how many had to be killed."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while left := marked(mark):
        late = time.monotonic() >= deadline
        for pid in left if late else set(left) - asked:
            _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
        if late:
            return len(left)
        asked.update(left)
        time.sleep(POLL_SECONDS)
    return 0


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main(mark: str) -> int:
    """Wait until the one who started this is gone, then end what it left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # it is needed until there is nothing left to keep
    sys.stdin.buffer.read()
    end(mark)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
