"""Ranks the known turns for a context: all of them while they are few, the nearest cells of them when they are many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.training.encoder import Floats, unit

EXACT = 4096
"""Known turns up to which each is looked at."""
BUDGET = 2048
"""Turns of the nearest cells that are looked at beyond that."""
PER_CELL, LEARNED_PER_CELL, ROUNDS = 160, 16, 4
"""Turns in a cell, about; turns that a cell is learned from; rounds of k-means."""
ROWS = 128
"""Queries that are ranked at once."""
GRAIN = 1_000_000
"""Scores are compared in millionths: what differs by less is a tie, and the earlier turn wins."""

Cells = NDArray[np.int32]


class Ranked(NamedTuple):
    """For n queries the k best turns, best first: their numbers (n, k) and cosines (n, k)."""

    turns: NDArray[np.int64]
    scores: Floats


class TurnIndex:
    """The vectors of the known turns, ready to be searched."""

    def __init__(self, keys: Floats, cells: Cells | None = None) -> None:
        """Take the turns' vectors (t, d) of length 1, and the cell of each where there are more than `EXACT`."""
        self.order = np.arange(len(keys)) if cells is None else np.argsort(cells, kind="stable")
        self.keys = keys if cells is None else keys[self.order]
        self.bounds = np.zeros(1, dtype=np.int64)
        self.centres = np.zeros((0, keys.shape[1]), dtype=np.float32)
        if cells is not None:
            sizes = np.bincount(cells)
            sizes = sizes[sizes > 0]
            self.bounds = np.concatenate([[0], np.cumsum(sizes)])
            self.centres = unit(np.add.reduceat(self.keys, self.bounds[:-1], axis=0))

    def rank(self, queries: Floats, count: int) -> Ranked:
        """Return the `count` best turns of each query (n, d); of equal ones the first."""
        count = min(count, len(self.keys))
        if len(self.centres):
            found = [self._nearest(query, count) for query in queries]
        else:
            found = [self._all(queries[start : start + ROWS], count) for start in range(0, len(queries), ROWS)]
        if not found:
            return Ranked(np.zeros((0, count), dtype=np.int64), np.zeros((0, count), dtype=np.float32))
        return Ranked(np.concatenate([part.turns for part in found]), np.concatenate([part.scores for part in found]))

    def _all(self, queries: Floats, count: int) -> Ranked:
        return best(queries @ self.keys.T, self.order, count)

    def _nearest(self, query: Floats, count: int) -> Ranked:
        by_distance = np.argsort(-(self.centres @ query), kind="stable")
        sizes = np.diff(self.bounds)[by_distance]
        enough = int(np.searchsorted(np.cumsum(sizes), max(BUDGET, count))) + 1
        chosen = by_distance[:enough].tolist()
        scores = np.concatenate([self.keys[self.bounds[c] : self.bounds[c + 1]] @ query for c in chosen])
        numbers = np.concatenate([self.order[self.bounds[c] : self.bounds[c + 1]] for c in chosen])
        return best(scores[None, :], numbers, count)


def best(scores: Floats, numbers: NDArray[np.int64], count: int) -> Ranked:
    """Return the `count` best of each row of scores (n, m) of the turns `numbers` (m,)."""
    keys = np.rint(scores.astype(np.float64) * GRAIN).astype(np.int64) * (1 << 32) - numbers
    count = min(count, keys.shape[1])
    top = np.argpartition(-keys, count - 1, axis=1)[:, :count] if count < keys.shape[1] else _all_columns(keys)
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1), axis=1)
    return Ranked(numbers[top], np.take_along_axis(scores, top, axis=1))


def _all_columns(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(keys.shape[1]), keys.shape)


def make_cells(keys: Floats, seed: int) -> Cells | None:
    """Put the turns into cells by seeded spherical k-means; None where all of them are looked at anyway."""
    if len(keys) <= EXACT:
        return None
    rng = np.random.default_rng([seed, 4])
    count = max(2, len(keys) // PER_CELL)
    sample = keys[np.sort(rng.permutation(len(keys))[: count * LEARNED_PER_CELL])]
    centres = sample[np.sort(rng.permutation(len(sample))[:count])]
    for _ in range(ROUNDS):
        nearest = _assign(sample, centres)
        order = np.argsort(nearest, kind="stable")
        filled, begins = np.unique(nearest[order], return_index=True)
        centres = centres.copy()  # a cell that lost all its turns stays where it was
        centres[filled] = unit(np.add.reduceat(sample[order], begins, axis=0))
    return _assign(keys, centres)


def _assign(rows: Floats, centres: Floats) -> Cells:
    parts = [np.argmax(rows[start : start + 4096] @ centres.T, axis=1) for start in range(0, len(rows), 4096)]
    return np.concatenate(parts).astype(np.int32)
