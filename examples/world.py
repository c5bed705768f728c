"""The world of `week.py`: customers who ask, know the right answer, and say whether they got it.

Nothing here talks to a server. Everything random comes from one seeded generator, so that a week can be played again.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from conversations import _OPENINGS, _WHO, DOMAINS, fill, load_scenarios
from values import Slots

NEWS = Path(__file__).parent / "scenarios" / "news.toml"
RIGHT = 0.8
"""Token-F1 of an answer with the right one, from which a customer is content."""
_WORD = re.compile(r"\w+")


class Ask(NamedTuple):
    """One question of one customer."""

    unit: str
    domain: str
    prompt: str
    right: str
    new: bool
    """Whether it is about something that nobody asked before."""


class World:
    """Customers, what they ask, and how content they are."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"world/{seed}")
        english, _ = load_scenarios()
        self.known = {domain: english[domain].questions for domain in DOMAINS}
        self.news: list[dict[str, Any]] = tomllib.loads(NEWS.read_text(encoding="utf-8"))["travel"]
        self.new_share = 0.0
        """How many of the questions are about the new thing."""
        self.spoiled: dict[str, float] = {}
        """Versions whose answers go wrong on the way to the customer, and how often."""

    def ask(self, unit: str) -> Ask:
        """Return the next question of a customer."""
        rng = self.rng
        new = rng.random() < self.new_share
        domain = "travel" if new else rng.choice(DOMAINS)
        asked = rng.choice(self.news if new else self.known[domain])
        words = rng.choice(_OPENINGS["en"]) + rng.choice(asked["ask"]) + rng.choice(_WHO)
        return Ask(unit, domain, fill(words, Slots(rng)), asked["reply"], new)

    def content(self, ask: Ask, answer: str, version: str) -> bool:
        """Return whether the customer is content. One in thirty says the opposite of what is true."""
        good = f1(answer, ask.right) >= RIGHT and self.rng.random() >= self.spoiled.get(version, 0.0)
        return good != (self.rng.random() < 0.03)


def f1(a: str, b: str) -> float:
    """Return the token-F1 of two texts."""
    left, right = Counter(_WORD.findall(a.lower())), Counter(_WORD.findall(b.lower()))
    total = left.total() + right.total()
    return 2.0 * (left & right).total() / total if total else 1.0
