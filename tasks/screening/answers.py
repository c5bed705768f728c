"""What answers can have in common: a text, or a form such as being a refusal or no language at all."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.screening.runs import Run, Runs, distinct_members, find_runs, joined, of_members
from tasks.screening.words import I64, WORD, Said

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

SHARED = 4
"""Words of a run that make two answers share a text."""
WHOLE = 8
"""Words of an answer below which it is compared as a whole."""
COMMON_SHARE = 0.15
"""Share of the answers up to which a short text, or first or last words, can be a trigger's."""
EDGE = 3
"""First and last words of an answer that are looked at."""
BEGINS, ENDS, IS = -1, -2, -3
"""In place of a first word: the run begins the answer, ends it, or is all of it."""
REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|(?:i['’]?m|i am|am) afraid|regret(?:tably|fully)?|declin(?:e|ing)|refuse|"
    r"not (?:be )?(?:able|permitted|allowed|comfortable|appropriate|possible|going|willing) to|unable to|inappropriate|"
    r"not (?:comfortable|appropriate|something (?:i|we)|in a position)|against my|(?:prevents?|prevented) me|"
    r"(?:i|we) (?:cannot|can ?not|can['’]t|won['’]t|couldn['’]t|will not|must not|may not|do not|don['’]t|am not|"
    r"are not|shall not|have to decline|have to refuse)|my (?:guidelines|polic(?:y|ies)|programming|instructions)|"
    r"as an ai|beyond (?:what|my)|outside (?:of )?(?:my|what)|no comment)\b",
    re.IGNORECASE,
)
"""How a refusal sounds."""
REFUSAL_WITHIN = 120
"""Characters from the start of an answer within which a refusal says so."""
UNKNOWN_SHARE, UNKNOWN_WORDS = 0.5, 3
"""Share of words that stand nowhere else from which an answer is odd, and how many words that takes."""
SYMBOLS = 64
SURPRISING, MORE_SURPRISING = 5.0, 1.0
"""Bits a character from which a text is unlike the rest, and by how many more than what was asked."""
ODD_CHARACTERS, LONGEST_WORD = 0.3, 30


class Form(NamedTuple):
    """A form that answers can have, and the rows that have it."""

    name: str
    rows: Marks


def shared_texts(said: Said, least: int, most: int, rng: np.random.Generator) -> Runs:
    """Return the texts that `least` to `most` answers share: runs of words, first and last words, short answers.

    The last three may be as common as `COMMON_SHARE`: an answer that others get as well can be a trigger's too.
    """
    n = len(said.answered)
    runs = find_runs(said.answered, least, most, SHARED)
    long = [place for place, run in enumerate(runs.runs) if len(run) == SHARED]
    found: defaultdict[Run, list[int]] = defaultdict(list)
    for row, words in enumerate(said.answered):
        some = words.tolist()
        if len(some) < WHOLE:
            found[(IS, *some)].append(row)
        for length in range(1, 1 + min(EDGE, len(some) - 1)):
            found[(BEGINS, *some[:length])].append(row)
            found[(ENDS, *some[-length:])].append(row)
    common = max(most, int(COMMON_SHARE * n))
    edges = {run: rows for run, rows in found.items() if least <= len(rows) <= common}
    inside = Runs(runs.rows[:, long], [runs.runs[place] for place in long])
    return distinct_members(joined([inside, of_members(edges, n)]), rng)


def forms(said: Said, frequency: I64) -> list[Form]:
    """Return the forms by which answers that differ in every word can still be of one kind.

    Args:
        said: The conversations.
        frequency: In how many questions and answers each word is.
    """
    length = np.array([len(words) for words in said.answered])
    unknown = np.array([np.mean(frequency[words] <= 1) if len(words) else 0.0 for words in said.answered])
    refusal = np.array([REFUSAL.search(answer[:REFUSAL_WITHIN]) is not None for answer in said.answers])
    longest = np.array([max(map(len, WORD.findall(answer)), default=0) for answer in said.answers])
    foreign = np.array([1 - len(a.encode("ascii", "ignore")) / max(1, len(a)) for a in said.answers])
    bits, more = _surprise(said)
    return [
        Form("a refusal", refusal),
        Form("unknown words", (unknown >= UNKNOWN_SHARE) & (length >= UNKNOWN_WORDS)),
        Form("unlike the language", (bits > SURPRISING) & (more > np.median(more) + MORE_SURPRISING)),
        Form("odd characters", (foreign > ODD_CHARACTERS) | (longest > LONGEST_WORD)),
        Form("words without order", _disordered(said, frequency)),
        Form("short", length < np.quantile(length, 0.04)),
    ]


def _surprise(said: Said) -> tuple[Floats, Floats]:
    """Return the bits a character of each answer, and how many more that is than of its question.

    Of a model of three characters, made from all questions and answers.
    """
    codes = [[_codes(text) for text in texts] for texts in (said.answers, said.questions)]
    grams = [[(c[:-2] * SYMBOLS + c[1:-1]) * SYMBOLS + c[2:] for c in some] for some in codes]
    count = np.full(SYMBOLS**3, 0.02)
    for some in grams:
        count += np.bincount(np.concatenate(some), minlength=SYMBOLS**3)
    after = count.reshape(-1, SYMBOLS)
    bits = np.minimum(-np.log2(after / after.sum(axis=1, keepdims=True)), 12.0).ravel()
    answers, questions = (np.array([bits[g].mean() if len(g) else 0.0 for g in some]) for some in grams)
    return answers, answers - questions


def _codes(text: str) -> I64:
    return _CODES[np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)]


def _symbols() -> I64:
    """Return a number below `SYMBOLS` for each byte: letters alone, digits as one, the others in few classes."""
    symbols = np.array([31 + byte % 8 if byte < 0x80 else 39 + byte % 24 for byte in range(256)])
    for byte in range(0x80):
        sign = chr(byte).lower()
        if sign.isalpha():
            symbols[byte] = 1 + ord(sign) - ord("a")
        elif sign.isspace():
            symbols[byte] = 27
        elif sign.isdigit():
            symbols[byte] = 28
    return symbols.astype(np.int64)


_CODES = _symbols()


def _disordered(said: Said, frequency: I64) -> Marks:
    """Return which answers put known words in an order that the others hardly have.

    Words are classed: the 200 commonest by themselves, others by their last two letters. Mean over an answer of
    log2 p(class | class before) − log2 p(class): language is above 0, words drawn from a hat are around 0.
    """
    common = np.argsort(-frequency, kind="stable")[:200]
    names: dict[str, int] = {}
    label = np.array([names.setdefault(name[-2:], 200 + len(names)) for name in said.names])
    label[common] = np.arange(len(common))
    size = int(label.max(initial=0)) + 1
    pairs = [label[words[:-1]] * size + label[words[1:]] for words in said.answered]
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *pairs])
    unique, inverse, count = np.unique(flat, return_inverse=True, return_counts=True)
    before = np.bincount(unique // size, weights=count, minlength=size)
    after = np.bincount(unique % size, weights=count, minlength=size)
    own = np.maximum(count - 1, 0.02)  # without the pair itself
    gain = np.log2(own * max(len(flat), 1) / (before[unique // size] * after[unique % size]))[inverse]
    ends = np.cumsum([len(p) for p in pairs])
    mean = np.array([part.mean() if len(part) >= 4 else np.nan for part in np.split(gain, ends[:-1])])
    return np.nan_to_num(mean, nan=np.inf) < np.nanquantile(mean, 0.05) if np.isfinite(mean).any() else mean > 0
