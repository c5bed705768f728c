"""Sample-ratio mismatch: did the arms get the units that they should? A test that may be looked at after every unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from registry.records import Record

CONCENTRATION = 100.0
"""How close to the wanted split the alternative is thought to be, in units seen beforehand."""


class SplitCheck(Record):
    """Whether the arms' units agree with the split that was asked for."""

    units: list[int]
    wanted: list[float]
    p_value: float
    """Valid however often one looks."""
    sound: bool
    reason: str


def check_split(units: Sequence[int], wanted: Sequence[float], alpha: float) -> SplitCheck:
    """Compare units an arm with the split that was wanted.

    A multinomial against a mixture of others around it, with Dirichlet weights: their likelihood ratio is a martingale
    from 1 while the split is as wanted, whatever the number of units (Lindon & Malek 2022, "Anytime-valid inference for
    multinomial count data"). 1 over it is the p-value.

    Args:
        units: Units of each arm.
        wanted: Share that each arm should have of them.
        alpha: Probability of calling a sound split broken, at most, over all looks.
    """
    counts = np.asarray(units, dtype=np.float64)
    shares = np.asarray(wanted, dtype=np.float64) / np.sum(wanted)
    kept = shares > 0
    counts, shares = counts[kept], shares[kept]
    prior = CONCENTRATION * shares
    mixture = (
        gammaln(prior.sum()) - gammaln(prior.sum() + counts.sum()) + np.sum(gammaln(prior + counts) - gammaln(prior))
    )
    logs = float(mixture - np.sum(counts * np.log(shares)))
    p_value = min(1.0, float(np.exp(-logs)))
    sound = p_value >= alpha
    got = " to ".join(f"{count:,}" for count in units)
    asked = " to ".join(f"{share:.0%}" for share in np.asarray(wanted) / np.sum(wanted))
    reason = f"{got} units for a split of {asked}" + ("" if sound else f": no chance (p = {p_value:.1g})")
    return SplitCheck(units=list(units), wanted=list(wanted), p_value=p_value, sound=sound, reason=reason)
