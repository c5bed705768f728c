"""Did quality fall? River's ADWIN finds a fall; the latest mean must lie further below the reference than tolerated.

ADWIN (Bifet and Gavaldà 2007) keeps a window of scores and asks of every cut whether the means before and behind it
differ by more than chance explains, at a level that holds for all cuts together; if so it forgets the older part. It
learns the noise from the scores themselves, so it needs no setting but the level δ.

Its bound is for independent scores. Where users come back their answers are alike, and sums of n scores vary by more
than √n times one score's standard deviation: their variance is larger by the design effect (Kish 1965). In ADWIN's
bound, √(2 σ² ln(2 ln(n) / δ) / m), a larger variance is the same as a smaller level: the logarithm times the effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from river.drift import ADWIN

CLOCK = 16
"""Observations between two looks of the test."""
TWICE_LOG = 16.0
"""2 ln(n) in the bound, for windows of about 3,000."""
LEAST_LEVEL = 1e-300
BATCH = 10
"""Observations that are summed to see whether neighbours are alike, where units are not known."""
KNOWN_UNITS = 0.9
"""Share of the reference that must have a unit for the units to be used."""

Values = NDArray[np.float64]
Units = NDArray[np.int64]


class Fall(NamedTuple):
    """A fall of quality that the test has found."""

    seen: int
    """How many observations it took."""
    since: int
    """The observation with which it most probably began."""


class Drop(NamedTuple):
    """How the quality of one stream stands."""

    fired: bool
    """Whether a fall was found and the quality is still more than the tolerated share below the reference."""
    share: float
    """Of the reference that is lost now."""
    before: float
    """Mean of the reference."""
    after: float
    """Mean of what came last."""
    falls: list[Fall]
    """What was found, oldest first."""


def drop(quality: Values, units: Units, tolerated: float, reference: int, level: float) -> Drop | None:
    """Return whether the quality of a stream fell, None while the reference is not full.

    Args:
        quality: Scores, 0 to 100, from the start of the reference on, in the order in which they came; all finite.
        units: Code of the unit of each; negative where it is not known.
        tolerated: Share of the reference that may be lost.
        reference: Length of the reference.
        level: ADWIN's δ.
    """
    if len(quality) < reference:
        return None
    return now(quality, falls(quality, units, reference, level), tolerated, reference)


def now(quality: Values, found: list[Fall], tolerated: float, reference: int) -> Drop:
    """Return how a stream stands, given the falls that were found in it."""
    before = float(quality[: found[0].since if found else reference].mean())
    latest = quality[max(found[-1].since if found else reference, len(quality) - reference) :]
    after = float(latest.mean()) if len(latest) else before
    share = 1.0 - after / before if before > 0.0 else 0.0
    return Drop(bool(found) and share >= tolerated, share, before, after, found)


def falls(quality: Values, units: Units, reference: int, level: float) -> list[Fall]:
    """Return every fall that the test finds; after each it begins anew, at the new level."""
    effect = design_effect(quality[:reference], units[:reference])
    level = max(TWICE_LOG * (level / TWICE_LOG) ** effect, LEAST_LEVEL)
    found: list[Fall] = []
    test = _test(reference, level)
    for position, value in enumerate((quality / 100.0).tolist()):
        mean = test.estimation
        test.update(value)
        if test.drift_detected and test.estimation < mean:
            start = found[-1].seen if found else 0
            found.append(Fall(position + 1, _began(quality, start, position + 1)))
            test = _test(reference, level)
    return found


def _test(reference: int, level: float) -> ADWIN:
    from river.drift import ADWIN  # takes a second

    return ADWIN(delta=level, clock=CLOCK, grace_period=reference)


def _began(quality: Values, start: int, seen: int) -> int:
    """Return the most probable beginning: where the parts differ most (the maximum of the likelihood, equal noise)."""
    part = quality[start:seen]
    left = np.arange(1, len(part))
    away = np.cumsum(part - part.mean())[:-1]
    return start + 1 + int(np.argmax(away / np.sqrt(left * (len(part) - left))))


def design_effect(quality: Values, units: Units) -> float:
    """Return how many times more sums of scores vary than if all were independent; 1 at least."""
    rest = quality - quality.mean()
    known = units >= 0
    if known.mean() >= KNOWN_UNITS:
        _, codes = np.unique(units[known], return_inverse=True)
        rest = rest[known]
        sums = np.bincount(codes, weights=rest).astype(np.float64)
    else:  # neighbours may be alike
        rest = rest[: len(rest) // BATCH * BATCH]
        sums = rest.reshape(-1, BATCH).sum(axis=1)
    total = float((rest * rest).sum())
    return max(1.0, float((sums * sums).sum()) / total) if total > 0.0 else 1.0
