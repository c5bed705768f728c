"""Exact and near-duplicates of a table in memory: the same steps as in making a dataset, without the files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.curation.cluster import Pairs, candidates, components, distinct, jaccard, keep_best
from tasks.curation.fingerprint import BANDS, fingerprint
from tasks.curation.kernels import I64
from tasks.curation.policy import CurationPolicy


class Deduplicated(NamedTuple):
    """What remains of n examples."""

    kept: NDArray[np.bool_]
    exact_duplicates: int
    near_duplicates: int


def deduplicate(messages: pa.ChunkedArray, composite: NDArray[np.float64], policy: CurationPolicy) -> Deduplicated:
    """Keep the example of highest composite of each normalised text, then of each cluster of near-duplicates.

    Args:
        messages: n conversations as JSON. The first of equally good ones stays.
        composite: n scores.
        policy: How similar near-duplicates are.
    """
    prints = fingerprint(messages)
    nobody = np.zeros(len(composite), dtype=bool)
    single = np.flatnonzero(keep_best(prints.exact, nobody, composite))
    found = [candidates(keys[single]) for keys in prints.bands]
    assert len(found) == BANDS
    pairs = distinct(*(np.concatenate([each[side] for each in found]) for side in (0, 1)))
    ends = np.cumsum(prints.counts)
    starts = ends - prints.counts

    def shingles(positions: I64) -> list[NDArray[np.uint32]]:
        return [prints.shingles[starts[row] : ends[row]] for row in single[positions].tolist()]

    similar = jaccard(shingles(pairs.left), shingles(pairs.right)) >= policy.near_duplicate_jaccard
    labels = components(len(single), Pairs(pairs.left[similar], pairs.right[similar]))
    remaining = single[keep_best(labels, nobody[single], composite[single])]
    kept = nobody.copy()
    kept[remaining] = True
    return Deduplicated(kept, len(composite) - len(single), len(single) - len(remaining))
