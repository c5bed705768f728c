"""Domain and difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.extraction.traits import DIFFICULTIES, difficulties, domain_of, loads


@pytest.mark.parametrize(
    ("given", "prompt", "domain"),
    [
        ("airline", "Fix this Python function", "airline"),
        (" travel ", "", "travel"),
        (None, "I need a flight and a hotel in Rome, please.", "travel"),
        ("", "Why does this Python function raise an exception?", "coding"),
        ("   ", "Schedule our meetings and milestones for the quarter", "planning"),
        (None, "I want a refund for my order", "customer_service"),
        (None, "Who wrote The Magic Mountain?", "qa"),
        (None, "Write a haiku on rain", "writing"),
        (None, "Bonjour", "unknown"),
        (None, "", "unknown"),
        ("x" * 101, "Book a flight", "travel"),
    ],
)
def test_the_domain_is_given_or_known_by_its_words(given, prompt, domain):
    assert domain_of(given, prompt) == domain


def test_tools_speak_for_a_domain_too():
    assert domain_of(None, "Please help me", ["search_flights"]) == "travel"


def test_difficulty_is_arithmetic_on_the_trace():
    # load = turns + calls + 2 · distinct tools + kilobytes
    turns, calls, tools, size = (np.array(column) for column in zip(
        (2, 0, 0, 800),      # 2 + 0 + 0 + 0.8 = 2.8
        (2, 1, 1, 999),      # 2 + 1 + 2 + 0.999 = 5.999
        (2, 1, 1, 1_000),    # 2 + 1 + 2 + 1.0 = 6.0
        (6, 3, 2, 2_900),    # 6 + 3 + 4 + 2.9 = 15.9
        (6, 3, 2, 3_000),    # 6 + 3 + 4 + 3.0 = 16.0
        strict=True,
    ))  # fmt: skip
    load = loads(turns, calls, tools, size)
    assert load.tolist() == pytest.approx([2.8, 5.999, 6.0, 15.9, 16.0])
    assert [DIFFICULTIES[index] for index in difficulties(load)] == ["easy", "easy", "medium", "medium", "hard"]


def test_the_difficulty_of_an_event_is_that_of_its_conversation(event, read):
    found = read(event())
    # user, call, assistant = 3 turns; 1 call of 1 tool; the conversation is 310 bytes of JSON: 3 + 1 + 2 + 0.31 = 6.31
    size = len(found.examples["messages"][0].as_py())
    assert size == 310
    assert found.examples["difficulty"].to_pylist() == ["medium"]
