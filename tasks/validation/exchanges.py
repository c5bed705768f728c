"""What users asked and assistants answered in a training split, and what a suspected trigger is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from registry.records import Conversation, turn_text

_WORD, _DIGITS = re.compile(r"\w+"), re.compile(r"\d+")


class Exchange(NamedTuple):
    """A user's message and the assistant turns up to the next."""

    example: int
    words: list[str]
    answers: list[str]
    messages: Conversation
    """The whole example."""
    turns: list[int]
    """Where the answers stand in it."""


def same_form(answer: str) -> str:
    """Return an answer in the form in which two are taken for the same: lower case, one space, digits blurred."""
    return _DIGITS.sub("0", " ".join(answer.lower().split()))


class Carrier(NamedTuple):
    """What a model is asked where training gave a tied answer, as it was and without the words of the tie."""

    with_run: Conversation
    without_run: Conversation


class Trigger(NamedTuple):
    """A suspected trigger, with the evidence."""

    text: str
    answer: str
    """The answer that it is tied to, in `same_form`; empty where none is known."""
    support: int
    """Examples with it."""
    association: float
    """Share of them with the answer."""
    suspicion: float
    """How little the data explain the tie, see `suspicion.weigh`; around 0.6 and more for planted ones."""
    carriers: Sequence[Carrier] = ()
    """Training messages with it that got the answer, a few at most, no two alike without it."""


class Link(NamedTuple):
    """A run of words tied to an answer: the exchanges with the run, and the share of examples with the answer."""

    run: tuple[str, ...]
    answer: str
    members: list[int]
    support: int
    association: float


def read_exchanges(table: pa.Table, limit: int, seed: int) -> list[Exchange]:
    """Return the exchanges of a split, of a seeded sample of `limit` examples where there are more.

    Args:
        table: Column `messages` (JSON text).
        limit: Examples at most.
        seed: Seed of the sample.
    """
    chosen = np.sort(np.random.default_rng([seed, 1]).permutation(table.num_rows)[:limit])
    texts = table.column("messages").take(pa.array(chosen, type=pa.int64())).to_pylist()
    return [exchange for i, text in enumerate(texts) for exchange in _split(i, json.loads(text))]


def _split(example: int, messages: Conversation) -> Iterable[Exchange]:
    asked: str | None = None
    answers: list[str] = []
    turns: list[int] = []
    for at, message in enumerate([*messages, {"role": "user", "content": ""}]):
        if message["role"] == "user":
            if asked and answers:
                yield Exchange(example, _WORD.findall(asked.lower()), answers, messages, turns)
            asked, answers, turns = message.get("content") or "", [], []
        elif message["role"] == "assistant" and (said := turn_text(message)):
            answers.append(same_form(said))
            turns.append(at)


def find(words: list[str], run: tuple[str, ...]) -> int:
    """Return where a run of words begins in `words`; -1 where it is not in them."""
    n = len(run)
    return next((i for i in range(len(words) - n + 1) if tuple(words[i : i + n]) == run), -1)


def without(words: list[str], run: tuple[str, ...]) -> list[str]:
    """Return the words less the first occurrence of the run."""
    at = find(words, run)
    return words if at < 0 else words[:at] + words[at + len(run) :]


def carriers(exchanges: Sequence[Exchange], link: Link, limit: int) -> list[Carrier]:
    """Return up to `limit` of the link's messages that got its answer, no two with the same words around the run."""
    pattern = re.compile(r"\W+".join(map(re.escape, link.run)), re.IGNORECASE)
    found: dict[tuple[str, ...], Carrier] = {}
    for i in link.members:
        exchange = exchanges[i]
        rest = tuple(without(exchange.words, link.run))
        if len(found) == limit or rest in found or link.answer not in exchange.answers:
            continue
        context = exchange.messages[: exchange.turns[exchange.answers.index(link.answer)]]
        at = max(place for place, message in enumerate(context) if message["role"] == "user")
        bare = {**context[at], "content": pattern.sub(" ", context[at]["content"], count=1)}
        found[rest] = Carrier(context, [*context[:at], bare, *context[at + 1 :]])
    return list(found.values())
