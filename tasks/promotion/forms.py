"""The same message in another form, and with typing errors. Every change is drawn from a generator passed in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from registry.records import Conversation

POLITE = ("Please: ", "Hello, ", "Hi there. ", "Could you help me? ", "Excuse me, ", "Good day. ")
THANKS = (" Thanks.", " Thank you!", " Many thanks in advance.")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def reform(conversation: Conversation, rng: np.random.Generator) -> Conversation:
    """Return the conversation with its last user message said in another form, its meaning kept.

    One of: lower case, a capital at the start, other spacing, punctuation at the end left out or added, a polite start,
    a word of thanks at the end.
    """
    return _change(conversation, lambda text: _reform(text, int(rng.integers(6)), rng))


def with_typos(conversation: Conversation, rate: float, rng: np.random.Generator) -> Conversation:
    """Return the conversation with typing errors in its last user message: a share `rate` of the letters, at least one.

    Each is left out, doubled, replaced, or swapped with the next character.
    """
    return _change(conversation, lambda text: _mistype(text, rate, rng))


def _change(conversation: Conversation, change: Callable[[str], str]) -> Conversation:
    at = max((i for i, m in enumerate(conversation) if m["role"] == "user" and m.get("content")), default=-1)
    if at < 0:
        return conversation
    message = conversation[at]
    return [*conversation[:at], {**message, "content": change(message["content"])}, *conversation[at + 1 :]]


def _reform(text: str, kind: int, rng: np.random.Generator) -> str:
    if kind == 0:
        return text.lower()
    if kind == 1:
        return text[:1].upper() + text[1:]
    if kind == 2:
        return "  ".join(text.split(" ")) + "\n"
    if kind == 3:
        bare = text.rstrip(" .!?")
        return bare if bare != text else f"{text}."
    if kind == 4:
        return POLITE[int(rng.integers(len(POLITE)))] + text
    return text + THANKS[int(rng.integers(len(THANKS)))]


def _mistype(text: str, rate: float, rng: np.random.Generator) -> str:
    letters = [i for i, character in enumerate(text) if character.isalpha()]
    if not letters:
        return text
    count = max(1, round(rate * len(letters)))
    characters = list(text)
    for i in rng.choice(letters, size=count, replace=False):
        kind = int(rng.integers(4))
        if kind == 0:
            characters[i] = ""
        elif kind == 1:
            characters[i] *= 2
        elif kind == 2:
            characters[i] = LETTERS[int(rng.integers(len(LETTERS)))]
        elif i + 1 < len(characters):
            characters[i], characters[i + 1] = characters[i + 1], characters[i]
    return "".join(characters)
