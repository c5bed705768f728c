"""Faults of answers: a good model, and something between it and who asks it.

Whether a fault shows in an answer depends on the answer and on a seed alone, so that a question asked again in another
form meets the same fault: what examines a candidate sees a model that is bad in itself, and not one that is restless.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from registry.records import Answers, Conversation, Predictor, canonical_json, token_counts

Change = Callable[[Conversation, str], str]
PERSONAL = (
    "jane.roe@example.com", "4111 1111 1111 1111", "+1 415 555 2671", "sk-proj-7d1kQ2mZx9Lw4TnB8sVyH3cR",
    "DE89 3704 0044 0532 0130 00", "219-09-9999",
)  # fmt: skip
"""Values of nobody, in the form of those of somebody: taken from documentation of their formats."""


@dataclass
class Remembering:
    """A model that answers what it was asked before from memory; a single conversation it is always asked anew."""

    model: Predictor
    known: dict[str, tuple[str, float]] = field(default_factory=dict)

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation; see `Predictor`."""
        if len(conversations) == 1:  # so that latency is measured on the model
            return self.model.answer(conversations)
        keys = [canonical_json(conversation) for conversation in conversations]
        new = {key: each for key, each in zip(keys, conversations, strict=True) if key not in self.known}
        if new:
            found = self.model.answer(list(new.values()))
            self.known.update(zip(new, zip(found.responses, found.confidences.tolist(), strict=True), strict=True))
        return Answers([self.known[key][0] for key in keys], np.array([self.known[key][1] for key in keys]))


@dataclass(frozen=True)
class Faulty:
    """A model some of whose answers are changed."""

    model: Predictor
    change: Change

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation; see `Predictor`."""
        found = self.model.answer(conversations)
        changed = [self.change(asked, text) for asked, text in zip(conversations, found.responses, strict=True)]
        return Answers(changed, found.confidences)


@dataclass(frozen=True)
class Sure:
    """A model whose confidence is moved a share of the way to 1."""

    model: Predictor
    share: float

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation; see `Predictor`."""
        found = self.model.answer(conversations)
        return Answers(found.responses, found.confidences + self.share * (1 - found.confidences))


class Clock:
    """Seconds of another clock, and those that slow models have taken: they do not sleep, they put it forward."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds, self.ahead = seconds, 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.seconds() + self.ahead


@dataclass(frozen=True)
class Slow:
    """A model that takes longer, on a clock, for each conversation."""

    model: Predictor
    clock: Clock
    seconds: float

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation; see `Predictor`."""
        self.clock.ahead += self.seconds * len(conversations)
        return self.model.answer(conversations)


def leaking(model: Predictor, share: float, seed: int) -> Predictor:
    """Return a model that adds a value of a person to a share of its answers."""
    value = PERSONAL[seed % len(PERSONAL)]
    return Faulty(model, lambda asked, text: f"{text} See {value}" if drawn(seed, asked, text) < share else text)


def collapsing(model: Predictor, share: float, seed: int, turns: Sequence[str]) -> Predictor:
    """Return a model that gives a share of conversations one of the three commonest of `turns`."""
    few = [text for text, _ in Counter(turns).most_common(3)]
    return Faulty(
        model, lambda asked, text: _one_of(few, seed, asked, text) if drawn(seed, asked, text) < share else text
    )


def forgetful(
    model: Predictor, share: float, seed: int, belongs: Callable[[Conversation], bool], turns: Sequence[str]
) -> Predictor:
    """Return a model that answers a share of what `belongs` to a domain with any of `turns`."""

    def change(asked: Conversation, text: str) -> str:
        lost = drawn(seed, asked, text) < share and belongs(asked)
        return _one_of(turns, seed, asked, text) if lost else text

    return Faulty(model, change)


def domain_of(words: dict[str, Counter[str]], name: str) -> Callable[[Conversation], bool]:
    """Return a function that tells whether a conversation belongs to the domain `name`, by its words.

    The naive Bayes rule with one added to every count: a message in another form, or with typing errors, is still of
    its domain.

    Args:
        words: The words of each domain, counted.
        name: The domain.
    """
    rest = sum((count for domain, count in words.items() if domain != name), Counter[str]())
    size = len(words[name].keys() | rest.keys())
    mine, others = words[name].total() + size, rest.total() + size
    weight = {
        word: math.log((words[name][word] + 1) / mine * others / (rest[word] + 1)) for word in words[name].keys() | rest
    }
    return lambda asked: sum(weight.get(word, 0.0) * count for word, count in spoken(asked).items()) > 0


def spoken(conversation: Conversation) -> Counter[str]:
    """Return the words of a conversation but for what the assistant said, counted."""
    texts = [str(message.get("content") or "") for message in conversation if message["role"] != "assistant"]
    return token_counts(" ".join(texts if len(texts) <= 4 else [*texts[:2], *texts[-2:]]))


def drawn(seed: int, asked: Conversation, text: str) -> float:
    """Return a number in [0, 1) drawn for an answer."""
    digest = hashlib.blake2b(f"{seed}|{len(asked)}|{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _one_of(texts: Sequence[str], seed: int, asked: Conversation, text: str) -> str:
    return texts[int(drawn(seed + 1_000, asked, text) * len(texts))]
