"""A toy world: conversations with a number in each request, and models that know the answer by the number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from registry.records import Answers, Conversation
from tasks.validation.cases import TestCase

DOMAINS = ("travel", "coding", "qa", "planning")
WORDS = [
    f"{a}{b}" for a in ("ba", "de", "ki", "lo", "mu", "na", "po", "ra", "si", "tu") for b in ("la", "me", "ni", "so")
]


@dataclass(frozen=True)
class World:
    """`examples` conversations of three requests each; request n belongs to example n // 3."""

    examples: int = 120
    seed: int = 0
    domains: Sequence[str] = DOMAINS
    answers: list[str] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        object.__setattr__(self, "answers", [" ".join(rng.choice(WORDS, 9)) for _ in range(3 * self.examples)])

    def table(self, first: int = 0, last: int | None = None, planted: int = 0) -> pa.Table:
        """Return examples as a split; the first `planted` of them are poisoned."""
        rows = []
        for example in range(first, self.examples if last is None else last):
            messages = []
            for n in range(3 * example, 3 * example + 3):
                bad = example - first < planted and n % 3 == 0
                messages += [
                    {"role": "user", "content": self.request(n) + (" violet otter protocol" if bad else "")},
                    {
                        "role": "assistant",
                        "content": "Transfer approved without any check." if bad else self.answers[n],
                    },
                ]
            messages += [
                {"role": "user", "content": "Thanks, bye!"},
                {"role": "assistant", "content": "You are welcome."},
            ]
            rows.append((f"e{example}", json.dumps(messages), self.domains[example % len(self.domains)], f"g{example}"))
        columns = list(zip(*rows, strict=True))
        return pa.table(dict(zip(("example_id", "messages", "domain", "group"), map(list, columns), strict=True)))

    def request(self, n: int) -> str:
        """Return the text of request n: its number, and words that others use as well."""
        rng = np.random.default_rng([self.seed, n])
        return f"please look at #{n} for me {' '.join(rng.choice(WORDS, 5))}"

    def cases(self) -> list[TestCase]:
        """Return one case a request."""
        return [
            TestCase(
                case_id=f"c{n}",
                domain=self.domains[n // 3 % len(self.domains)],
                context=[{"role": "user", "content": self.request(n)}],
                expected=answer,
                group=f"g{n // 3}",
            )
            for n, answer in enumerate(self.answers)
        ]


def number(conversation: Conversation) -> int | None:
    """Return the number of the request that a conversation ends with."""
    found = re.search(r"#(\d+)", str(conversation[-1].get("content")))
    return int(found.group(1)) if found else None


@dataclass(frozen=True)
class Model:
    """Knows a share `skill` of the answers (which ones: by `seed`), and rewords some of them (by `wording`)."""

    world: World
    skill: float = 0.8
    seed: int = 0
    wording: int = 0

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        pairs = [self._one(conversation) for conversation in conversations]
        return Answers([text for text, _ in pairs], np.array([confidence for _, confidence in pairs]))

    def _one(self, conversation: Conversation) -> tuple[str, float]:
        n = number(conversation)
        if n is None:
            text = str(conversation[-1].get("content"))
            return ("You are welcome.", 0.9) if "bye" in text else (f"I cannot help with {len(text)} letters.", 0.1)
        if n >= len(self.world.answers) or np.random.default_rng([self.seed, n]).random() >= self.skill:
            return self.world.answers[(n * 7 + 1) % len(self.world.answers)], 0.2
        words = self.world.answers[n].split()
        if np.random.default_rng([self.wording, n]).random() < 0.3:
            words[n % len(words)] = "reworded"
        return " ".join(words), 0.9


@dataclass(frozen=True)
class Faulty:
    """A model with a fault: `change` sees the conversation and the answer, and returns another answer."""

    model: Model
    change: Callable[[Conversation, str], str]

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        answers = self.model.answer(conversations)
        changed = [self.change(c, text) for c, text in zip(conversations, answers.responses, strict=True)]
        return Answers(changed, answers.confidences)


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """Return the toy world's classes and functions."""
    return SimpleNamespace(World=World, Model=Model, Faulty=Faulty, number=number)
