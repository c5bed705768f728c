"""What makes a week hard: processes are killed at any moment, and somebody looks all the time who serves."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from servers import Ratchet

GAP = (1.0, 9.0)
"""Seconds between two kills."""
LOOK_SECONDS = 0.25
UNSURE = 8
"""Looks in a row at a champion that is none, before that counts: a look is two questions, and not one moment."""


class _Thread:
    """A thread for the length of a `with` block; what went wrong in it comes out at the end."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=180)
        if self._error is not None and error is None:
            raise self._error

    def _guarded(self) -> None:
        try:
            while not self._end.is_set():
                self.step()
        except BaseException as error:
            self._error = error

    def step(self) -> None:
        """Do it once."""


class Watch(_Thread):
    """Looks at the registry all the time: there is one champion, and it is in production."""

    def __init__(self, ratchet: Ratchet, model: str) -> None:
        super().__init__()
        self.ratchet, self.model = ratchet, model
        self.looks, self._unsure = 0, 0
        self._registry: Any = None

    def step(self) -> None:
        """Look once."""
        if self._registry is None:
            self._registry = self.ratchet.registry()
        champion = self._registry.champion(self.model)
        well = champion is not None and champion.stage == "production"
        self._unsure = 0 if well else self._unsure + 1
        assert self._unsure < UNSURE, f"the champion of {self.model} is {champion}"
        self.looks += 1
        time.sleep(LOOK_SECONDS)


class Reaper(_Thread):
    """Kills processes of a `ratchet up` with SIGKILL at seeded moments; `ratchet up` itself is started again."""

    def __init__(self, ratchet: Ratchet, kills: int, seed: int, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.ratchet, self.kills, self.tell = ratchet, kills, tell
        self.rng = random.Random(f"reaper/{seed}")
        self.killed = 0
        self.victims: list[str] = []

    def step(self) -> None:
        """Wait for the next moment, and kill."""
        if self.killed >= self.kills or self._end.wait(self.rng.uniform(*GAP)):
            self._end.wait(0.2)
            return
        top = self.ratchet.process
        assert top is not None
        found = [top.pid, *descendants(top.pid)]
        victim = self.rng.choice(found)
        name = what(victim)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.killed += 1
            self.victims.append(name)
            self.tell(f"(killed {name})")
        if victim == top.pid:
            top.wait()
            self.ratchet.up()

    def finish(self, week: Any) -> None:
        """Go on with the week until every kill has happened."""
        while self.killed < self.kills and self._error is None:
            week.traffic.day(week.customers(20))


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, in no order."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return sorted(found)


def what(pid: int) -> str:
    """Return the end of a process's command line, for the story."""
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "a process that had just ended"
    return " ".join(Path(word).name if "/" in word else word for word in words if word)[:70]
