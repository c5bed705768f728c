"""The isolation forest and what its scores mean: by hand where it is small, against scikit-learn's where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from tasks.filtering import forest
from tasks.filtering.forest import fit, mean_path, score
from tasks.filtering.outliers import FIT_ROWS, calibrated, outlier_probabilities


def test_mean_paths_by_hand():
    # H(n − 1) ≈ ln(n − 1) + 0.57722. For 256: 2 · (5.54126 + 0.57722) − 2 · 255/256 = 12.23696 − 1.99219 = 10.24477
    # For 3: 2 · (0.69315 + 0.57722) − 2 · 2/3 = 2.54073 − 1.33333 = 1.20739
    assert mean_path(np.array([0, 1, 2, 3, 256])) == pytest.approx([0, 0, 1, 1.20739, 10.24477], abs=1e-5)


def test_two_points_are_apart_after_one_cut():
    # every path has length 1, and so has the mean unsuccessful search among two: 2^(−1/1) = 0.5
    points = np.array([[0.0], [1.0]])
    assert score(fit(points, np.random.default_rng(0), trees=7), points).tolist() == [0.5, 0.5]


def test_points_that_cannot_be_told_apart_are_a_leaf_at_once():
    # no cut is possible: the path is 0 + mean_path(8), the norm the same: 2^−1
    points = np.ones((8, 3))
    assert score(fit(points, np.random.default_rng(0)), points) == pytest.approx([0.5] * 8)


@pytest.fixture
def cloud() -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.vstack([generator.normal(size=(600, 5)), generator.normal(size=(12, 5)) * 0.3 + 7.0])


def test_scores_are_those_of_scikit_learn_but_for_chance(cloud):
    ours = score(fit(cloud, np.random.default_rng(0), trees=300), cloud)
    theirs = -IsolationForest(n_estimators=300, max_samples=256, random_state=0).fit(cloud).score_samples(cloud)
    ranks = [np.argsort(np.argsort(each)) for each in (ours, theirs)]
    assert np.corrcoef(*ranks)[0, 1] > 0.97
    assert np.abs(ours - theirs).mean() < 0.01
    assert ours[600:].min() > ours[:600].mean() + 3 * ours[:600].std()


def test_the_seed_decides_and_nothing_else(cloud):
    one, same, other = (score(fit(cloud, np.random.default_rng(seed)), cloud) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_compiled_and_plain_scores_are_the_same_bits(cloud, monkeypatch):
    grown = fit(cloud, np.random.default_rng(0))
    plain = score(grown, cloud)
    monkeypatch.setattr(forest, "COMPILE_FROM", 0)
    monkeypatch.setattr(forest, "CHUNK", 100)
    assert np.array_equal(score(grown, cloud), plain)


def test_the_calibration_by_hand():
    # 21 scores: the median is the 11th, 0.5, the ninth decile the 19th, 0.6: β = (0.6 − 0.5) / ln 5 = 0.06213.
    # Expected above 2.0: 21 · 0.5 · exp(−1.5 / 0.06213) = 3·10⁻¹⁰, by chance 1.00004 at most; observed: 2, + 1 = 3.
    # Probability 1 − 1/3 = 0.6667. The others are not above the ninth decile: 0.
    scores = np.array([0.4] * 10 + [0.5] + [0.55] * 7 + [0.6] + [2.0] * 2)
    found = calibrated(scores)
    assert found[:19].tolist() == [0.0] * 19
    assert found[19:] == pytest.approx([2 / 3, 2 / 3], abs=1e-4)


def test_what_was_expected_of_the_bulk_is_taken_off_by_hand():
    # 101 scores: median 0.5, ninth decile 0.6, so β = 0.1 / ln 5 and exp(−(0.7 − 0.5) / β) = 5⁻² = 0.04.
    # Expected above 0.7: 101 · 0.5 · 0.04 = 2.02, by chance 2.02 + 2 · √2.02 + 1 = 5.86253; observed 10, + 1 = 11.
    # Probability 1 − 5.86253 / 11 = 0.46704
    scores = np.array([0.4] * 50 + [0.5] + [0.55] * 39 + [0.6] + [0.7] * 10)
    assert calibrated(scores)[-10:] == pytest.approx([0.46704] * 10, abs=1e-5)


def test_a_tail_no_heavier_than_exponential_is_no_discovery():
    # β = 0.4 / ln 5 = 0.24853; expected above 1.0: 11 · 0.5 · exp(−0.5 / 0.24853) = 0.7357, by chance
    # 0.7357 + 2 · 0.8577 + 1 = 3.4512; observed 1, + 1 = 2: 1 − 3.4512 / 2 is below 0
    assert calibrated(np.linspace(0, 1, 11)).tolist() == [0.0] * 11


@pytest.mark.parametrize("scores", [np.full(50, 0.5), np.array([0.5])])
def test_scores_that_are_all_alike_have_no_outlier(scores):
    assert not calibrated(scores).any()


def test_nearly_all_strays_are_found_and_the_bulk_is_left_alone(cloud):
    found = outlier_probabilities(cloud, seed=0)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[600:] > 0.15).mean() >= 0.9
    assert (found[:600] > 0.15).mean() <= 0.02
    assert np.array_equal(found, outlier_probabilities(cloud, seed=0))


@pytest.mark.parametrize("seed", range(5))
def test_clean_data_has_hardly_any(seed):
    clean = np.random.default_rng(seed).normal(size=(500, 5))
    assert (outlier_probabilities(clean, seed) > 0.15).mean() <= 0.03


def test_more_rows_than_the_forest_is_grown_from_are_scored_all_the_same():
    generator = np.random.default_rng(0)
    rows = np.vstack([generator.normal(size=(FIT_ROWS + 1000, 5)), generator.normal(size=(300, 5)) * 5.0 + 10.0])
    found = outlier_probabilities(rows, seed=0)
    assert found.shape == (FIT_ROWS + 1300,)
    assert (found[-300:] > 0.15).mean() >= 0.9
    assert (found[:-300] > 0.15).mean() <= 0.02
