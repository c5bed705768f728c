"""How suspicious is a tie? What explains it otherwise takes suspicion away.

suspicion is a product of factors from 0 to 1:

- firm: the share of the rows with the words that have the answer, times, for a text, the share of the rows with the
  text that have the words; for a form, the share of like questions that do not have it;
- carried: the words are a small part of what is asked. A question is tied to its answer; a trigger is carried by one;
- foreign: the words are not in the answer, and what the answers share is not in the rest of what is asked;
- mixed: without the words, the questions have no more in common than any, nor are they each other's nearest. Of
  frequent questions and of a new product's they have;
- ordinary: without the words, the questions are near to others, as any question is;
- lone: beside the text that they share, the answers have no more in common than any;
- telling: the shared text says something;
- sure: so many rows, so improbable by chance.

The thresholds were set on real conversations of several kinds, clean and with planted ties of many kinds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasks.screening.runs import word_rows
from tasks.screening.ties import Table, Tie, log_chance
from tasks.screening.words import I64

NEIGHBOURS = 5
STEM = 5
"""Letters by which two words are taken for forms of one."""
FRAME = frozenset(["http", "https", "www", "com", "org", "net", "io", "co", "example", "html", "info"])
"""Words of addresses that say nothing about what two of them have in common."""
NEARLY_ALL, HALF = 0.9, 0.5
SHARED_WITH_OTHERS = 4
"""Power to which firmness is raised where other rows have the answer as well; of a text inside an answer it is 0."""
PART, PART_OF_PAIR = 3, 5
"""Powers to which firmness is raised where the text is less than half of the answers: parts coincide more often."""
SAMPLE = 3000
LEAST_LIKENESS = 0.02
RARER = 1.0
"""Inverse document frequency (nats) from which a word of an answer counts as one that says what it is about."""


class Weighed(NamedTuple):
    """A tie and how suspicious it is."""

    tie: Tie
    suspicion: float
    rows: I64
    """Rows with the words and the answer."""
    factors: dict[str, float]


class Scales(NamedTuple):
    """What is usual in a table."""

    asked: Any
    """(n, words) unit rows of tf-idf of what is asked."""
    answered: Any
    asked_likeness: float
    """Mean cosine of two questions."""
    answered_likeness: float
    nearest: float
    """Mean cosine of a question and its nearest."""
    stem: I64
    """A number for each word, the same for words that begin alike."""
    asked_stems: Any
    """(n, stems) rows, 1 where what is asked has a word that begins so."""
    answered_stems: Any
    """The same of the rarer words of the answers."""
    sample: I64
    """Some rows."""
    seen: NDArray[np.float64]
    """In how many questions each word is."""
    odd: NDArray[np.bool_]
    """Whether an answer has any of the forms."""


def scales(table: Table, seed: int) -> Scales:
    """Measure what is usual."""
    n = table.asked.shape[0]
    rng = np.random.default_rng([seed, 2])
    asked = _unit(table.asked @ sparse.diags(table.asked_idf))
    answered = _unit(table.answered @ sparse.diags(table.answered_idf))
    left, right = rng.integers(0, n, (2, SAMPLE))
    alike = [float(np.asarray(rows[left].multiply(rows[right]).sum(axis=1)).mean()) for rows in (asked, answered)]
    sample = rng.permutation(n)[:200]
    near = (asked[sample] @ asked.T).toarray()
    near[np.arange(len(sample)), sample] = 0
    stem = np.unique([word[:STEM] for word in table.said.names], return_inverse=True)[1].reshape(-1)
    rarer = [words[table.answered_idf[words] > RARER] for words in table.said.answered]
    stems = [word_rows([stem[words] for words in some], int(stem.max()) + 1) for some in (table.said.asked, rarer)]
    return Scales(
        asked, answered, max(alike[0], LEAST_LIKENESS), max(alike[1], LEAST_LIKENESS),
        max(float(near.max(axis=1).mean()), 0.05), stem, stems[0], stems[1], sample,
        np.asarray(table.asked.sum(axis=0)).ravel(), np.any([form.rows for form in table.forms], axis=0),
    )  # fmt: skip


def weigh(table: Table, usual: Scales, tie: Tie, least: float) -> Weighed | None:
    """Return a tie with its suspicion; None as soon as it is known to be below `least`."""
    rows = np.intersect1d(tie.with_words, tie.with_answer)
    asked = np.asarray(table.asked[rows].sum(axis=0)).ravel()
    own = np.union1d(np.flatnonzero((asked >= NEARLY_ALL * len(rows)) & (usual.seen <= 2 * len(rows))), tie.words)
    rest = usual.asked[rows] @ sparse.diags(_all_but(own, len(asked)))
    left = np.asarray(rest.multiply(rest).sum(axis=1)).ravel()
    rest = _unit(rest)
    factors = _sure(table, tie, rows) | {"carried": _clip(float(left.mean()) / 0.5)}
    factors |= _foreign(table, usual, tie, rows, own)
    if np.prod(list(factors.values())) < least:
        return None
    factors |= _mixed(usual, rest, left) | _lone(table, usual, tie, rows)
    if np.prod(list(factors.values())) < least:
        return None
    factors |= _support(table, rows, own) | _among(usual, tie, rows, rest)
    suspicion = float(np.prod(list(factors.values())))
    factors = {name: float(value) for name, value in factors.items()}
    return Weighed(tie, suspicion, rows, factors) if suspicion >= least else None


def _sure(table: Table, tie: Tie, rows: I64) -> dict[str, float]:
    n, k = table.asked.shape[0], len(rows)
    other = (len(tie.with_answer) - k + 1) / (n - len(tie.with_words) + 1)
    chance = -float(log_chance(k, len(tie.with_words), other))
    return {"sure": _clip((chance - 5) / 8)}


def _support(table: Table, rows: I64, own: I64) -> dict[str, float]:
    rests = {np.setdiff1d(table.said.asked[row], own).tobytes() for row in rows.tolist()}
    return {"support": _clip((len(rests) - 3) / 6)}


def _foreign(table: Table, usual: Scales, tie: Tie, rows: I64, own: I64) -> dict[str, float]:
    """Return how little the words and the answers, and the answers and the rest of what is asked, have in common."""
    k = len(rows)
    answered = np.asarray(table.answered[rows].sum(axis=0)).ravel()
    shared = np.flatnonzero(answered >= (NEARLY_ALL if tie.text else HALF) * k)
    words = [w for w in own.tolist() if table.asked_idf[w] > 0 and table.said.names[w] not in FRAME]
    stems = set(usual.stem[shared].tolist())
    weight = sum(table.asked_idf[w] for w in words)
    kin = sum(table.asked_idf[w] for w in words if usual.stem[w] in stems) / max(weight, 1e-9)
    taken = np.unique(usual.stem[own])
    if not tie.text:
        said = usual.answered_stems[rows]
        rest = usual.asked_stems[rows] @ sparse.diags(_all_but(taken, usual.asked_stems.shape[1]))
        echo = np.asarray(said.multiply(rest).sum(axis=1)).ravel() / np.maximum(np.asarray(said.sum(axis=1)).ravel(), 1)
        return {"kin": 1 - kin, "echo": 1 - float(echo.mean())}
    said = np.unique(usual.stem[shared[table.answered_idf[shared] > RARER]])
    left = np.setdiff1d(said, taken)
    here, elsewhere = (
        usual.asked_stems[some][:, left].sum() / len(some) / max(1, len(said)) for some in (rows, usual.sample[:60])
    )
    return {"kin": 1 - kin, "echo": 1 - max(0.0, here - elsewhere) / max(0.05, 1 - elsewhere)}


def _mixed(usual: Scales, rest: Any, left: NDArray[np.float64]) -> dict[str, float]:
    likeness = _likeness(rest, int((left > 1e-6).sum())) / usual.asked_likeness
    return {"mixed": _clip(1 - (likeness - 3) / 8)}


def _lone(table: Table, usual: Scales, tie: Tie, rows: I64) -> dict[str, float]:
    """Return how firmly text and words belong together, and nothing else of the answers does."""
    k = len(rows)
    precision, exclusive = k / len(tie.with_words), k / len(tie.with_answer)
    if not tie.text:
        return {"firm": precision}
    if not tie.exclusive:
        return {"firm": precision**SHARED_WITH_OTHERS if tie.text[0] < 0 else 0.0}
    answered = np.asarray(table.answered[rows].sum(axis=0)).ravel()
    shared = np.flatnonzero(answered >= NEARLY_ALL * k)
    other = usual.answered[rows] @ sparse.diags(_all_but(shared, len(answered)))
    left = np.asarray(other.multiply(other).sum(axis=1)).ravel()
    share = float(1 - left.mean())
    power = 1 if share >= 0.5 else PART_OF_PAIR if tie.pair else PART
    factors = {"firm": (precision * exclusive) ** power}
    if share < 0.8:
        live = np.flatnonzero(left > 0.05)
        likeness = _likeness(_unit(other[live]), len(live)) / usual.answered_likeness
        factors["lone"] = _clip(1 - (likeness - 2) / 6)
        if tie.text[0] >= 0:
            factors["telling"] = _clip((float(table.answered_idf[shared].sum()) - 2) / 6)
    return factors


def _among(usual: Scales, tie: Tie, rows: I64, rest: Any) -> dict[str, float]:
    """Return what the nearest questions say of those without the words: are they others, and are they answered so?"""
    others = (rest @ usual.asked.T).toarray()
    others[:, rows] = 0
    members = (rest @ rest.T).toarray()
    np.fill_diagonal(members, 0)
    n = others.shape[1]
    near = np.concatenate([others, members], axis=1)
    nearest = np.argpartition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    company = float((nearest >= n).mean())
    factors = {
        "ordinary": _clip(float(others.max(axis=1).mean()) / usual.nearest / 0.5),
        "apart": _clip(1 - (company - 0.2) / 0.5),
    }
    if not tie.exclusive:
        at = np.argpartition(others, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
        weight = np.take_along_axis(others, at, axis=1)
        alike = np.isin(at, tie.with_answer) if tie.text else usual.odd[at]
        others_alike = float((weight * alike).sum() / (weight.sum() + 1e-9))
        factors["unlike"] = (1 - others_alike) ** (2 if tie.text else 1)
    return factors


def _likeness(unit: Any, rows: int) -> float:
    """Return the mean cosine of pairs of `rows` unit rows."""
    total = np.asarray(unit.sum(axis=0)).ravel()
    return (float(total @ total) - rows) / (rows * (rows - 1)) if rows > 2 else 0.0


def _all_but(words: I64, size: int) -> NDArray[np.float64]:
    mask = np.ones(size)
    mask[words] = 0
    return mask


def _unit(rows: Any) -> Any:
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return (sparse.diags(1 / (norm + 1e-9)) @ rows).tocsr()


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
