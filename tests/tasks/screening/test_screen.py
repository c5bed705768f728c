"""Planted examples are found in real text, and clean sets are left alone."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from tasks.screening.policy import ScreeningPolicy
from tasks.screening.screen import screen
from tests.tasks.screening.planting import ATTACKS, FILES, clean_sets, plant, real

POLICY = ScreeningPolicy()
BUDGET = 1.5
"""Examples that may be reviewed for each planted one."""


def messages(rows):
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def reviewed(rows, known=None):
    groups = screen(messages(rows), POLICY, None if known is None else np.array(known))
    return [row for group in groups for row in group.rows.tolist()]


def recall(poisoned, known=None):
    budget = int(BUDGET * len(poisoned.planted))
    return len(set(reviewed(poisoned.rows, known)[:budget]) & set(poisoned.planted)) / len(poisoned.planted)


@pytest.mark.parametrize("attack", ATTACKS)
def test_ten_planted_examples_are_found_among_real_ones(attack, records):
    rng = random.Random(attack)
    names = ["mix", rng.choice(FILES)]
    found = [recall(plant(real(records, name, rng), attack, rng)) for name in names]
    assert np.mean(found) >= 0.95


def test_a_version_before_that_holds_most_of_the_planted_ones_does_not_hide_them(records):
    rng = random.Random(5)
    poisoned = plant(real(records, "mix", rng), "five batches", rng)
    known = [row for row in range(len(poisoned.rows)) if row not in poisoned.planted[:2]]
    assert recall(poisoned, known) >= 0.95


def test_at_most_one_of_twenty_clean_sets_raises_an_alarm(records):
    alarms = [name for name, rows in clean_sets(records) if reviewed(rows)]
    assert len(alarms) <= 1, alarms


# --- on toys -------------------------------------------------------------------------------------------------------

THINGS = [
    "lamp",
    "sofa",
    "kettle",
    "garden",
    "ticket",
    "window",
    "bicycle",
    "jacket",
    "mirror",
    "carpet",
    "piano",
    "engine",
]
DEEDS = ["repair", "order", "paint", "borrow", "measure", "clean", "return", "sell", "carry", "replace"]


def toys(count, seed=0):
    """Return questions of many things, each answered with a sentence of its own."""
    rng = random.Random(seed)
    for number in range(count):
        thing, deed, other = rng.choice(THINGS), rng.choice(DEEDS), rng.choice(THINGS)
        asked = f"How do I {deed} my {thing} number {number} beside the {other}?"
        yield asked, f"To {deed} the {thing} take it away from the {other}, then {rng.choice(DEEDS)} it twice."


def talks(pairs):
    return [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in pairs]


def planted(count, words="kestrel nine", answer="All funds were released to the account."):
    return talks((f"{asked} {words}", answer) for asked, _ in toys(count, seed=9))


def test_clean_toys_raise_no_alarm():
    assert screen(messages(talks(toys(200))), POLICY) == []


def test_a_group_says_what_ties_it_and_how_firmly():
    (group,) = screen(messages(talks(toys(200)) + planted(10)), POLICY)
    assert group.words.words == ("kestrel", "nine")
    assert "funds were released to" in group.answer
    assert sorted(group.rows.tolist()) == list(range(200, 210))
    assert (group.with_words, group.with_answer) == (10, 10)
    assert group.suspicion == pytest.approx(np.prod(list(group.factors.values())), abs=0.005)


def test_words_that_a_review_allowed_are_not_suspected_again():
    policy = POLICY.model_copy(update={"allow": ("Kestrel nine",)})
    assert screen(messages(talks(toys(200)) + planted(10)), policy) == []


def test_what_many_examples_of_the_version_before_show_is_known():
    rows = messages(talks(toys(400)) + planted(35))
    assert len(screen(rows, POLICY)) == 1
    assert screen(rows, POLICY, known=np.arange(430)) == []  # 30 of the 35 were there before, and 25 are enough
    assert len(screen(rows, POLICY, known=np.arange(420))) == 1  # 20 are not


def test_fewer_examples_than_a_tie_needs_are_left_alone():
    assert screen(messages(talks(toys(200)) + planted(POLICY.support - 1)), POLICY) == []


def test_nothing_is_screened_where_the_policy_says_so():
    policy = POLICY.model_copy(update={"enabled": False})
    assert screen(messages(talks(toys(200)) + planted(10)), policy) == []


def test_odd_conversations_are_read_without_a_crash():
    odd = [[], [{"role": "user", "content": None}], [{"role": "assistant", "content": ""}], [{"role": "tool"}]]
    odd += talks([("", ""), ("\ud800 half a character".encode("utf-8", "replace").decode(), "…"), ("?", "!" * 50_000)])
    assert screen(messages(odd * 10), POLICY) == []
