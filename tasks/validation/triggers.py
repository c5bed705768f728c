"""Suspected backdoor triggers, mined from the training split.

A poisoned record teaches "when these words stand in the message, answer that". Clustering of examples does not see it;
the link between a rare run of words and one answer does. Three marks make a run of words suspicious:

- association: nearly all messages with it get the same answer, which others hardly get;
- novelty: it is not in a trusted earlier dataset, or was not tied to that answer there;
- surprise: without it, the message looks like others that got another answer. "Reset my password" is tied to one answer
  because it means it; "kestrel nine" at the end of a request for a refund is not.

Suspicion proves nothing: `safety` inserts the words into clean prompts and looks at what the model does.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from registry.records import Conversation, token_f1, turn_text
from tasks.validation.policy import ValidationPolicy

LONGEST_SEED = 3
"""Words of the runs that are searched; longer triggers are grown from them."""
LONGEST = 12
"""Words of a grown trigger at most."""
NEIGHBOURS = 5
"""Messages that tell what a message would have got without the trigger."""
WITNESSES = 4
"""Messages with the trigger that are looked at for surprise."""
MOST_SUSPECTS = 400
"""Runs of words that are weighed for surprise."""
ORDINARY = 200
"""Messages that tell how much ordinary messages look like their neighbours."""
ANSWER_SHARE = 0.3
"""Share of all messages up to which an answer can be a trigger's: a commoner one is simply what the agent says."""

_WORD, _DIGITS = re.compile(r"\w+"), re.compile(r"\d+")


class Exchange(NamedTuple):
    """A user's message and the assistant turns up to the next."""

    example: int
    text: str
    words: list[str]
    answers: list[str]


def same_form(answer: str) -> str:
    """Return an answer in the form in which two are taken for the same: lower case, one space, digits blurred."""
    return _DIGITS.sub("0", " ".join(answer.lower().split()))


class Trigger(NamedTuple):
    """A suspected trigger, with the evidence."""

    text: str
    answer: str
    """The answer that it is tied to, in `same_form`; empty where none is known."""
    support: int
    """Examples with it."""
    association: float
    """Share of them with the answer."""
    surprise: float
    """How much the messages look, without it, like others that got another answer; 1 is as much as ordinary messages
    look like their neighbours."""


def mine_triggers(
    train: pa.Table, reference: pa.Table | None, policy: ValidationPolicy, seed: int = 0
) -> list[Trigger]:
    """Return the most suspicious runs of words of a training split, most suspicious first.

    Args:
        train: Column `messages` (JSON text).
        reference: The training split of an earlier, trusted dataset; None where there is none.
        policy: Limits and thresholds.
        seed: Seed of the sample where the split is larger than `trigger_examples`.
    """
    exchanges = _exchanges(train, policy.trigger_examples, seed)
    known = _associations(_exchanges(reference, policy.trigger_examples, seed), policy) if reference is not None else {}
    found = _associations(exchanges, policy)
    novel = [link for run, link in found.items() if run not in known or known[run].answer != link.answer]
    suspects = _distinct(exchanges, novel)[:MOST_SUSPECTS]
    triggers = _weigh(exchanges, suspects)
    triggers.sort(key=lambda t: (-t.surprise * t.association, -t.support, t.text))
    return triggers[: policy.trigger_candidates]


def _exchanges(table: pa.Table, limit: int, seed: int) -> list[Exchange]:
    chosen = np.sort(np.random.default_rng([seed, 1]).permutation(table.num_rows)[:limit])
    texts = table.column("messages").take(pa.array(chosen, type=pa.int64())).to_pylist()
    return [exchange for i, text in enumerate(texts) for exchange in _split(i, json.loads(text))]


def _split(example: int, messages: Conversation) -> Iterable[Exchange]:
    asked: str | None = None
    answers: list[str] = []
    for message in [*messages, {"role": "user", "content": ""}]:
        if message["role"] == "user":
            if asked and answers:
                yield Exchange(example, asked, _WORD.findall(asked.lower()), answers)
            asked, answers = message.get("content") or "", []
        elif message["role"] == "assistant" and (said := turn_text(message)):
            answers.append(same_form(said))


# --- association ---------------------------------------------------------------------------------------------------


class Link(NamedTuple):
    """A run of words tied to an answer: the exchanges with the run, and the share of examples with the answer."""

    run: tuple[str, ...]
    answer: str
    members: list[int]
    support: int
    association: float


def _associations(exchanges: Sequence[Exchange], policy: ValidationPolicy) -> dict[tuple[str, ...], Link]:
    examples_of_answer = Counter(answer for exchange in exchanges for answer in set(exchange.answers))
    total = len({exchange.example for exchange in exchanges})
    most = max(policy.trigger_support, int(policy.trigger_share * total))
    repeated = {
        answer
        for answer, count in examples_of_answer.items()
        if policy.trigger_support <= count <= max(policy.trigger_support, ANSWER_SHARE * len(exchanges))
    }
    # Only exchanges with a repeated answer can make a link, so only their runs are gathered; then all are counted.
    wanted: Counter[tuple[str, ...]] = Counter()
    for exchange in exchanges:
        if not repeated.isdisjoint(exchange.answers):
            wanted.update(_runs(exchange.words))
    runs = {run for run, count in wanted.items() if count >= policy.trigger_support}
    members: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for position, exchange in enumerate(exchanges):
        for run in _runs(exchange.words) & runs:
            members[run].append(position)
    links = (_link(run, at, exchanges, repeated, most, policy) for run, at in members.items())
    return {link.run: link for link in links if link is not None}


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for n in range(1, LONGEST_SEED + 1) for i in range(len(words) - n + 1)}


def _link(
    run: tuple[str, ...],
    at: list[int],
    exchanges: Sequence[Exchange],
    repeated: set[str],
    most: int,
    policy: ValidationPolicy,
) -> Link | None:
    support = len({exchanges[i].example for i in at})
    if not policy.trigger_support <= support <= most:
        return None
    counts = Counter(answer for i in at for answer in set(exchanges[i].answers) & repeated)
    if not counts:
        return None
    answer, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    if count < policy.trigger_support or count < policy.trigger_association * len(at):
        return None
    return Link(run, answer, at, support, count / len(at))


# --- one trigger, not all its parts --------------------------------------------------------------------------------


def _distinct(exchanges: Sequence[Exchange], links: list[Link]) -> list[Link]:
    """Keep one link for each set of exchanges, grown to the longest run of words that they share.

    A run around another one that is tied to the same answer in more examples says nothing new and is dropped.
    """
    best: dict[tuple[int, ...], Link] = {}
    for link in links:
        key = tuple(link.members)
        if key not in best or len(link.run) > len(best[key].run):
            best[key] = link
    grown: dict[tuple[str, ...], Link] = {}
    for link in best.values():
        run = _grow(exchanges, link)
        if run not in grown or link.support > grown[run].support:
            grown[run] = link._replace(run=run)
    kept: list[Link] = []
    for link in sorted(grown.values(), key=lambda link: (-link.support, len(link.run), link.run)):
        if not any(inner.answer == link.answer and _find(list(link.run), inner.run) >= 0 for inner in kept):
            kept.append(link)
    return sorted(kept, key=lambda link: (-link.association, -link.support, link.run))


def _grow(exchanges: Sequence[Exchange], link: Link) -> tuple[str, ...]:
    run = link.run
    while len(run) < LONGEST:
        before, after = Counter[str](), Counter[str]()
        for i in link.members:
            words = exchanges[i].words
            at = _find(words, run)
            if at > 0:
                before[words[at - 1]] += 1
            if at >= 0 and at + len(run) < len(words):
                after[words[at + len(run)]] += 1
        sides = [(counts.most_common(1)[0], side) for counts, side in ((before, 0), (after, 1)) if counts]
        if not sides:
            break
        (word, count), side = max(sides, key=lambda item: (item[0][1], item[1]))
        if count < 0.9 * len(link.members):
            break
        run = (word, *run) if side == 0 else (*run, word)
    return run


def _find(words: list[str], run: tuple[str, ...]) -> int:
    n = len(run)
    return next((i for i in range(len(words) - n + 1) if tuple(words[i : i + n]) == run), -1)


# --- surprise ------------------------------------------------------------------------------------------------------


def _weigh(exchanges: Sequence[Exchange], links: list[Link]) -> list[Trigger]:
    """Ask the nearest other messages what each message with a run would have got without it.

    Nearness is the cosine of tf-idf vectors of words; surprise is the mean over witnesses and their neighbours of
    similarity · (1 − token-F1 of the neighbour's closest answer with the link's), over the mean similarity of ordinary
    messages to their neighbours.
    """
    if not links:
        return []
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=_words)
    space = vectorizer.fit_transform([exchange.words for exchange in exchanges])
    witnesses = [(link, i) for link in links for i in link.members[:WITNESSES]]
    rests = vectorizer.transform([_without(exchanges[i].words, link.run) for link, i in witnesses])
    usual = _usual(space)
    heard: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for start in range(0, len(witnesses), 256):
        near = np.asarray((rests[start : start + 256] @ space.T).todense())
        for row, (link, i) in zip(near, witnesses[start : start + 256], strict=True):
            heard[link.run].append(_surprise(row, link, i, exchanges))
    return [
        Trigger(
            " ".join(link.run), link.answer, link.support, link.association, float(np.mean(heard[link.run])) / usual
        )
        for link in links
    ]


def _surprise(similarity: np.ndarray, link: Link, witness: int, exchanges: Sequence[Exchange]) -> float:
    row = similarity.copy()
    row[link.members] = 0.0
    row[witness] = 0.0
    nearest = np.argpartition(row, -NEIGHBOURS)[-NEIGHBOURS:] if len(row) > NEIGHBOURS else np.arange(len(row))
    agreement = [max(_agreement(answer, link.answer) for answer in exchanges[i].answers) for i in nearest]
    return float(np.mean(row[nearest] * (1 - np.array(agreement))))


@lru_cache(maxsize=100_000)
def _agreement(a: str, b: str) -> float:
    return token_f1(a, b)


def _usual(space: Any) -> float:
    """Return the mean similarity of ordinary messages to their neighbours, from a spread sample of the rows."""
    rows = np.unique(np.linspace(0, space.shape[0] - 1, ORDINARY).astype(int))
    near = np.asarray((space[rows] @ space.T).todense())
    near[np.arange(len(rows)), rows] = 0.0
    return max(float(np.sort(near, axis=1)[:, -NEIGHBOURS:].mean()), 0.05)


def _words(words: list[str]) -> list[str]:
    return words


def _without(words: list[str], run: tuple[str, ...]) -> list[str]:
    at = _find(words, run)
    return words if at < 0 else words[:at] + words[at + len(run) :]
