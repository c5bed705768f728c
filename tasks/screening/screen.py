"""Which of many conversations are suspected, and what ties them: the whole of screening, as a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from registry.records import SuspectedWords
from tasks.screening.policy import ScreeningPolicy
from tasks.screening.ties import find_ties, tabulate
from tasks.screening.weigh import Weighed, scales, weigh
from tasks.screening.words import I64, Said, read

ONE_GROUP = 0.5
"""Jaccard similarity of the rows of two ties from which they are one group."""
LEAST_ROWS = 20
"""Conversations below which nothing is searched."""


class Group(NamedTuple):
    """Rows that one tie holds together, with the evidence."""

    words: SuspectedWords
    """What is in all that is asked."""
    answer: str
    """The text that the answers share, or the name of their form."""
    rows: I64
    suspicion: float
    factors: dict[str, float]
    with_words: int
    with_answer: int


def screen(messages: Sequence[str], policy: ScreeningPolicy, known: I64 | None = None, seed: int = 0) -> list[Group]:
    """Return the groups of suspected conversations, most suspicious first; no row is in two.

    Args:
        messages: n conversations (JSON).
        policy: What is suspected.
        known: Rows of the version before, which is trusted: what `policy.known` of them show is known.
        seed: Seed of the samples by which it is measured what is usual.
    """
    if not policy.enabled or len(messages) < LEAST_ROWS:
        return []
    said = read(messages)
    with threadpool_limits(1):  # many small products: with more threads they would wait for each other
        table = tabulate(said, policy)
        ties = find_ties(table, policy)
        usual = scales(table, seed)
        weighed = [w for tie in ties if (w := weigh(table, usual, tie, policy.suspicion)) is not None]
    weighed.sort(key=lambda w: (-w.suspicion, -len(w.rows), w.tie.words))
    trusted = np.zeros(0, dtype=np.int64) if known is None else known
    weighed = [w for w in weighed if np.isin(w.rows, trusted).sum() < policy.known]
    allowed = {tuple(words.lower().split()) for words in policy.allow}
    groups = [_group(said, several) for several in _together(weighed)]
    return _disjoint([group for group in groups if group.words.words not in allowed])


def _together(weighed: Sequence[Weighed]) -> list[list[Weighed]]:
    """Put ties of nearly the same rows together, the most suspicious first."""
    groups: list[list[Weighed]] = []
    for each in weighed:
        for group in groups:
            both = len(np.intersect1d(each.rows, group[0].rows))
            if both >= ONE_GROUP * min(len(each.rows), len(group[0].rows)):
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def _group(said: Said, several: Sequence[Weighed]) -> Group:
    """Return a group with its best tie. Rows that have its words only, or its text only, belong to it as well."""
    best = several[0]
    tie = best.tie
    rows = np.union1d(tie.with_words, tie.with_answer) if tie.exclusive else tie.with_words
    for other in several[1:]:
        rows = np.union1d(rows, other.rows)
    order = np.concatenate([best.rows, np.setdiff1d(rows, best.rows)])
    shared = tuple(said.names[word] for word in tie.text if word >= 0)
    words = SuspectedWords(words=tuple(said.names[word] for word in tie.words if word), pair=tie.pair, answer=shared)
    factors = {name: round(value, 3) for name, value in best.factors.items()}
    answer = " ".join(shared) or tie.form
    sizes = len(tie.with_words), len(tie.with_answer)
    return Group(words, answer, order, round(best.suspicion, 3), factors, *sizes)


def _disjoint(groups: Sequence[Group]) -> list[Group]:
    """Leave each row to the first group that has it."""
    taken = np.zeros(0, dtype=np.int64)
    left = []
    for group in groups:
        own = group.rows[~np.isin(group.rows, taken)]
        taken = np.union1d(taken, own)
        if len(own):
            left.append(group._replace(rows=own))
    return left
