"""The states of a training job: a small pure machine, and the run of a backend through it.

PENDING → INITIALIZING → PREPARING_DATA → TRAINING → VALIDATING → COMPLETED
any of them but COMPLETED → FAILED, CANCELLED
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from registry.errors import TrainingError
from registry.records import EpochMetrics, JobState, StateChange

if TYPE_CHECKING:
    from pathlib import Path

    from registry.records import TrainingResult
    from tasks.training.backend import TrainingBackend, TrainingData
    from tasks.training.policy import TrainingPolicy

NEXT: dict[JobState, frozenset[JobState]] = {
    "PENDING": frozenset({"INITIALIZING", "FAILED", "CANCELLED"}),
    "INITIALIZING": frozenset({"PREPARING_DATA", "FAILED", "CANCELLED"}),
    "PREPARING_DATA": frozenset({"TRAINING", "FAILED", "CANCELLED"}),
    "TRAINING": frozenset({"VALIDATING", "FAILED", "CANCELLED"}),
    "VALIDATING": frozenset({"COMPLETED", "FAILED", "CANCELLED"}),
    "COMPLETED": frozenset(),
    "FAILED": frozenset(),
    "CANCELLED": frozenset(),
}
"""Which states may follow each."""


def advance(current: JobState, following: JobState) -> JobState:
    """Return `following` if it may follow `current`.

    Raises:
        TrainingError: E7301 when it may not.
    """
    if following not in NEXT[current]:
        allowed = ", ".join(sorted(NEXT[current])) or "nothing: it is a last state"
        raise TrainingError(
            "E7301", f"a training job cannot go from {current} to {following}", f"after {current} may come {allowed}"
        )
    return following


class Progress(Protocol):
    """What a training job tells while it runs, and how it is asked to stop."""

    def state(self, state: JobState) -> None:
        """Learn that the job entered a state."""
        ...

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        """Learn of a finished epoch, and how many there are at most."""
        ...

    def cancelled(self) -> bool:
        """Say whether the job should stop. Asked at every state and every epoch."""
        ...


class Silent:
    """Progress that nobody looks at."""

    def state(self, state: JobState) -> None:
        """Ignore it."""

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        """Ignore it."""

    def cancelled(self) -> bool:
        """Go on."""
        return False


class Job:
    """The progress of one training job: keeps its state changes with their times and passes everything on."""

    def __init__(self, listener: Progress | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self.listener: Progress = listener or Silent()
        self.now = now
        self.changes = [StateChange(state="PENDING", time=now().isoformat())]
        self.listener.state("PENDING")

    @property
    def current(self) -> JobState:
        """The state that the job is in."""
        return self.changes[-1].state

    def state(self, state: JobState) -> None:
        """Enter a state.

        Raises:
            TrainingError: E7301 when it cannot follow the current one, E7302 when the job was cancelled.
        """
        self.changes.append(StateChange(state=advance(self.current, state), time=self.now().isoformat()))
        self.listener.state(state)
        if NEXT[state]:
            self.check()

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        """Pass an epoch on."""
        self.listener.epoch(metrics, epochs)
        self.check()

    def cancelled(self) -> bool:
        """Say whether the job should stop."""
        return self.listener.cancelled()

    def check(self) -> None:
        """Stop here if the job was cancelled.

        Raises:
            TrainingError: E7302.
        """
        if self.cancelled():
            raise TrainingError("E7302", f"training was cancelled while {self.current}", "start it again when you like")


def run_job(
    backend: TrainingBackend,
    data: TrainingData,
    policy: TrainingPolicy,
    seed: int,
    out: Path,
    start: Path | None = None,
    job: Job | None = None,
) -> TrainingResult:
    """Run a backend as a job that ends COMPLETED, FAILED or CANCELLED; the job keeps the changes of state.

    Raises:
        TrainingError: E7302 when it was cancelled, E7303 when the backend broke, or the backend's own.
        RatchetError: What the backend raised.
    """
    from registry.errors import RatchetError

    job = job or Job()
    try:
        job.state("INITIALIZING")
        result = backend.train(data, policy, seed, out, start, job)
        job.state("COMPLETED")
    except RatchetError as error:
        _end(job, "CANCELLED" if error.code == "E7302" else "FAILED")
        raise
    except Exception as error:
        _end(job, "FAILED")
        what = f"the backend {backend.name} failed: {type(error).__name__}: {error}"
        raise TrainingError("E7303", what, "see the log with --debug") from error
    return result


def _end(job: Job, state: JobState) -> None:
    if state in NEXT[job.current]:
        job.state(state)
