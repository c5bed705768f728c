"""Near-duplicates among rows that lie in scratch parts: candidates band by band, then verification, both in pieces.

A piece is a plain value, and so is its result, so that any worker can do it. What is found depends on the rows alone:
neither on how they are cut into parts, nor on who does which piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.curation import scratch
from tasks.curation.cluster import Pairs, candidates, distinct, jaccard
from tasks.curation.fingerprint import BANDS
from tasks.curation.kernels import I64
from tasks.curation.scratch import Part, ShingleReader

PAIRS_A_PIECE = 100_000
PAIRS_AT_ONCE = 5_000
"""Pairs whose shingles are in memory together."""
BANDS_A_PIECE = 5


class BandPiece(NamedTuple):
    """Some bands to look for candidates in."""

    parts: tuple[Part, ...]
    rows: str
    """File of the rows that take part (`np.save`): global row numbers in the order of their content."""
    bands: tuple[int, ...]


class PairPiece(NamedTuple):
    """Some candidate pairs to verify; positions are those of the piece's own rows."""

    parts: tuple[Part, ...]
    part: I64
    start: I64
    size: I64
    """Where each of the piece's rows has its shingles."""
    left: I64
    right: I64
    threshold: float


def band_pieces(parts: Sequence[Part], rows: I64, folder: Path, name: str = "near") -> list[BandPiece]:
    """Cut the search for candidates into pieces."""
    path = folder / f"{name}-rows.npy"
    np.save(path, rows)
    numbers = [tuple(range(first, min(first + BANDS_A_PIECE, BANDS))) for first in range(0, BANDS, BANDS_A_PIECE)]
    return [BandPiece(tuple(parts), str(path), bands) for bands in numbers]


def find_candidates(piece: BandPiece) -> Pairs:
    """Return candidate pairs, as positions in the piece's rows."""
    rows = np.load(piece.rows)
    found = [candidates(scratch.band(piece.parts, number)[rows]) for number in piece.bands]
    return distinct(np.concatenate([pairs.left for pairs in found]), np.concatenate([pairs.right for pairs in found]))


def pair_pieces(parts: Sequence[Part], rows: I64, pairs: Pairs, threshold: float) -> list[PairPiece]:
    """Cut candidate pairs into pieces to verify."""
    if not len(pairs.left):
        return []
    counts = scratch.numbers(parts, "shingles").astype(np.int64)
    sizes = [part.rows for part in parts]
    part = np.repeat(np.arange(len(parts)), sizes)
    begins = np.cumsum(counts) - counts
    begins -= np.repeat(begins[np.minimum(np.cumsum(sizes) - sizes, len(begins) - 1)], sizes)
    pieces = []
    for first in range(0, len(pairs.left), PAIRS_A_PIECE):
        left, right = (side[first : first + PAIRS_A_PIECE] for side in pairs)
        used, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        at = rows[used]
        places = places.reshape(2, -1)
        pieces.append(PairPiece(tuple(parts), part[at], begins[at], counts[at], places[0], places[1], threshold))
    return pieces


def verify(piece: PairPiece) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell for each pair of a piece whether it is as similar as the threshold says."""
    found = []
    with ShingleReader(piece.parts) as reader:
        for first in range(0, len(piece.left), PAIRS_AT_ONCE):
            left, right = (side[first : first + PAIRS_AT_ONCE] for side in (piece.left, piece.right))
            used, places = np.unique(np.concatenate([left, right]), return_inverse=True)
            sets = list(reader.read(piece.part[used], piece.start[used], piece.size[used]))
            places = places.reshape(2, -1)
            similar = jaccard([sets[i] for i in places[0].tolist()], [sets[i] for i in places[1].tolist()])
            found.append(similar >= piece.threshold)
    return np.concatenate(found)
