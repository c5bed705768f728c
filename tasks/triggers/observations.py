"""What the triggers look at: numbers from the event log, and what happened to the model before."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def _none() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True)
class Observations:
    """What the champion served since the last training, in the order in which it came, and what is there to learn.

    The arrays have the same length; the names of domains are the codes' positions.
    """

    quality: NDArray[np.float64] = field(default_factory=_none)
    """0 to 100; NaN where it is not known."""
    failed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    negative: NDArray[np.float64] = field(default_factory=_none)
    """1 where the last feedback was negative, 0 where it was not, NaN without feedback."""
    domain: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Code of the domain; -1 where there is none."""
    unit: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Code of the user or session; -1 where it is not known."""
    domains: tuple[str, ...] = ()
    samples: int = 0
    """Examples of accepted quality that no dataset has taken in, of all arms."""


class Event(NamedTuple):
    """Something after which the triggers wait."""

    time: datetime
    what: str
    """Such as `version 3 was trained`."""


@dataclass(frozen=True)
class Past:
    """What happened to the model before."""

    trained: datetime | None = None
    """When the newest version was trained; None for a model without any."""
    version: str | None = None
    """The newest version."""
    events: tuple[Event, ...] = ()
    """Trainings, rejected candidates, lost experiments."""
    running: tuple[str, ...] = ()
    """Keys of the experiments that go on."""


class Request(NamedTuple):
    """A person who wants a retrain."""

    by: str
    reason: str = ""
