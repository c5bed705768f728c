"""A source's score, learned from what became of its examples, and the state that follows from it (pure).

    trial ──► trusted ◄──► probation ──► blocked

The levels lie apart, so that a score near one of them does not move a source to and fro: it becomes trusted at
`trusted_above` and loses that only below `probation_below`. Only a person takes a source out of `blocked`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from registry.records import Record
from tasks.sources.policy import SourcePolicy

State = Literal["trial", "trusted", "probation", "blocked"]
STATES: tuple[State, ...] = get_args(State)
PRIOR_GOOD, PRIOR_BAD = 4.0, 1.0
"""What a source has before it brought anything: a score of 0.8, which a few dozen examples outweigh."""
POOR_WEIGHT = 0.25
"""What a poor example counts against a good one. Honest agents fail often; what is poor is not learned anyway."""
HARM_WEIGHT = 10.0
"""What an example that may be poison counts against a good one."""
FORGOTTEN = 1e-6
"""Less than this is nothing."""


class Evidence(Record):
    """What became of a source's examples, older runs counting less (`SourcePolicy.half_life_runs`)."""

    good: float = 0.0
    """Accepted, or good enough and left out as duplicates."""
    poor: float = 0.0
    """Rejected or sent to review for what they are: low quality, outliers, scores that contradict each other."""
    harm: float = 0.0
    """Suspected of being poison, or behind a version that failed its examination of safety."""
    examples: int = 0
    """All that were judged, ever."""
    runs: int = 0

    def later(self, seen: Evidence, half_life: float) -> Evidence:
        """Return the evidence after another run, in which `seen` came."""
        fade = 0.5 ** (seen.runs / half_life)
        faded = {name: getattr(self, name) * fade + getattr(seen, name) for name in ("good", "poor", "harm")}
        kept = {name: round(value, 6) if value > FORGOTTEN else 0.0 for name, value in faded.items()}
        return Evidence(**kept, examples=self.examples + seen.examples, runs=self.runs + seen.runs)


def score(seen: Evidence) -> float:
    """Return the trust in a source, in [0, 1]: (4 + good) / (4 + 1 + good + 0.25 · poor + 10 · harm).

    It is the mean of a Beta distribution whose counts are weighted by what they tell. What says nothing about a source
    (an example without any quality signal, a trace that failed) is in none of them.
    """
    good = PRIOR_GOOD + seen.good
    return good / (good + PRIOR_BAD + POOR_WEIGHT * seen.poor + HARM_WEIGHT * seen.harm)


class Verdict(NamedTuple):
    """The state of a source, and why."""

    state: State
    reason: str


def judge(state: State, seen: Evidence, policy: SourcePolicy) -> Verdict:
    """Return the state that follows from a state and all evidence."""
    trust = score(seen)
    said = f"score {trust:.2f}"
    if state == "blocked":
        return Verdict(state, "only a person lifts it")
    if trust < policy.blocked_below and seen.harm >= policy.blocked_harm:
        return Verdict("blocked", f"{said} below {policy.blocked_below:g}, {seen.harm:.1f} of its examples do harm")
    if trust < policy.probation_below:
        return Verdict("probation", f"{said} below {policy.probation_below:g}")
    if state == "trusted":
        return Verdict(state, said)
    if trust >= policy.trusted_above and _seen_enough(seen, policy):
        known = f"{seen.examples:,} examples in {seen.runs:,} runs"
        return Verdict("trusted", f"{said} reaches {policy.trusted_above:g} after {known}")
    return Verdict(state, said)


def _seen_enough(seen: Evidence, policy: SourcePolicy) -> bool:
    return seen.examples >= policy.trial_examples and seen.runs >= policy.trial_runs


HARM_REASONS = frozenset({"suspected"})
"""Reasons in `decisions.parquet` that tell of poison."""
NOT_ITS_OWN = frozenset({"failed_trace", "feedback_burst"})
"""Reasons that tell nothing about a source: agents fail, and whoever votes in a burst is somebody else."""
POOR_REASONS = frozenset({"low_quality", "low_confidence", "outlier", "conflicting_scores"})
GOOD = frozenset({"accepted", "exact_duplicate", "near_duplicate", "joins_two_sides", "over_source_share",
                  "over_domain_share"})  # fmt: skip


def seen_in_run(counts: Mapping[tuple[str, tuple[str, ...]], int]) -> Evidence:
    """Return what one run says of a source.

    Of events that come again those that were learned are known as such, the others are not. So where a share of the
    good ones was learned before, the same share of the others is taken to have been judged before.

    Args:
        counts: (decision, reasons) of its examples in `decisions.parquet`, with how many there are.
    """
    good = poor = harm = 0.0
    again = 0
    for (decision, reasons), count in counts.items():
        if HARM_REASONS & set(reasons):
            harm += count
        elif decision in GOOD:
            good += count
        elif POOR_REASONS & set(reasons) and not NOT_ITS_OWN & set(reasons):
            poor += count
        elif decision == "already_learned":
            again += count
    new = good / (good + again) if again else 1.0
    examples = round(good + new * (poor + harm))
    return Evidence(good=good, poor=new * poor, harm=new * harm, examples=examples, runs=1 if examples else 0)
