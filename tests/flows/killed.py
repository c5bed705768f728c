"""Runs of `ratchet` that are killed at their k-th point, forked from one process that has everything imported.

Told one JSON object a line on standard input, {"at", "delay", "points", "out", "arguments", "victim"}, it forks a child
that runs the command, and answers with {"code", "seconds"} once that has ended. A point is a write or a step:

- a file of the home opened for writing, renamed, linked or removed, a folder made or removed, a database transaction
  committed;
- a step of a transition (`registry.transitions`): before and after the intent, between any two of its effects.

The child (or the group of the process `victim`, a server that it uses) gets SIGKILL `delay` seconds after the point
`at` begins: with 0 before anything of it happened, else somewhere in the middle. With `at` 0 it runs to its end, and
the file `points` gets the name of the step of the main job that each point was in.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FILE_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.copyfile"}
BEFORE = "start"
NEEDED = (
    "mlflow.pyfunc", "pandas", "sklearn.ensemble", "flows.cli", "flows.dataset", "registry.models",
    "registry.transitions", "tasks.training.simulated", "tasks.validation.examination",
)  # fmt: skip


class Killer:
    """Counts points, and ends the process at one of them."""

    def __init__(self, at: int, delay: float, home: str, victim: int | None) -> None:
        self.at, self.delay, self.home, self.victim, self.step = at, delay, home, victim, BEFORE
        self.seen: list[str] = []

    def point(self, step: str | None = None) -> None:
        self.seen.append(step or self.step)
        if len(self.seen) == self.at:
            if self.delay:
                threading.Timer(self.delay, self.kill).start()
            else:
                self.kill()

    def kill(self) -> None:
        if self.victim is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.killpg(self.victim, signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "w" in (mode or "")
            if writes and self._ours(path):
                self.point()
        elif event in FILE_EVENTS and self._ours(arguments[0]):
            self.point()

    def _ours(self, path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.home)


def listen(killer: Killer) -> None:
    """Let the killer hear of every write and step of this process."""
    import sqlalchemy as sa

    from flows.progress import Progress
    from registry.transitions import Transitions

    class Steps:
        def step(self, name: str, total: float | None) -> None:
            killer.step = name

        def expect(self, more: float) -> None: ...
        def advance(self, done: float) -> None: ...
        def end(self) -> None:
            killer.step = f"after {killer.step}"

    started, opened = Progress.__init__, Transitions.__init__

    def start(self: Progress, *listeners: Any) -> None:
        started(self, *listeners, Steps())

    def open_(self: Transitions, *arguments: Any, **named: Any) -> None:
        opened(self, *arguments, **{**named, "reached": lambda step: killer.point("transition")})

    Progress.__init__, Transitions.__init__ = start, open_  # type: ignore[method-assign]
    sa.event.listen(sa.Engine, "commit", lambda connection: killer.point())
    sys.addaudithook(killer.audit)


def run(wish: dict[str, Any]) -> None:
    """Run the command in this process, a child."""
    out = os.open(wish["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    arguments = wish["arguments"]
    home = str(Path(arguments[arguments.index("--home") + 1]).absolute())
    killer = Killer(wish["at"], wish["delay"], home, wish["victim"])
    listen(killer)
    from flows.cli import main as ratchet

    sys.argv = ["ratchet", *arguments]
    code = 0
    try:
        ratchet()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        Path(wish["points"]).write_text(json.dumps(killer.seen))
        sys.stdout.flush()
        sys.stderr.flush()
        if sys.exc_info()[0] is not None and code == 0:
            code = 1
        os._exit(code)


def serve() -> None:
    """Import what every run needs, except Prefect, which reads its settings then; fork one child a wish."""
    for name in NEEDED:
        importlib.import_module(name)
    for line in sys.stdin:
        wish, began = json.loads(line), time.monotonic()
        child = os.fork()
        if child == 0:
            run(wish)
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "seconds": round(time.monotonic() - began, 3)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
