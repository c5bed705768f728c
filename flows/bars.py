"""The progress bar of the command line, on standard error; plain lines where that is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Bars:
    """One line a step: a bar where the amount is known, a spinner where it is not."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.current = progress.add_task("starting", total=None)

    def step(self, name: str, total: float | None) -> None:
        """Begin a line."""
        if not self.progress.finished:
            self.end()
        self.current = self.progress.add_task(name, total=total)

    def expect(self, more: float) -> None:
        """Make the bar longer."""
        self.progress.update(self.current, total=(self.progress.tasks[-1].total or 0) + more)

    def advance(self, done: float) -> None:
        """Move the bar."""
        self.progress.advance(self.current, done)

    def end(self) -> None:
        """Fill the bar: the step is over, also when it stopped early."""
        task = self.progress.tasks[-1]
        total = task.total if task.total is not None else 1
        self.progress.update(task.id, total=total, completed=total)


class Lines:
    """One plain line a step, for logs of schedulers and CI."""

    def __init__(self) -> None:
        self.name, self.started = "starting", time.perf_counter()

    def step(self, name: str, total: float | None) -> None:
        """Remember which step it is."""
        self.name, self.started = name, time.perf_counter()

    def expect(self, more: float) -> None:
        """Say nothing."""

    def advance(self, done: float) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say how long the step took."""
        sys.stderr.write(f"{self.name}: {time.perf_counter() - self.started:.1f} s\n")


@contextmanager
def bars(quiet: bool) -> Iterator[Bars | Lines | None]:
    """Show progress while the block runs; `quiet` shows nothing."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield None
    elif not console.is_terminal:
        yield Lines()
    else:
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:12s}"),
            BarColumn(28),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield Bars(progress)
