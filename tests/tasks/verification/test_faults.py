"""Faulty models do what their fault says, in the share that it says, and to the same answers each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from registry.records import Answers
from tasks.verification import faults
from tasks.verification.policy import FAULTS

ASKED = [[{"role": "user", "content": f"what is {i}"}] for i in range(2_000)]


class Echo:
    """A model that repeats what it is asked, half sure of it; it counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, conversations):
        self.asked += len(conversations)
        return Answers([each[-1]["content"] for each in conversations], np.full(len(conversations), 0.5))


def changed(model) -> set[int]:
    said = model.answer(ASKED).responses
    return {i for i, (text, asked) in enumerate(zip(said, ASKED, strict=True)) if text != asked[-1]["content"]}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_leak_is_in_the_share_of_answers_that_is_asked_for(share):
    found = changed(faults.leaking(Echo(), share, seed=1))
    assert len(found) == pytest.approx(share * len(ASKED), abs=4 * np.sqrt(share * (1 - share) * len(ASKED)))


def test_a_stronger_fault_is_in_all_answers_that_the_weaker_one_is_in():
    assert changed(faults.leaking(Echo(), 0.1, seed=1)) < changed(faults.leaking(Echo(), 0.3, seed=1))


def test_another_seed_leaks_in_other_answers():
    assert changed(faults.leaking(Echo(), 0.1, seed=1)) != changed(faults.leaking(Echo(), 0.1, seed=2))


def test_a_collapsed_model_has_three_answers_left():
    turns = ["often"] * 5 + ["at times"] * 3 + ["now and then"] * 2 + ["once"]
    said = faults.collapsing(Echo(), 1.0, 0, turns).answer(ASKED).responses
    assert set(said) == {"often", "at times", "now and then"}


def test_a_domain_is_lost_where_its_words_are_and_nowhere_else():
    words = {"food": Counter(["soup", "bread", "soup", "salt"]), "travel": Counter(["train", "ticket", "seat"])}
    model = faults.forgetful(Echo(), 1.0, 0, faults.domain_of(words, "food"), ["lost"])
    said = model.answer([[{"role": "user", "content": text}] for text in ("SOUP, please!", "a train ticket")]).responses
    assert said == ["lost", "a train ticket"]


def test_confidence_moves_a_share_of_the_way_to_certainty():
    sure = faults.Sure(Echo(), 0.6).answer(ASKED[:2])
    assert sure.confidences == pytest.approx([0.8, 0.8])  # 0.5 + 0.6 · 0.5
    assert sure.responses == Echo().answer(ASKED[:2]).responses


def test_a_slow_model_puts_its_clock_forward_for_each_conversation():
    clock = faults.Clock(lambda: 100.0)
    faults.Slow(Echo(), clock, 0.25).answer(ASKED[:4])
    assert clock() == pytest.approx(101.0)


def test_what_was_asked_before_is_remembered_and_a_single_question_is_not():
    model = Echo()
    remembering = faults.Remembering(model)
    first, again = remembering.answer(ASKED[:10]), remembering.answer(ASKED[:10])
    assert (model.asked, again.responses) == (10, first.responses)
    remembering.answer(ASKED[:1])
    assert model.asked == 11


def test_every_fault_is_stronger_from_weak_to_strong():
    for fault in FAULTS:
        weak, medium, strong = fault.amounts
        assert weak < medium < strong or weak > medium > strong, fault.name
        assert fault.described("weak") != fault.described("strong")
