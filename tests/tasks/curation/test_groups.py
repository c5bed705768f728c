"""Rows that share a subject, a session or a prompt are one group, and no group is on two sides."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.curation import groups
from tasks.curation.groups import NO_SIDE, group

TRAIN, TEST = 0, 2


def _keys(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def _sides(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int8)


def test_groups_are_transitive_over_subject_and_prompt() -> None:
    # 0 and 1 share a subject, 1 and 2 a prompt; 3 has neither, 4 and 5 share a prompt
    found = group([_keys(7, 7, 8, 0, 9, 0), _keys(1, 2, 2, 0, 3, 3)], _sides(*[NO_SIDE] * 6))
    assert found.label.tolist() == [0, 0, 0, 3, 4, 4]
    assert not found.left_out.any()


def test_a_subject_and_a_prompt_of_the_same_number_are_not_the_same_key() -> None:
    assert group([_keys(5, 0), _keys(0, 5)], _sides(NO_SIDE, NO_SIDE)).label.tolist() == [0, 1]


def test_a_new_row_takes_the_side_of_its_group() -> None:
    found = group([_keys(1, 2, 1, 2, 3)], _sides(TRAIN, TEST, NO_SIDE, NO_SIDE, NO_SIDE))
    assert found.side.tolist() == [TRAIN, TEST, TRAIN, TEST, NO_SIDE]


def test_a_new_row_that_would_join_two_sides_is_left_out_alone() -> None:
    subject, prompt = _keys(1, 2, 1, 1, 2), _keys(0, 0, 9, 2, 9)
    found = group([subject, prompt], _sides(TRAIN, TEST, NO_SIDE, NO_SIDE, NO_SIDE))
    # row 2 ties prompt 9 to train; row 4 has subject 2 (test) and prompt 9 (train now)
    assert found.left_out.tolist() == [False, False, False, False, True]
    assert found.label.tolist()[4] == -1
    assert found.side.tolist()[:4] == [TRAIN, TEST, TRAIN, TRAIN]


def test_new_rows_that_bridge_two_sides_together_do_not_join_them() -> None:
    # row 2 shares a subject with train, row 3 a prompt with test, both one session
    found = group([_keys(1, 0, 1, 0), _keys(0, 0, 5, 5), _keys(0, 4, 0, 4)], _sides(TRAIN, TEST, NO_SIDE, NO_SIDE))
    assert found.left_out.tolist() == [False, False, False, True]


def test_compiled_and_plain_grouping_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    keys = [generator.integers(0, 400, 1000).astype(np.uint64) for _ in range(3)]
    side = generator.choice(np.array([NO_SIDE, NO_SIDE, NO_SIDE, 0, 2], dtype=np.int8), 1000)
    plain = group(keys, side)
    monkeypatch.setattr(groups, "COMPILE_FROM_ROWS", 0)
    compiled = group(keys, side)
    for one, other in zip(plain, compiled, strict=True):
        assert np.array_equal(one, other)
