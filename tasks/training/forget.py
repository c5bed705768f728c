"""An artifact without turns that somebody said and nobody else did: its weights stay, they hold no text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.errors import TrainingError
from tasks.training.artifact import BACKEND, CONFIG, read_artifact, write_artifact
from tasks.training.backend import find_backend
from tasks.training.index import Cells
from tasks.training.pairs import KnownTurns

NOTHING = "…"
"""The answer of a model that knows no turn any more."""


def forget(path: Path, said: Mapping[str, int], out: Path) -> int:
    """Write an artifact again without what somebody said, and return how many turns that changed.

    A turn that others said as often or more stays, with its count lowered. With 0 nothing is written.

    Args:
        path: The artifact.
        said: Turns of the person, and how often they are in what it was trained on.
        out: Where the new artifact is written.

    Raises:
        TrainingError: E7320, E7321 it is no artifact that can be read, E7323 its backend cannot take turns out.
        IntegrityError: E7910 it is damaged.
    """
    name = str(json.loads((path / CONFIG).read_bytes()).get("backend", BACKEND))
    if name != BACKEND:
        theirs = getattr(find_backend(name), "forget", None)
        if theirs is None:
            what = f"the backend {name} has no `forget`, so nothing can be taken out of {path}"
            raise TrainingError("E7323", what, "remove that version, and train it again")
        return int(theirs(path, said, out))
    read = read_artifact(path)
    mine = np.array([said.get(text, 0) for text in read.turns.texts], dtype=np.int64)
    if not mine.any():
        return 0
    counts = read.turns.counts - mine
    kept = np.flatnonzero(counts > 0)
    domains = [read.turns.domains[place] for place in kept]
    turns = KnownTurns([read.turns.texts[place] for place in kept], counts[kept], domains)
    if not len(kept):
        turns = KnownTurns([NOTHING], np.ones(1, dtype=np.int64), ["unknown"])
    config = read.config.model_dump(exclude={"rank", "scale", "turns", "files"})
    write_artifact(out, config, read.adapter, turns, _of(read.cells, kept), _of(read.base_cells, kept))
    return int((mine > 0).sum())


def _of(cells: Cells | None, kept: NDArray[np.int64]) -> Cells | None:
    if cells is None:
        return None
    return cells[kept] if len(kept) else np.zeros(1, dtype=np.int32)
