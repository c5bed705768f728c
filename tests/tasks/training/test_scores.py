import pytest

from registry.records import token_f1, token_f1_pairs


def test_token_f1_counts_words_as_often_as_they_occur() -> None:
    # {a: 1, b: 2} and {b: 2, c: 1} share b twice: 2·2 / (3 + 3) = 4/6
    assert token_f1("A b, b", "b B c!") == pytest.approx(4 / 6)
    # {to: 1, be: 1} in {to: 2, be: 2, or: 1, not: 1}: 2·2 / (2 + 6) = 1/2
    assert token_f1("to be", "to be or not to be") == pytest.approx(0.5)


def test_token_f1_is_symmetric_and_knows_empty_texts() -> None:
    assert token_f1("x y z", "z") == token_f1("z", "x y z") == pytest.approx(2 * 1 / 4)
    assert token_f1("", "...") == 1.0
    assert token_f1("", "word") == 0.0


def test_scores_of_pairs_are_the_scores_of_each_pair() -> None:
    left, right = ["a b b", "", "one two", "same"], ["b b c", "x", "two one", "same"]
    assert token_f1_pairs(left, right).tolist() == [token_f1(a, b) for a, b in zip(left, right, strict=True)]
    assert token_f1_pairs([], []).shape == (0,)
