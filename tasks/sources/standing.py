"""What is known of all sources when a run begins: who is barred, and whose share is limited (pure)."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sources.caps import Limit
from tasks.sources.lifecycle import State
from tasks.sources.policy import SourcePolicy

I64 = NDArray[np.int64]
UNKNOWN: State = "trial"
"""The state of a source that nobody has seen before."""


class Standing(NamedTuple):
    """The sources' states at the start of a run, and the policy; names of sources in their canonical spelling."""

    policy: SourcePolicy = SourcePolicy()
    states: Mapping[str, State] = {}
    """Of the sources that are known."""

    def state(self, source: str) -> State:
        """Return the state of a source."""
        return self.states.get(source, UNKNOWN)

    def bars(self, source: str, above: Sequence[str] = ()) -> bool:
        """Tell whether nothing of a source may be learned: it is blocked, or not on the list of those that may.

        Args:
            source: Its name.
            above: Names that it lies below; a block of one of them holds for it.
        """
        if any(self.states.get(name) == "blocked" for name in (source, *above)):
            return True
        names = (source, f"{source}/")  # https://host is all that is left of https://host/, which https://host/* means
        allow = self.policy.allow
        return bool(allow) and not any(fnmatch.fnmatchcase(name, pattern) for pattern in allow for name in names)

    @property
    def bars_some(self) -> bool:
        """Whether any source at all may be barred."""
        return bool(self.policy.allow) or "blocked" in self.states.values()

    @property
    def limits_shares(self) -> bool:
        """Whether any share of a dataset may have to be limited."""
        policy, states = self.policy, set(self.states.values())
        always = policy.max_source_share is not None or policy.max_domain_share is not None
        trial = policy.trial_share is not None and "trusted" in states
        return always or trial or (policy.probation_share is not None and "probation" in states)


EVERYBODY = Standing(SourcePolicy(trial_share=None, probation_share=None))
"""Nobody is known, and nobody limited."""


def limits(standing: Standing, names: Sequence[str], source: I64, domain: I64) -> list[Limit]:
    """Return the limits of shares that hold for rows.

    Args:
        standing: States and policy.
        names: Names of the sources, by code.
        source: (n,) code of each row's source.
        domain: (n,) code of each row's domain.
    """
    policy = standing.policy
    here = np.unique(source)
    states = {int(code): standing.state(names[code]) for code in here}
    found = []
    among = set(states.values())
    for state, share, beside in (
        ("trial", policy.trial_share, "trusted" in among),
        ("probation", policy.probation_share, len(among) > 1),
    ):
        if share is not None and state in among and beside:
            inside = [code for code, each in states.items() if each == state]
            found.append(Limit("source", np.where(np.isin(source, inside), 0, -1), share))
    for name, group, share in (
        ("source", source, policy.max_source_share), ("domain", domain, policy.max_domain_share),
    ):  # fmt: skip
        if share is not None:
            found.append(Limit(name, group, share))
    return found
