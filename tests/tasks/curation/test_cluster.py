"""Near-duplicates are found as brute force finds them, at linear cost, and the best of each cluster stays."""

from __future__ import annotations

import random
import time

import numpy as np

from tasks.curation.cluster import CROWD, WINDOW, candidates, components, distinct, jaccard, keep_best
from tasks.curation.fingerprint import BANDS, Fingerprints, fingerprint_texts

WORDS = [f"w{number}" for number in range(3000)]


def _sets(prints: Fingerprints) -> list[np.ndarray]:
    ends = np.cumsum(prints.counts)
    return [prints.shingles[end - count : end] for end, count in zip(ends, prints.counts, strict=True)]


def _similar(texts: list[str], threshold: float = 0.8) -> set[tuple[int, int]]:
    prints = fingerprint_texts(texts)
    sets = _sets(prints)
    found = [candidates(prints.bands[band]) for band in range(BANDS)]
    pairs = distinct(np.concatenate([p.left for p in found]), np.concatenate([p.right for p in found]))
    close = jaccard([sets[i] for i in pairs.left], [sets[i] for i in pairs.right]) >= threshold
    return set(zip(pairs.left[close].tolist(), pairs.right[close].tolist(), strict=True))


def _brute_force(texts: list[str], threshold: float = 0.8) -> set[tuple[int, int]]:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return set(zip(words, words[1:], words[2:], strict=False))

    sets = [shingles(text) for text in texts]
    return {
        (i, j)
        for i in range(len(sets))
        for j in range(i + 1, len(sets))
        if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])
    }


def _families(count: int, size: int, words: int, changes: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    texts = []
    for _ in range(count):
        base = generator.choices(WORDS, k=words)
        for _ in range(size):
            copy = list(base)
            for place in generator.sample(range(words), generator.randint(0, changes)):
                copy[place] = generator.choice(WORDS)
            texts.append(" ".join(copy))
    generator.shuffle(texts)
    return texts


def test_jaccard_of_four_shingles_that_share_two_is_one_third() -> None:
    # {1, 2, 3, 4} and {3, 4, 5, 6}: 2 shared of 6 → 1/3; a repeated shingle counts once
    left, right = np.array([1, 2, 3, 4, 4], dtype=np.uint32), np.array([3, 4, 5, 6], dtype=np.uint32)
    none = np.zeros(0, dtype=np.uint32)
    assert np.allclose(jaccard([left, left, none], [right, left, none]), [1 / 3, 1.0, 0.0])


def test_compiled_jaccard_equals_the_plain_one() -> None:
    generator = np.random.default_rng(0)
    left = [generator.integers(0, 60, generator.integers(0, 80)).astype(np.uint32) for _ in range(1500)]
    right = [generator.integers(0, 60, generator.integers(0, 80)).astype(np.uint32) for _ in range(1500)]
    compiled = jaccard(left, right)
    plain = np.concatenate([jaccard(left[i : i + 500], right[i : i + 500]) for i in (0, 500, 1000)])
    assert np.array_equal(compiled, plain)


def test_near_duplicates_are_those_of_brute_force() -> None:
    texts = _families(count=80, size=5, words=80, changes=6, seed=3)
    truth = _brute_force(texts)
    found = _similar(texts)
    assert found <= truth
    assert len(found) >= 0.995 * len(truth)
    assert len(truth) > 100


def test_a_crowd_that_shares_a_long_text_costs_linear_time_and_keeps_its_near_duplicates() -> None:
    generator = random.Random(5)
    shared = " ".join(generator.choices(WORDS, k=100))  # the user's long instruction, the same in every conversation
    own = [" ".join(generator.choices(WORDS, k=45)) for _ in range(1500)]  # Jaccard about 0.52 with each other
    twins = [f"{shared} {text} again" for text in own[:100]]
    texts = [f"{shared} {text}" for text in own] + twins
    prints = fingerprint_texts(texts)
    pairs = sum(len(candidates(prints.bands[band]).left) for band in range(BANDS))
    assert pairs <= BANDS * WINDOW * len(texts)
    found = _similar(texts)
    assert len({(i, 1500 + i) for i in range(100)} - found) <= 2
    assert found == {(i, 1500 + i) for i in range(100)} & found


def test_a_huge_bucket_is_not_quadratic() -> None:
    keys = np.full(200_000, 7 << 40, dtype=np.uint64)
    begun = time.perf_counter()
    pairs = candidates(keys)
    assert len(pairs.left) <= WINDOW * len(keys)
    assert time.perf_counter() - begun < 20
    assert len(keys) > CROWD


def test_rows_without_a_word_are_nobodys_duplicates() -> None:
    assert not _similar(["...", "!!!", "", "?"])


def test_components_are_named_by_their_first_row() -> None:
    pairs = distinct(np.array([4, 1, 5]), np.array([1, 3, 0]))
    assert components(6, pairs).tolist() == [0, 1, 2, 1, 1, 0]


def test_the_best_of_a_cluster_stays_and_content_breaks_ties() -> None:
    labels, new = np.array([1, 1, 2, 2, 3]), np.zeros(5, dtype=bool)
    assert keep_best(labels, new, np.array([0.5, 0.9, 0.7, 0.7, 0.1])).tolist() == [False, True, True, False, True]


def test_rows_of_the_parent_version_win_against_better_new_ones() -> None:
    labels, fixed = np.array([1, 1, 1]), np.array([True, False, True])
    assert keep_best(labels, fixed, np.array([0.1, 0.9, 0.2])).tolist() == [True, False, True]
