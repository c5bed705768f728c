"""What a training backend is. docs/training-backend.md shows how to write one."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from registry.errors import IntegrityError, TrainingError
from registry.records import Predictor, TrainingResult
from tasks.training.job import Progress
from tasks.training.policy import TrainingPolicy


class TrainingData(NamedTuple):
    """What is learned from. Tables have at least example_id, messages (JSON text), domain and composite."""

    train: pa.Table
    validation: pa.Table
    digest: str
    """Digest of the dataset version."""


class TrainingBackend(Protocol):
    """Something that turns a dataset into an adapter, and an adapter into a model that answers."""

    name: str

    def train(
        self,
        data: TrainingData,
        policy: TrainingPolicy,
        seed: int,
        out: Path,
        start: Path | None,
        progress: Progress,
    ) -> TrainingResult:
        """Train and write the artifact into the folder `out`.

        Same data, policy, seed and start must give the same bytes. The artifact has a `config.json` with the key
        `backend`, the name that `find_backend` finds this backend by, and no pickle.

        Args:
            data: What is learned from.
            policy: Settings.
            seed: Of everything random.
            out: A folder that does not exist yet, or is empty.
            start: The artifact to go on from; None starts from the base.
            progress: Is told PREPARING_DATA, TRAINING, VALIDATING and each epoch, and asked whether to stop.

        Raises:
            TrainingError: Nothing could be trained.
        """
        ...

    def load(self, path: Path, adapter: bool = True) -> Predictor:
        """Load an artifact as it is served; without its adapter, the frozen base over the same knowledge.

        Raises:
            TrainingError: It is not an artifact of this backend and version.
            IntegrityError: It is damaged.
        """
        ...


def find_backend(name: str) -> TrainingBackend:
    """Return the backend called `simulated`, or the one that `package.module:name` points to.

    Raises:
        TrainingError: E7304 when there is none.
    """
    module, _, attribute = name.partition(":")
    if name == "simulated":
        module, attribute = "tasks.training.simulated", "SimulatedBackend"
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainingError(
            "E7304",
            f"there is no training backend {name!r} ({error})",
            "use `simulated`, or `package.module:name` of a backend that is installed",
        ) from error
    backend: TrainingBackend = found() if isinstance(found, type) else found
    return backend


def load_trained(path: Path, adapter: bool = True) -> Predictor:
    """Load an artifact with the backend that made it, which its `config.json` names; see `TrainingBackend.load`.

    Raises:
        TrainingError: E7304 the backend is not installed, E7320 it is no artifact, E7321 it is of another format.
        IntegrityError: E7910 it is damaged.
    """
    config = path / "config.json"
    try:
        name = json.loads(config.read_bytes())["backend"]
    except FileNotFoundError as error:
        raise TrainingError("E7320", f"{path} is not an adapter: it has no {config.name}", "train it again") from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        what = f"the adapter {path} is damaged: {config.name} names no backend ({type(error).__name__})"
        raise IntegrityError("E7910", what, "train it again") from error
    return find_backend(str(name)).load(path, adapter)
