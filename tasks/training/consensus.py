"""Which of the best-ranked turns is said: the one that agrees best with the others.

With p ∝ countᶠ · exp(score / temperature) over the best-ranked turns, turn t's agreement is Σ_u p_u · F1(t, u): the
token-F1 that t is expected to reach (minimum Bayes risk, Kumar and Byrne 2004). A turn that is ranked first by a hair,
and stands alone, yields to one of several that say nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.training.encoder import Floats
from tasks.training.index import Ranked, best

MOST_WORDS = 256
"""Words of a turn that are compared with other turns, from its beginning: bounds the time that an answer takes."""


class Words(NamedTuple):
    """The words of t turns: turn i has `numbers[bounds[i] : bounds[i + 1]]`, each at most once.

    A word's second occurrence in a turn has a number of its own, and so on: what two turns have in common is then a
    plain intersection.
    """

    bounds: NDArray[np.int64]
    numbers: NDArray[np.int64]


class Chosen(NamedTuple):
    """For n queries: the turn that is said, its agreement and the cosine that it was ranked by, each of shape (n,)."""

    turns: NDArray[np.int64]
    agreement: Floats
    scores: Floats


def number_words(texts: Sequence[str]) -> Words:
    """Return the words of the texts: lowercased runs of letters, digits and underscores, as token-F1 has them."""
    parts = pc.split_pattern_regex(pc.utf8_lower(pa.array(texts, pa.large_string())), r"[^\pL\pN_]+")
    flat = pc.list_flatten(parts)
    said = pc.not_equal(flat, "")
    owners = pc.list_parent_indices(parts).filter(said).to_numpy()
    codes = flat.filter(said).dictionary_encode().indices.to_numpy().astype(np.int64)
    place = np.arange(len(owners)) - np.searchsorted(owners, owners)
    owners, codes = owners[place < MOST_WORDS], codes[place < MOST_WORDS]
    order = np.lexsort((codes, owners))
    owners, codes = owners[order], codes[order]
    fresh = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(codes, prepend=-1))
    occurrence = np.arange(len(codes)) - np.repeat(fresh, np.diff(fresh, append=len(codes)))
    bounds = np.searchsorted(owners, np.arange(len(texts) + 1))
    return Words(bounds, codes * MOST_WORDS + occurrence)


def frequency_prior(counts: NDArray[np.int64], power: float) -> Floats:
    """Return countᶠ, shape (t,), for f = `power`."""
    return np.power(counts.astype(np.float32), np.float32(power))


def choose(ranked: Ranked, words: Words, prior: Floats, temperature: float) -> Chosen:
    """Choose among the ranked turns.

    Args:
        ranked: The k best-ranked turns of n queries.
        words: The words of all known turns.
        prior: countᶠ of all known turns, shape (t,).
        temperature: Divides the cosines.
    """
    weights = np.exp((ranked.scores - ranked.scores[:, :1]) / np.float32(temperature))
    weights *= prior[ranked.turns]
    weights /= weights.sum(axis=1, keepdims=True)
    agreement = np.zeros_like(weights)
    for row, turns in enumerate(ranked.turns):
        agreement[row] = likeness(words, turns) @ weights[row]
    place = best(agreement, np.arange(agreement.shape[1]), 1).turns
    chosen = np.arange(len(place)), place[:, 0]
    return Chosen(ranked.turns[chosen], agreement[chosen], ranked.scores[chosen])


def likeness(words: Words, turns: NDArray[np.int64]) -> Floats:
    """Return the token-F1 of each two of k turns, shape (k, k): 2 · |common words| / (|words| + |words|)."""
    begins, sizes = words.bounds[turns], words.bounds[turns + 1] - words.bounds[turns]
    owners = np.repeat(np.arange(len(turns)), sizes)
    inside = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    different, columns = np.unique(words.numbers[np.repeat(begins, sizes) + inside], return_inverse=True)
    has = np.zeros((len(turns), len(different)), dtype=np.float32)
    has[owners, columns] = 1
    total = (sizes[:, None] + sizes).astype(np.float32)
    common: Floats = has @ has.T
    return np.where(total > 0, 2 * common / np.maximum(total, 1), np.float32(1))
