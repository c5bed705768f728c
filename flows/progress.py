"""How far a run is: seconds a step, told to whoever listens (the command line's progress bar) and to the run's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Somebody who shows progress."""

    def step(self, name: str, total: float | None) -> None:
        """A step begins; `total` is how much there is to do, None when that is not known."""
        ...

    def expect(self, more: float) -> None:
        """So much more is to be done in the step than was known."""
        ...

    def advance(self, done: float) -> None:
        """So much more of the step is done."""
        ...

    def end(self) -> None:
        """The step is over."""
        ...


class Silent:
    """Nobody listens."""

    def step(self, name: str, total: float | None) -> None:
        """Ignore it."""

    def expect(self, more: float) -> None:
        """Ignore it."""

    def advance(self, done: float) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""


class Progress:
    """The steps of one run, with their seconds."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[None]:
        """Time a step, and say that it began and ended."""
        started = time.perf_counter()
        logger.info("%s begins", name, extra={"step": name})
        for each in self.listeners:
            each.step(name, total)
        try:
            yield
        finally:
            taken = time.perf_counter() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + taken, 3)
            for each in self.listeners:
                each.end()
            logger.info("%s took %.2f s", name, taken, extra={"step": name, "seconds": round(taken, 3)})

    def expect(self, more: float) -> None:
        """Say that there is so much more to do in the current step."""
        for each in self.listeners:
            each.expect(more)

    def advance(self, done: float = 1.0) -> None:
        """Say that so much more of the current step is done."""
        for each in self.listeners:
            each.advance(done)


listener: Listener = Silent()
"""Who listens to the runs of this process. The command line puts its progress bar here."""


@contextmanager
def listening(to: Listener) -> Iterator[None]:
    """Let `to` hear of every run's progress for a while."""
    global listener  # one command line a process
    before, listener = listener, to
    try:
        yield
    finally:
        listener = before
