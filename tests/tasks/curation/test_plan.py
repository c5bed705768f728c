"""What becomes of each accepted row: duplicates go, groups stay together, the parent's rows stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from registry.errors import CurationError
from tasks.curation.cluster import Pairs
from tasks.curation.groups import NO_SIDE
from tasks.curation.plan import FATES, Plan, Rows, check_splits, drop_exact, drop_near, plan
from tasks.curation.policy import CurationPolicy

TRAIN, TEST = 0, 2


def _rows(
    exact: list[int], composite: list[float], side: list[int] | None = None, subject: list[int] | None = None
) -> Rows:
    n = len(exact)
    subjects = np.array(subject or range(1, n + 1), dtype=np.uint64)
    none = np.zeros(n, dtype=np.uint64)
    return Rows(
        np.array(exact, dtype=np.uint64), np.array(composite), np.array(side or [NO_SIDE] * n, dtype=np.int8),
        np.zeros(n, dtype=np.int64), (subjects, none, none), np.arange(1, n + 1, dtype=np.uint64),
    )  # fmt: skip


def _planned(rows: Rows, *pairs: tuple[int, int], seed: int = 0) -> Plan:
    single = drop_exact(rows)
    left, right = (np.array(side, dtype=np.int64) for side in (zip(*pairs, strict=True) if pairs else ([], [])))
    remaining = single[drop_near(rows.take(single), Pairs(left, right))]
    return plan(rows, single, remaining, CurationPolicy(), seed)


def _fates(made: Plan) -> list[str]:
    return [FATES[code] for code in made.fate]


def test_of_the_same_text_the_best_is_kept() -> None:
    made = _planned(_rows([7, 7, 8], [0.8, 0.9, 0.1]))
    assert _fates(made) == ["exact_duplicate", "kept", "kept"]
    assert made.side[0] == NO_SIDE
    assert sorted(made.side[1:].tolist()) == [TRAIN, TEST]


def test_of_a_chain_of_near_duplicates_the_best_is_kept() -> None:
    # 0 ~ 1 and 1 ~ 2 are one cluster, though 0 and 2 need not be alike
    made = _planned(_rows([1, 2, 3, 4], [0.7, 0.9, 0.8, 0.1]), (0, 1), (1, 2))
    assert _fates(made) == ["near_duplicate", "kept", "near_duplicate", "kept"]


def test_a_near_duplicate_is_looked_for_among_what_is_no_exact_duplicate() -> None:
    # rows 0 and 1 have the same text; of what is left, rows 1, 2, 3, the first two are near-duplicates
    made = _planned(_rows([5, 5, 6, 7], [0.1, 0.9, 0.95, 0.5]), (0, 1))
    assert _fates(made) == ["exact_duplicate", "near_duplicate", "kept", "kept"]


def test_the_parents_rows_win_against_better_new_ones_and_keep_their_side() -> None:
    rows = _rows([7, 7, 8, 9], [0.1, 0.9, 0.2, 0.9], side=[TEST, NO_SIDE, TRAIN, NO_SIDE])
    made = _planned(rows, (1, 2))  # of the remaining rows 0, 2, 3: rows 2 and 3 are near-duplicates
    assert _fates(made) == ["kept", "exact_duplicate", "kept", "near_duplicate"]
    assert made.side.tolist() == [TEST, NO_SIDE, TRAIN, NO_SIDE]


def test_a_new_row_follows_its_subject_and_one_that_joins_two_sides_is_left_out() -> None:
    rows = _rows([1, 2, 3, 4], [0.9] * 4, side=[TRAIN, TEST, NO_SIDE, NO_SIDE], subject=[11, 12, 12, 11])
    session = np.array([0, 5, 0, 5], dtype=np.uint64)  # row 3 shares its subject with train, its session with test
    made = _planned(rows._replace(keys=(rows.keys[0], session, rows.keys[2])))
    assert _fates(made) == ["kept", "kept", "kept", "joins_two_sides"]
    assert made.side.tolist() == [TRAIN, TEST, TEST, NO_SIDE]
    assert made.group.tolist() == [0, 1, 1, -1]


def test_a_group_that_an_older_version_has_on_two_sides_stays_as_it_is() -> None:
    rows = _rows([1, 2, 3], [0.9] * 3, side=[TRAIN, TEST, NO_SIDE], subject=[11, 11, 12])
    made = _planned(rows)
    assert _fates(made) == ["kept"] * 3
    assert made.side[:2].tolist() == [TRAIN, TEST]


@pytest.mark.parametrize(
    ("side", "group", "said"),
    [
        ([0], [1], "the validation and test splits of dataset d would be empty: there is 1 example in all; give "),
        ([0, 2, -1], [1, 2, 9], "the validation split of dataset d would be empty: there are 2 examples in all; give "),
        ([0, 0, 0, 2, -1], [5, 5, 5, 7, 9],
         "the validation split of dataset d would be empty: 3 of 4 examples hang together in one group, as they share "
         "a customer (subject), a session or a first message; give events of more customers or tasks"),
    ],
)  # fmt: skip
def test_an_empty_split_is_refused_with_its_cause(side: list[int], group: list[int], said: str) -> None:
    with pytest.raises(CurationError) as refused:
        check_splits(np.array(side, dtype=np.int8), np.array(group), CurationPolicy(), "d")
    assert str(refused.value).startswith(f"E7213: {said}")


def test_an_empty_split_that_the_policy_asks_for_is_told_as_that() -> None:
    policy = CurationPolicy(train_share=0.9, validation_share=0.0, test_share=0.1)
    with pytest.raises(
        CurationError, match=r"validation split .* the policy asks for that; set curation\.validation_sh"
    ):
        check_splits(np.array([0, 0, 2], dtype=np.int8), np.arange(3), policy, "d")


def test_three_groups_on_three_sides_are_enough() -> None:
    check_splits(np.array([0, 1, 2, NO_SIDE], dtype=np.int8), np.arange(4), CurationPolicy(), "d")


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_seed_decides_which_groups_are_held_out_and_never_how_many(seed: int) -> None:
    rows = _rows(list(range(50)), [0.9] * 50)
    made = _planned(rows, seed=seed)
    assert np.bincount(made.side).tolist() == [40, 5, 5]
    assert np.array_equal(made.side, _planned(rows, seed=seed).side)
    assert not np.array_equal(made.side, _planned(rows, seed=seed + 7).side)
