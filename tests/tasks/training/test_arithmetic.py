"""The loss, the low-rank update, the warm start and the calibration, each by hand or by differences."""

import numpy as np
import pytest

from tasks.training.adapter import Adapter, Tower, adapt, forward, gradients, new_adapter, zero_adapter
from tasks.training.calibration import Calibration, calibrate
from tasks.training.loss import info_nce, info_nce_value
from tasks.training.warmstart import reduced_rank

ONES = np.ones(2, dtype=np.float32)


def test_info_nce_of_two_pairs_is_the_sum_by_hand() -> None:
    contexts = np.array([[1, 0], [0, 1]], dtype=np.float32)
    turns = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    # cosines S = [[1, 0.6], [0, 0.8]], temperature 0.5: [[2, 1.2], [0, 1.6]]
    # row 0: log(1 + e^(1.2 − 2)) = log(1.449329) = 0.371101; row 1: log(1 + e^(0 − 1.6)) = log(1.201897) = 0.183901
    # mean: 0.277501
    assert info_nce(contexts, turns, np.array([0, 1]), ONES, 0.5).value == pytest.approx(0.277501, abs=1e-6)


def test_the_same_text_twice_in_a_batch_is_no_negative() -> None:
    vectors = np.array([[1, 0], [1, 0]], dtype=np.float32)
    assert info_nce_value(vectors, vectors, np.array([7, 7]), ONES, 0.5) == pytest.approx(0.0)
    assert info_nce_value(vectors, vectors, np.array([7, 8]), ONES, 0.5) == pytest.approx(np.log(2))


def test_a_pair_counts_by_its_weight() -> None:
    contexts = np.array([[1, 0], [0, 1]], dtype=np.float32)
    turns = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    # 3/4 of 0.371101 and 1/4 of 0.183901 = 0.324301
    value = info_nce_value(contexts, turns, np.array([0, 1]), np.array([3, 1], dtype=np.float32), 0.5)
    assert value == pytest.approx(0.324301, abs=1e-6)


def test_the_update_is_scaled_by_alpha_over_rank() -> None:
    # x = (1, 0), down = (1, 0)ᵀ, up = (0, 1): h = (1, 0) + s (0, 1); alpha 32 / rank 16 = 2, so z = (1, 2) / √5
    tower = Tower(np.array([[1], [0]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32))
    z = adapt(np.array([[1, 0]], dtype=np.float32), tower, 32 / 16)
    assert z[0] == pytest.approx([1 / np.sqrt(5), 2 / np.sqrt(5)])
    assert new_adapter(64, 16, 32.0, np.random.default_rng(0)).scale == 2.0


def test_an_untrained_adapter_is_the_base() -> None:
    rows = np.eye(64, dtype=np.float32)[:5]
    adapter = new_adapter(64, 4, 8.0, np.random.default_rng(0))
    assert np.array_equal(adapt(rows, adapter.context, adapter.scale), rows)
    changed = Adapter(Tower(adapter.context.down, adapter.context.up + 1), adapter.turn, adapter.scale)
    assert not np.array_equal(adapt(rows, changed.context, 2.0), rows)
    assert np.array_equal(adapt(rows, zero_adapter(changed).context, 2.0), rows)


def test_the_gradients_are_the_slopes_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    rows, turns = (rng.standard_normal((6, 8)).astype(np.float32) for _ in range(2))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    tower = Tower(*(rng.standard_normal(shape).astype(np.float32) for shape in ((8, 2), (2, 8))))
    ids, weights = np.array([0, 1, 2, 3, 0, 4]), rng.random(6).astype(np.float32)

    def loss(down: np.ndarray, up: np.ndarray) -> float:
        return info_nce_value(forward(rows, Tower(down, up), 2.0).z, turns, ids, weights, 0.5)

    done = forward(rows, tower, 2.0)
    found = gradients(done, info_nce(done.z, turns, ids, weights, 0.5).by_context, tower, 2.0)
    for which, place in ((0, (3, 1)), (1, (1, 5))):
        ends = []
        for step in (1e-2, -1e-2):
            moved = [tower.down.copy(), tower.up.copy()]
            moved[which][place] += step
            ends.append(loss(*moved))
        assert found[which][place] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=1e-4)


def test_the_warm_start_finds_a_low_rank_map() -> None:
    rng = np.random.default_rng(0)
    down, up = rng.standard_normal((16, 2)), rng.standard_normal((2, 16))
    contexts = rng.standard_normal((200, 16)).astype(np.float32)
    left, right = reduced_rank(contexts, (contexts @ down @ up).astype(np.float32), ridge=1e-6, rank=2)
    assert np.allclose(left @ right, down @ up, atol=1e-4)


def test_confidence_without_evidence_is_the_agreement() -> None:
    agreement, scores = np.array([0.2, 0.9], dtype=np.float32), np.array([0.5, 0.5], dtype=np.float32)
    none = calibrate(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0))
    assert none == Calibration()
    assert none.confidences(agreement, scores) == pytest.approx([0.2, 0.9], abs=1e-6)


def test_confidence_learns_how_good_the_answers_are() -> None:
    rng = np.random.default_rng(0)
    agreement = rng.uniform(0.3, 0.95, 400).astype(np.float32)
    scores = rng.uniform(0.2, 0.9, 400).astype(np.float32)
    outcomes = np.clip(agreement - 0.25, 0, 1).astype(np.float64)  # it is too sure by a quarter
    before = Calibration().confidences(agreement, scores) - outcomes
    after = calibrate(agreement, scores, outcomes).confidences(agreement, scores) - outcomes
    assert np.abs(before).mean() > 0.24
    assert np.abs(after).mean() < 0.05  # a line in logits cannot follow the bend at 0 exactly
