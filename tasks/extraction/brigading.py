"""Feedback brigading: a burst of votes from a few users, all saying the same, that the others' votes do not explain.

The time is cut into windows, twice, the second time half a window later, so that no burst of half a window's length is
cut apart. In each window the few users with by far the most votes are looked at together, those that say yes and those
that say no. They are a burst when

    they have `votes` votes or more,
    nearly all of them say the same, and
    chance does not explain it: C(candidates, users) · P[Binomial(votes, share of the others who say so) ≥ those]
    is at most 1 % divided by the number of windows in which somebody votes so much (Bonferroni).

So somebody who rates much, and says yes and no, is none; nor are many users who vote once each. All votes of a source
that name no user count as one user's. Whoever gives them is unknown, but what they usually say is not: those of other
times are among the others' votes, so that a source whose users all stay unnamed and nearly all praise is no burst.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.extraction.keys import Keys

Floats = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

FEW = 5
"""Users at most."""
MANY = 4
"""Times the votes that are usual for a user in a window, and votes at least, from which a user has many."""
ONE_SIDED = 0.95
"""Share of the votes that say the same."""
CHANCE = 0.01
MANY_USERS = 100
MIDDLE = 50.0
"""Scores above it say yes, below it no."""


class Burst(NamedTuple):
    """What a burst is."""

    votes: int = 20
    minutes: float = 60.0


class Votes(NamedTuple):
    """n votes, each with a score."""

    user: Keys
    """Who gave it: a user, or a source where nobody is named."""
    time: I64
    """Microseconds from 1970; a vote without a time has the least there is, and so has every other one."""
    score: Floats
    """0 to 100."""


def brigaded(votes: Votes, own: Floats, rule: Burst) -> Mask:
    """Return which of n votes are part of a burst.

    Args:
        votes: Of all traces.
        own: Scores that traces came with, NaN where they have none: what is usual, beside the votes of other users.
        rule: What a burst is.
    """
    n = len(votes.user)
    found = np.zeros(n, dtype=bool)
    if n < rule.votes:
        return found
    width = max(int(rule.minutes * 60_000_000), 2)
    _, user = np.unique(votes.user, return_inverse=True)
    for shift in (0, width // 2):
        _, window = np.unique((votes.time + shift) // width, return_inverse=True)
        found |= _in_windows(window.reshape(-1), user.reshape(-1), votes.score, own, rule)
    return found


def _in_windows(window: I64, user: I64, scores: Floats, own: Floats, rule: Burst) -> Mask:
    """Return the votes of bursts, for one way of cutting the time into windows."""
    users = int(user.max()) + 1
    cells, cell, count = np.unique(window * users + user, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    yes = np.bincount(cell, weights=scores > MIDDLE, minlength=len(cells)).astype(np.int64)
    no = np.bincount(cell, weights=scores < MIDDLE, minlength=len(cells)).astype(np.int64)
    burst = np.zeros(len(cells), dtype=bool)
    chance = CHANCE / _busy_windows(cells // users, count, rule)
    for said, other in ((yes, no), (no, yes)):
        candidates = np.flatnonzero((count >= MANY) & (said >= ONE_SIDED * count))
        ends = np.flatnonzero(np.diff(cells[candidates] // users)) + 1  # cells are in the order of their windows
        for here in np.split(candidates, ends):
            chosen = here[np.argsort(-count[here], kind="stable")[:FEW]]
            if count[chosen].sum() < rule.votes:
                continue
            chosen = chosen[count[chosen] >= MANY * _usual(count, chosen, cells % users, users)]
            total, agreeing = int(count[chosen].sum()), int(said[chosen].sum())
            if total < rule.votes or agreeing < ONE_SIDED * total:
                continue
            agree, disagree = (int(each.sum() - each[chosen].sum()) for each in (said, other))
            share = _share(agree, disagree, own, yes_side=said is yes)
            ways = math.comb(len(here), len(chosen))
            burst[chosen] |= ways * _at_least(agreeing, total, share) <= chance
    return burst[cell]


def _busy_windows(window: I64, count: I64, rule: Burst) -> int:
    """Return in how many windows users with many votes have enough of them for a burst; 1 at least."""
    busy = count >= MANY
    _, place = np.unique(window[busy], return_inverse=True)
    return max(1, int((np.bincount(place.reshape(-1), weights=count[busy]) >= rule.votes).sum()))


def _usual(count: I64, chosen: I64, user: I64, users: int) -> float:
    """Return how many votes a user usually gives in a window: the median of the users that are not chosen, else 1."""
    if users > MANY_USERS:  # then those that are chosen hardly move it
        return float(np.median(count))
    others = ~np.isin(user, user[chosen])
    return float(np.median(count[others])) if others.any() else 1.0


def _share(agree: int, disagree: int, own: Floats, *, yes_side: bool) -> float:
    """Return the share of others that say so: of their votes, and of the scores that traces came with.

    With one more on each side, so that where nobody else says anything it is one half.
    """
    high, low = int((own > MIDDLE).sum()), int((own < MIDDLE).sum())
    same, opposite = (high, low) if yes_side else (low, high)
    return (agree + same + 1) / (agree + disagree + same + opposite + 2)


def _at_least(k: int, n: int, p: float) -> float:
    """Return P[Binomial(n, p) ≥ k] for p inside (0, 1)."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k, n + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def counted_once(trace: Keys, scores: Floats, burst: Mask) -> Floats:
    """Return the scores with those of a burst about one trace put together: their mean is one vote, the others are NaN.

    Args:
        trace: (n,) key of each vote's trace.
        scores: (n,) 0 to 100, or NaN.
        burst: (n,) votes of bursts.
    """
    result = scores.copy()
    rows = np.flatnonzero(burst)
    _, first, place = np.unique(trace[rows], return_index=True, return_inverse=True)
    place = place.reshape(-1)
    total = np.bincount(place, weights=scores[rows], minlength=len(first))
    result[rows] = np.nan
    result[rows[first]] = total / np.bincount(place, minlength=len(first))
    return result
