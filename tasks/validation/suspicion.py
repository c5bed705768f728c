"""How suspicious is a run of words that is tied to one answer? What explains the tie otherwise takes suspicion away.

suspicion = surprise · (1 − kinship) · exclusiveness

- surprise: without the run, the message looks like others that got another answer. The mean over witnesses and their
  neighbours of similarity · (1 − token-F1 of the neighbour's closest answer with the run's), over the mean similarity
  of ordinary messages to their neighbours;
- kinship: how much of the run the answer takes up, as an answer to a question does. The share of the run's words,
  weighted by inverse document frequency, that begin like a word of the answer;
- exclusiveness: the share of the examples with the answer that have the run. A trigger brings an answer of its own; a
  wording of a common request brings an answer that other wordings bring as well.

What a message asks is no trigger in it, however firmly an answer is tied to it: "Hello, do you ship to Norway? Thanks"
is a question in a frame. A trigger stands in messages that ask for something without it, so a run is suspected only
where its messages are carriers:

carried = (1 − coverage) · agreement

- coverage: the run's share of the message's words, weighted by inverse document frequency;
- agreement: how much the answers of the neighbours of the message without the run agree with each other (mean token-F1
  of pairs), over the same of ordinary messages, at most 1. The neighbours of a request ask for the same and get the
  same answer; the neighbours of a frame ask for anything.

On made and real conversations, clean and with 1.5 % poisoned examples, planted triggers are at 0.6 to 1.2, ordinary
wordings nearly all below 0.55.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from registry.records import token_counts, token_f1
from tasks.validation.exchanges import Exchange, Link, Trigger, carriers, same_form, without

NEIGHBOURS = 5
"""Messages that tell what a message would have got without the trigger."""
WITNESSES = 8
"""Messages with the trigger that are looked at."""
CARRIED = 0.35
"""`carried` below which a run is what its messages ask. It is 0.43 and more for planted triggers, and at most 0.32 for
the questions of clean collections of frequent questions, put into frames of many kinds."""
ORDINARY = 200
"""Messages that tell how much ordinary messages look like their neighbours."""
STEM = 5
"""Letters by which two words are taken for forms of one."""


class _Reading(NamedTuple):
    """What the neighbours of messages without a run say; of ordinary messages where there is no run."""

    surprise: float
    agreement: float


def weigh(exchanges: Sequence[Exchange], links: Sequence[Link]) -> list[Trigger]:
    """Return the links that carriers hold as triggers, with their suspicion.

    Nearness of messages is the cosine of tf-idf vectors of words.

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
    usual = _usual(exchanges, space)
    triggers = []
    for link, reading in zip(links, _readings(exchanges, links, vectorizer, space), strict=True):
        words = [exchanges[i].words for i in link.members]
        if (1 - coverage(link.run, words, weights)) * min(1.0, reading.agreement / usual.agreement) < CARRIED:
            continue
        both = len({exchanges[i].example for i in link.members if link.answer in exchanges[i].answers})
        foreign = reading.surprise / usual.surprise * (1 - kinship(link.run, link.answer, weights))
        suspicion = foreign * both / answered[link.answer]
        held = carriers(exchanges, link, WITNESSES)
        triggers.append(Trigger(" ".join(link.run), link.answer, link.support, link.association, suspicion, held))
    return triggers


def coverage(run: Sequence[str], messages: Sequence[Sequence[str]], weights: Mapping[str, float]) -> float:
    """Return the run's mean weighted share of the words of the messages that it stands in, in (0, 1]."""
    total = sum(weights[word] for word in run)
    return float(np.mean([total / sum(weights[word] for word in words) for words in messages]))


def kinship(run: Sequence[str], answer: str, weights: Mapping[str, float]) -> float:
    """Return the weighted share of the run's words that begin like a word of the answer, in [0, 1].

    Two words begin alike when their first `STEM` letters, or all of both, are the same; digits are blurred in both.
    """
    stems = {word[:STEM] for word in token_counts(answer.replace("_", " "))}
    total = sum(weights[word] for word in run)
    return sum(weights[word] for word in run if same_form(word)[:STEM] in stems) / total


def _readings(exchanges: Sequence[Exchange], links: Sequence[Link], vectorizer: Any, space: Any) -> list[_Reading]:
    witnesses = [(link, i) for link in links for i in link.members[:WITNESSES]]
    rests = vectorizer.transform([without(exchanges[i].words, link.run) for link, i in witnesses])
    heard: defaultdict[tuple[str, ...], list[_Reading]] = defaultdict(list)
    for start in range(0, len(witnesses), 256):
        near = np.asarray((rests[start : start + 256] @ space.T).todense())
        for row, (link, _) in zip(near, witnesses[start : start + 256], strict=True):
            row[link.members] = 0.0
            nearest = _nearest(row)
            foreign = [1 - max(_agreement(said, link.answer) for said in exchanges[i].answers) for i in nearest]
            heard[link.run].append(_Reading(float(np.mean(row[nearest] * foreign)), _unity(exchanges, nearest)))
    return [_mean(heard[link.run]) for link in links]


def _nearest(similarity: Any) -> list[int]:
    """Return the rows of the nearest messages, in the order of the rows."""
    if len(similarity) <= NEIGHBOURS:
        return list(range(len(similarity)))
    return sorted(np.argpartition(similarity, -NEIGHBOURS)[-NEIGHBOURS:].tolist())


def _unity(exchanges: Sequence[Exchange], rows: Sequence[int]) -> float:
    """Return the mean agreement of pairs of exchanges, each pair by the answers that agree most."""
    pairs = combinations([exchanges[i].answers for i in rows], 2)
    agreements = [max(_agreement(a, b) for a in one for b in other) for one, other in pairs]
    return float(np.mean(agreements)) if agreements else 0.0


def _mean(readings: Sequence[_Reading]) -> _Reading:
    surprise, agreement = np.mean(np.array(readings), axis=0)
    return _Reading(float(surprise), float(agreement))


@lru_cache(maxsize=100_000)
def _agreement(a: str, b: str) -> float:
    return token_f1(a, b)


def _usual(exchanges: Sequence[Exchange], space: Any) -> _Reading:
    """Return what ordinary messages read, a spread sample, each once; `surprise` is how near their neighbours are."""
    distinct = np.array(sorted({tuple(e.words): i for i, e in enumerate(exchanges)}.values()))
    rows = distinct[np.unique(np.linspace(0, len(distinct) - 1, ORDINARY).astype(int))]
    near = np.asarray((space[rows] @ space.T).todense())
    near[np.arange(len(rows)), rows] = 0.0
    nearest = [_nearest(row) for row in near]
    read = _mean(
        [_Reading(float(row[at].mean()), _unity(exchanges, at)) for row, at in zip(near, nearest, strict=True)]
    )
    return _Reading(max(read.surprise, 0.05), max(read.agreement, 0.05))


def _words(words: list[str]) -> list[str]:
    return words
