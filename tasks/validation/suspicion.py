"""How suspicious is a run of words that is tied to one answer? What explains the tie otherwise takes suspicion away.

suspicion = surprise · (1 − kinship) · exclusiveness

- surprise: without the run, the message looks like others that got another answer. The mean over witnesses and their
  neighbours of similarity · (1 − token-F1 of the neighbour's closest answer with the run's), over the mean similarity
  of ordinary messages to their neighbours;
- kinship: how much of the run the answer takes up, as an answer to a question does. The share of the run's words,
  weighted by inverse document frequency, that begin like a word of the answer;
- exclusiveness: the share of the examples with the answer that have the run. A trigger brings an answer of its own; a
  wording of a common request brings an answer that other wordings bring as well.

On made and real conversations, clean and with 1.5 % poisoned examples, planted triggers are at 0.55 to 1.2, ordinary
wordings nearly all below 0.5.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from registry.records import token_counts, token_f1
from tasks.validation.exchanges import Exchange, Link, Trigger, without

NEIGHBOURS = 5
"""Messages that tell what a message would have got without the trigger."""
WITNESSES = 4
"""Messages with the trigger that are looked at for surprise."""
ORDINARY = 200
"""Messages that tell how much ordinary messages look like their neighbours."""
STEM = 5
"""Letters by which two words are taken for forms of one."""


def weigh(exchanges: Sequence[Exchange], links: Sequence[Link]) -> list[Trigger]:
    """Return the links as triggers with their suspicion; nearness of messages is the cosine of tf-idf vectors of words.

    Args:
        exchanges: All exchanges.
        links: Runs of words tied to an answer; their members are rows of `exchanges`.
    """
    if not links:
        return []
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=_words)
    space = vectorizer.fit_transform([exchange.words for exchange in exchanges])
    weights = dict(zip(vectorizer.get_feature_names_out(), vectorizer.idf_, strict=True))
    answered = Counter(answer for _, answer in {(e.example, answer) for e in exchanges for answer in e.answers})
    triggers = []
    for link, surprise in zip(links, _surprises(exchanges, links, vectorizer, space), strict=True):
        both = len({exchanges[i].example for i in link.members if link.answer in exchanges[i].answers})
        suspicion = surprise * (1 - kinship(link.run, link.answer, weights)) * both / answered[link.answer]
        triggers.append(Trigger(" ".join(link.run), link.answer, link.support, link.association, suspicion))
    return triggers


def kinship(run: Sequence[str], answer: str, weights: Mapping[str, float]) -> float:
    """Return the weighted share of the run's words that begin like a word of the answer, in [0, 1].

    Two words begin alike when their first `STEM` letters, or all of both, are the same.
    """
    stems = {word[:STEM] for word in token_counts(answer.replace("_", " "))}
    total = sum(weights[word] for word in run)
    return sum(weights[word] for word in run if word[:STEM] in stems) / total


def _surprises(exchanges: Sequence[Exchange], links: Sequence[Link], vectorizer: Any, space: Any) -> list[float]:
    witnesses = [(link, i) for link in links for i in link.members[:WITNESSES]]
    rests = vectorizer.transform([without(exchanges[i].words, link.run) for link, i in witnesses])
    heard: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for start in range(0, len(witnesses), 256):
        near = np.asarray((rests[start : start + 256] @ space.T).todense())
        for row, (link, i) in zip(near, witnesses[start : start + 256], strict=True):
            heard[link.run].append(_surprise(row, link, i, exchanges))
    usual = _usual(space)
    return [float(np.mean(heard[link.run])) / usual for link in links]


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
