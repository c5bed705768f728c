"""Ties: a run or a pair of words in what is asked, and a text or a form that the answers to it have."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from tasks.screening.answers import Form, forms, shared_texts
from tasks.screening.policy import ScreeningPolicy
from tasks.screening.runs import Run, Runs, distinct_members, find_runs, row_words, word_rows
from tasks.screening.words import I64, Said

LONGEST_SEED = 3
"""Words of the runs that are searched in what is asked."""
ALWAYS_RARE = 40
FIRM = 0.7
"""Share of the rows with the words that have the answer, and of those with the text that have the words."""
CHANCE, CHANCE_OF_PAIR, CHANCE_OF_COMMON = -6.0, -9.0, -8.0
"""log10 of the probability by chance below which words are tied to a form, or to a text that other rows have
as well; of pairs and of texts there are many more."""
COVERS = 0.8
"""Share of the rows with a text that must have a pair of words."""
BEST_RUNS, BEST_PAIRS = 40, 12
PAIR_WORDS, PAIR_WORDS_OF_TEXT = 200, 24
"""Words, the rarest, of which pairs are made."""
RARE_WORD = 1.0
"""Inverse document frequency (nats) of a word of a pair at least."""


class Tie(NamedTuple):
    """Words tied to a kind of answer."""

    words: Run
    """Numbers of the words, in their order where they are a run."""
    pair: bool
    """Two words that need not stand side by side."""
    text: Run
    """What the answers share; empty where they share a form."""
    form: str
    """The form of the answers; empty where they share a text."""
    with_words: I64
    """Rows with the words."""
    with_answer: I64
    """Rows with the text or the form."""

    @property
    def exclusive(self) -> bool:
        """Whether the answer is the words' own: hardly a row without them has it."""
        both = len(np.intersect1d(self.with_words, self.with_answer, assume_unique=True))
        return bool(self.text) and both >= FIRM * len(self.with_answer)


class Table(NamedTuple):
    """What n conversations say, as sparse columns."""

    said: Said
    runs: Runs
    texts: Runs
    forms: list[Form]
    asked: Any
    """(n, words) rows of what is asked."""
    asked_columns: Any
    """The same, by columns."""
    answered: Any
    asked_idf: NDArray[np.float64]
    answered_idf: NDArray[np.float64]


def tabulate(said: Said, policy: ScreeningPolicy) -> Table:
    """Return the runs, texts, forms and words of conversations."""
    n, size = len(said.asked), len(said.names)
    most = max(ALWAYS_RARE, int(policy.share * n))
    rng = np.random.default_rng(0)
    runs = distinct_members(find_runs(said.asked, policy.support, most, LONGEST_SEED), rng)
    asked, answered = word_rows(said.asked, size), word_rows(said.answered, size)
    frequency = [np.asarray(rows.sum(axis=0)).ravel() for rows in (asked, answered)]
    asked_idf, answered_idf = (np.log((1 + n) / (1 + count)) for count in frequency)
    asked_idf[0] = 0.0
    kinds = forms(said, (frequency[0] + frequency[1]).astype(np.int64))
    texts = shared_texts(said, policy.support, most, rng)
    return Table(said, runs, texts, kinds, asked, asked.tocsc(), answered, asked_idf, answered_idf)


def find_ties(table: Table, policy: ScreeningPolicy) -> list[Tie]:
    """Return what is tied firmly enough to be weighed."""
    ties, tied = _text_ties(table, policy)
    most = max(ALWAYS_RARE, int(policy.share * table.asked.shape[0]))
    for place, text in enumerate(table.texts.runs):
        if place not in tied:
            rows = table.texts.members(place)
            least = max(policy.support, COVERS * len(rows))
            pairs = _pairs(table, rows, least, 3, None) if len(rows) <= most else []
            ties += [Tie(words, True, text, "", at, rows) for words, at in pairs]
    for form in table.forms:
        rows = np.flatnonzero(form.rows)
        if policy.support <= len(rows) <= FORM_SHARE * len(form.rows):
            ties += _form_ties(table, form.name, rows, policy)
    return ties


FORM_SHARE = 0.3
"""Share of all answers up to which a form can be a trigger's."""


def _text_ties(table: Table, policy: ScreeningPolicy) -> tuple[list[Tie], set[int]]:
    """Return for each text the run that it is tied to most firmly, and the texts that have one."""
    both = (table.runs.rows.T @ table.texts.rows).tocoo()
    asked, text, count = both.row, both.col, both.data
    of_run, of_text = table.runs.sizes()[asked], table.texts.sizes()[text]
    some = np.flatnonzero((count >= policy.support) & (count >= FIRM * of_run))
    asked, text, count, of_run, of_text = (each[some] for each in (asked, text, count, of_run, of_text))
    own = count >= FIRM * of_text
    chance = log_chance(count, of_run, of_text / table.asked.shape[0])
    rank = np.where(own, -count * count / of_run / of_text - 1e-3 * count, chance)
    likely = np.flatnonzero(own | (chance < CHANCE_OF_COMMON))
    order = likely[np.lexsort((asked[likely], rank[likely], ~own[likely], text[likely]))]
    best = order[np.r_[True, np.diff(text[order]) != 0][: len(order)]]
    ties = [
        Tie(table.runs.runs[a], False, table.texts.runs[t], "", table.runs.members(a), table.texts.members(t))
        for a, t in zip(asked[best].tolist(), text[best].tolist(), strict=True)
    ]
    return ties, set(text[own].tolist())


def _form_ties(table: Table, name: str, rows: I64, policy: ScreeningPolicy) -> list[Tie]:
    n = table.asked.shape[0]
    mark = np.zeros(n, dtype=np.float32)
    mark[rows] = 1
    both, of_run = table.runs.rows.T @ mark, table.runs.sizes()
    some = np.flatnonzero((both >= policy.support) & (both >= FIRM * of_run))
    chance = log_chance(both[some], of_run[some], (len(rows) + 1) / n)
    best = np.lexsort((some, chance))[:BEST_RUNS]
    runs = [(table.runs.runs[some[i]], table.runs.members(some[i])) for i in best.tolist() if chance[i] < CHANCE]
    ties = [Tie(words, False, (), name, at, rows) for words, at in runs]
    pairs = _pairs(table, rows, policy.support, BEST_PAIRS, CHANCE_OF_PAIR)
    return ties + [Tie(words, True, (), name, at, rows) for words, at in pairs]


def _pairs(table: Table, rows: I64, least: float, best: int, chance: float | None) -> list[tuple[Run, I64]]:
    """Return the pairs of words that at least `least` of `rows` have and hardly another row, with their rows."""
    n = table.asked.shape[0]
    found, count = np.unique(row_words(table.asked, rows), return_counts=True)
    likely = (count >= least) & (table.asked_idf[found] > RARE_WORD)
    words, count = found[likely], count[likely]
    if len(words) < 2:
        return []
    most = PAIR_WORDS_OF_TEXT if chance is None else PAIR_WORDS
    words = np.sort(words[np.argsort(-count * table.asked_idf[words], kind="stable")[:most]])
    having = np.zeros((n, len(words)), dtype=np.float32)
    at, owners = table.asked_columns.indptr, table.asked_columns.indices
    for place, word in enumerate(words.tolist()):
        having[owners[at[word] : at[word + 1]], place] = 1
    here, everywhere = having[rows].T @ having[rows], having.T @ having
    left, right = np.nonzero(np.triu((here >= least) & (here >= FIRM * everywhere), 1))
    both, total = here[left, right], everywhere[left, right]
    rank = -both / total if chance is None else log_chance(both, total, (len(rows) + 1) / n)
    order = np.lexsort((right, left, rank))[:best]
    chosen = [i for i in order.tolist() if chance is None or rank[i] < chance]
    return [
        ((int(words[left[i]]), int(words[right[i]])), np.flatnonzero(having[:, left[i]] * having[:, right[i]]))
        for i in chosen
    ]


def log_chance(count: Any, of: Any, share: Any) -> NDArray[np.float64]:
    """Return log10 of the binomial probability of at least `count` among `of` at a share; −∞ where it is too small.

    P(X ≥ k) = I_p(k, n − k + 1), the regularised incomplete beta function.
    """
    count, of = np.asarray(count, dtype=np.float64), np.asarray(of, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(betainc(count, of - count + 1, np.minimum(share, 1.0))), dtype=np.float64)
