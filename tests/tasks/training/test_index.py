import numpy as np

from tasks.training.encoder import unit
from tasks.training.index import EXACT, TurnIndex, make_cells


def clustered(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((50, 64))
    return unit((centres[rng.integers(50, size=count)] + 0.5 * rng.standard_normal((count, 64))).astype(np.float32))


def test_few_turns_are_ranked_exactly_with_ties_to_the_first() -> None:
    keys = np.array([[0, 1], [1, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    ranked = TurnIndex(keys).rank(np.array([[1, 0]], dtype=np.float32), 3)
    assert ranked.turns.tolist() == [[1, 2, 3]]
    assert np.allclose(ranked.scores, [[1, 1, 0.6]])


def test_many_turns_are_put_into_cells_and_the_nearest_is_still_found() -> None:
    keys, queries = clustered(3 * EXACT, 1), clustered(200, 2)
    cells = make_cells(keys, seed=0)
    assert cells is not None
    assert np.array_equal(cells, make_cells(keys, seed=0))
    found = TurnIndex(keys, cells).rank(queries, 8)
    assert np.mean(found.turns[:, 0] == np.argmax(queries @ keys.T, axis=1)) > 0.98
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()


def test_few_turns_need_no_cells() -> None:
    assert make_cells(clustered(EXACT, 1), seed=0) is None
