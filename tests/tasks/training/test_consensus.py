"""Which of the best-ranked turns is said, each sum by hand."""

import numpy as np
import pytest

from registry.records import token_f1
from tasks.training.consensus import MOST_WORDS, choose, frequency_prior, likeness, number_words
from tasks.training.index import Ranked

SAID = ["go away now", "book the flight", "book the flight please"]
EQUAL = np.ones(3, dtype=np.float32)


def ranked(*scores: float) -> Ranked:
    return Ranked(np.array([[0, 1, 2]]), np.array([scores], dtype=np.float32))


def test_the_likeness_of_two_turns_is_their_token_f1() -> None:
    texts = ["A b, b", "b B c!", "", "...", 'find_me({"id": 7})', "Grüße, 7 ÄPFEL – ½", "grüße äpfel", "b b b b"]
    found = likeness(number_words(texts), np.arange(len(texts)))
    for i, left in enumerate(texts):
        for j, right in enumerate(texts):
            assert found[i, j] == pytest.approx(token_f1(left, right)), (left, right)


def test_of_a_long_turn_the_beginning_is_compared() -> None:
    words = number_words(["same " * MOST_WORDS + "other " * 1000, "same " * MOST_WORDS])
    assert likeness(words, np.array([0, 1]))[0, 1] == 1.0


def test_a_lonely_first_yields_to_several_that_say_nearly_the_same() -> None:
    # equal scores: p = 1/3 each; F1(1, 2) = 2·3 / (3 + 4) = 6/7, all others 0
    # agreements: 1/3; (1 + 6/7) / 3 = 0.619048 for both others, of which the better ranked is said
    found = choose(ranked(0.5, 0.5, 0.5), number_words(SAID), EQUAL, 0.1)
    assert found.turns.tolist() == [1]
    assert found.agreement[0] == pytest.approx(0.619048, abs=1e-6)
    assert found.scores[0] == np.float32(0.5)


def test_a_clear_first_is_said_whoever_agrees() -> None:
    # exp(-0.4 / 0.1) = 0.018316, twice: p of the first = 1 / 1.036631 = 0.964663, its agreement
    found = choose(ranked(0.9, 0.5, 0.5), number_words(SAID), EQUAL, 0.1)
    assert found.turns.tolist() == [0]
    assert found.agreement[0] == pytest.approx(0.964663, abs=1e-6)


def test_what_was_said_often_weighs_more() -> None:
    # √(16, 1, 1) = (4, 1, 1): p = 4/6 for the first alone; the others have (1 + 6/7) / 6 = 0.31
    prior = frequency_prior(np.array([16, 1, 1]), 0.5)
    assert prior.tolist() == [4.0, 1.0, 1.0]
    found = choose(ranked(0.5, 0.5, 0.5), number_words(SAID), prior, 0.1)
    assert found.turns.tolist() == [0]
    assert found.agreement[0] == pytest.approx(4 / 6, abs=1e-6)


def test_no_question_is_no_answer() -> None:
    none = Ranked(np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.float32))
    assert choose(none, number_words(SAID), EQUAL, 0.1).turns.shape == (0,)
