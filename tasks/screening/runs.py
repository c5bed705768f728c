"""Runs of words and the rows that have them, as sparse columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasks.screening.words import BETWEEN, I64

Run = tuple[int, ...]


class Runs(NamedTuple):
    """m runs of words in n rows."""

    rows: Any
    """(n, m) sparse columns, 1 where a row has a run."""
    runs: list[Run]
    """Numbers of the words of each run."""

    def members(self, run: int) -> I64:
        """Return the rows that have a run."""
        start, end = self.rows.indptr[run : run + 2]
        return np.asarray(self.rows.indices[start:end], dtype=np.int64)

    def sizes(self) -> I64:
        """Return how many rows have each run."""
        return np.asarray(np.diff(self.rows.indptr), dtype=np.int64)


def find_runs(words: Sequence[I64], least: int, most: int, longest: int) -> Runs:
    """Return the runs of 1 to `longest` words that `least` to `most` rows have.

    Args:
        words: Numbers of each row's words; no run goes over `BETWEEN`.
        least: Rows at least.
        most: Rows at most.
        longest: Words of a run at most.
    """
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *words])
    row = np.repeat(np.arange(len(words)), [len(each) for each in words])
    size = int(flat.max(initial=0)) + 1
    frequent = _rows_of(flat, row, size)[flat] >= least
    frequent &= flat != BETWEEN
    at, key = np.flatnonzero(frequent), flat.copy()
    found: list[Run] = []
    rows, columns = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for length in range(1, longest + 1):
        if length > 1:  # a run is frequent only if its first words are, and its last one
            at = at[at + length - 1 < len(flat)]
            end = at + length - 1
            inside = (row[at] == row[end]) & frequent[end]
            at, end = at[inside], end[inside]
            key[at] = key[at] * size + flat[end]
        unique, first, label = np.unique(key[at], return_index=True, return_inverse=True)
        owner, owned = _distinct(label, row[at])
        count = np.bincount(owner, minlength=len(unique))
        kept = np.flatnonzero((count >= least) & (count <= most))
        place = np.full(len(unique), -1)
        place[kept] = len(found) + np.arange(len(kept))
        chosen = place[owner] >= 0
        rows.append(owned[chosen])
        columns.append(place[owner[chosen]])
        found += [tuple(flat[start : start + length].tolist()) for start in at[first[kept]].tolist()]
        key[at] = label
        at = at[count[label] >= least]
    return as_columns(np.concatenate(rows), np.concatenate(columns), len(words), found)


def as_columns(rows: I64, columns: I64, n: int, runs: list[Run]) -> Runs:
    """Return runs, given the rows and columns of the ones."""
    ones = np.ones(len(rows), dtype=np.float32)
    return Runs(sparse.csc_matrix((ones, (rows, columns)), shape=(n, len(runs))), runs)


def joined(tables: Sequence[Runs]) -> Runs:
    """Return the runs of several tables of the same rows."""
    return Runs(
        sparse.hstack([table.rows for table in tables], format="csc"), [r for table in tables for r in table.runs]
    )


def of_members(members: Mapping[Run, Sequence[int]], n: int) -> Runs:
    """Return runs, given the rows of each."""
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(np.array(m, dtype=np.int64) for m in members.values())])
    columns = np.repeat(np.arange(len(members)), [len(m) for m in members.values()])
    return as_columns(rows, columns, n, list(members))


def distinct_members(table: Runs, rng: np.random.Generator) -> Runs:
    """Keep one run, the longest, for each set of rows: sets are known by the sum of random numbers of their rows."""
    if not table.runs:
        return table
    number = rng.integers(1, 2**62, table.rows.shape[0], dtype=np.int64)
    key = np.add.reduceat(number[table.rows.indices], table.rows.indptr[:-1])
    length = np.array([len(run) for run in table.runs])
    order = np.lexsort((-length, key))
    chosen = np.sort(order[np.r_[True, np.diff(key[order]) != 0]])
    return Runs(table.rows[:, chosen], [table.runs[place] for place in chosen.tolist()])


def word_rows(words: Sequence[I64], size: int) -> Any:
    """Return (n, size) sparse rows, 1 where a row has a word."""
    row = np.repeat(np.arange(len(words)), [len(each) for each in words])
    word, owner = _distinct(np.concatenate([np.zeros(0, dtype=np.int64), *words]), row)
    ones = np.ones(len(word), dtype=np.float32)
    return sparse.csr_matrix((ones, (owner, word)), shape=(len(words), size))


def row_words(rows: Any, chosen: I64) -> I64:
    """Return the columns of the ones of chosen rows, one row after the other."""
    parts = [rows.indices[rows.indptr[row] : rows.indptr[row + 1]] for row in chosen.tolist()]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _distinct(values: I64, rows: NDArray[Any]) -> tuple[I64, I64]:
    """Return the pairs of value and row, each once, sorted."""
    order = np.lexsort((rows, values))
    value, row = values[order], rows[order]
    first = np.ones(len(value), dtype=bool)
    first[1:] = (value[1:] != value[:-1]) | (row[1:] != row[:-1])
    return value[first], row[first]


def _rows_of(values: I64, rows: NDArray[Any], size: int) -> I64:
    """Return how many rows have each value."""
    return np.bincount(_distinct(values, rows)[0], minlength=size).astype(np.int64)
