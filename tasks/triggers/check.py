"""The five triggers. Each is a pure function: what was observed, what was before, time, policy → a result."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from registry.records import Metric, Record
from tasks.triggers.drift import Drop, drop
from tasks.triggers.observations import Observations, Past, Request
from tasks.triggers.policy import TriggerPolicy

Kind = Literal["sample_count", "schedule", "quality_drop", "error_rate", "manual"]
FEWEST = 20
"""Observations below which no rate is spoken of."""


class TriggerResult(Record):
    """What one trigger says, with its numbers."""

    kind: Kind
    fired: bool
    value: float | None
    threshold: float | None
    missing: float | None
    """How much is missing until it fires, in the unit of `value`; None where that cannot be said."""
    reason: str
    would_fire: str
    """When it would fire."""
    numbers: dict[str, Metric] = Field(default_factory=dict)


class Check(Record):
    """What all triggers say, and whether a retrain starts."""

    fired: bool
    """Whether a retrain starts."""
    reason: str
    held: str | None = None
    """Why no retrain would start now, whatever fires."""
    checks: list[TriggerResult]


def check(
    observations: Observations, past: Past, now: datetime, policy: TriggerPolicy, request: Request | None = None
) -> Check:
    """Ask every trigger, then look whether a retrain may start: a cooldown and a running experiment hold it back.

    All that is counted came after the last training, so a cause that a retrain did not clear fires again only on new
    evidence. A person's wish waits for nothing.
    """
    results = [
        sample_count(observations, past, now, policy),
        schedule(observations, past, now, policy),
        quality_drop(observations, past, now, policy),
        error_rate(observations, past, now, policy),
        manual(request),
    ]
    fired = [result for result in results if result.fired]
    held = None if request is not None else _held(past, now, policy)
    why = "; ".join(f"{result.kind}: {result.reason}" for result in fired) or "no trigger fired"
    reason = f"{held} ({why})" if fired and held is not None else why
    return Check(fired=bool(fired) and held is None, reason=reason, held=held, checks=results)


def _held(past: Past, now: datetime, policy: TriggerPolicy) -> str | None:
    if past.running:
        return f"experiment {', '.join(past.running)} goes on, and its verdict comes first"
    wait = timedelta(hours=policy.cooldown_hours)
    latest = max(past.events, key=lambda event: event.time, default=None)
    if latest is None or now - latest.time >= wait:
        return None
    return f"cooldown until {_time(latest.time + wait)}, for {latest.what} at {_time(latest.time)}"


# --- the five ------------------------------------------------------------------------------------------------------


def sample_count(observations: Observations, past: Past, now: datetime, policy: TriggerPolicy) -> TriggerResult:
    """Fire where there are enough new examples of accepted quality."""
    count, least = observations.samples, policy.sample_count
    if least is None:
        return _off("sample_count")
    missing = max(0, least - count)
    hours = (now - past.trained).total_seconds() / 3600 if past.trained else 0.0
    if missing == 0:
        would = "now"
    elif count and hours > 0:
        would = f"in about {_span(missing * hours / count)}, at the rate since the last training"
    else:
        would = f"with {missing:,} more examples"
    return TriggerResult(
        kind="sample_count", fired=missing == 0, value=count, threshold=least, missing=missing, would_fire=would,
        reason=f"{count:,} new examples of accepted quality, {least:,} are enough",
        numbers={"samples": count},
    )  # fmt: skip


def schedule(observations: Observations, past: Past, now: datetime, policy: TriggerPolicy) -> TriggerResult:
    """Fire where the last training is old and there is something new to learn."""
    limit = policy.schedule_hours
    if limit is None:
        return _off("schedule")
    age = (now - past.trained).total_seconds() / 3600 if past.trained else None
    due = age is None or age >= limit
    missing = 0.0 if age is None else max(0.0, limit - age)
    when = "the model was never trained" if age is None else f"version {past.version} was trained {_span(age)} ago"
    would = "now" if due else f"at {_time(now + timedelta(hours=missing))}"
    if observations.samples == 0:
        when, would = f"{when}, and there is nothing new to learn", f"{would}, once there is an example to learn from"
    return TriggerResult(
        kind="schedule", fired=due and observations.samples > 0, value=age, threshold=limit, missing=missing,
        reason=f"{when}; it is due after {_span(limit)}", would_fire=would,
        numbers={"age_hours": age, "samples": observations.samples},
    )  # fmt: skip


def quality_drop(observations: Observations, past: Past, now: datetime, policy: TriggerPolicy) -> TriggerResult:
    """Fire where quality fell below the reference, in all domains together or in one, by more than is tolerated."""
    del past, now  # the observations begin after the last training
    tolerated = policy.quality_drop
    if tolerated is None:
        return _off("quality_drop")
    streams = list(_streams(observations, policy))
    scored = streams[0].scored
    judged = [(stream.name, found) for stream in streams if (found := stream.drop) is not None]
    if not judged:
        missing = policy.reference - scored
        return TriggerResult(
            kind="quality_drop", fired=False, value=None, threshold=tolerated, missing=None,
            reason=f"{scored:,} scored observations since the last training, fewer than the {policy.reference:,} of "
            "the reference",
            would_fire=f"not before {missing:,} more scored observations",
            numbers={"scored": scored, "scored_missing": missing},
        )  # fmt: skip
    fallen = [each for each in judged if each[1].fired]
    name, worst = max(fallen, key=lambda each: each[1].share) if fallen else judged[0]
    missing_share = 0.0 if worst.fired else max(0.0, tolerated - worst.share)
    return TriggerResult(
        kind="quality_drop", fired=worst.fired, value=worst.share, threshold=tolerated, missing=missing_share,
        reason=_told(name, worst, tolerated, [each for each, _ in fallen]),
        would_fire="now" if worst.fired else f"when a fall of at least {tolerated:.1%} is found and lasts",
        numbers={
            "domain": name, "before": worst.before, "after": worst.after, "scored": scored,
            "seen_after": worst.falls[-1].seen if worst.falls else None,
            "began_after": worst.falls[-1].since if worst.falls else None, "streams": len(judged),
        },
    )  # fmt: skip


class _Stream(NamedTuple):
    name: str
    scored: int
    drop: Drop | None


def _streams(observations: Observations, policy: TriggerPolicy) -> Iterator[_Stream]:
    """Yield how all domains together stand, then each that has enough observations.

    The level is for all tests together: half of it for all domains, the other half shared by the single ones.
    """
    tolerated, level = policy.quality_drop or 0.0, policy.quality_level / 2.0
    scored = np.isfinite(observations.quality)
    quality, domain = observations.quality[scored], observations.domain[scored]
    unit = observations.unit[scored]
    yield _Stream("", len(quality), drop(quality, unit, tolerated, policy.reference, level))
    counts = np.bincount(domain[domain >= 0], minlength=len(observations.domains))
    if np.count_nonzero(counts) < 2:
        return  # the only domain is all of them
    watched = np.flatnonzero(counts >= policy.domain_reference)
    for code in watched:
        mine = domain == code
        found = drop(quality[mine], unit[mine], tolerated, policy.domain_reference, level / len(watched))
        yield _Stream(observations.domains[code], int(counts[code]), found)


def _told(name: str, worst: Drop, tolerated: float, fired: list[str]) -> str:
    where = f" in {name}" if name else ""
    levels = f"from {worst.before:.1f} to {worst.after:.1f}"
    if not worst.fired:
        was = f"; a fall seen after {worst.falls[-1].seen:,} observations did not last" if worst.falls else ""
        change = "no real fall" if worst.share >= tolerated else "no fall"
        return f"{change} of quality{where}: {levels} is {-worst.share:+.1%}, {tolerated:.1%} below is tolerated{was}"
    others = [each or "all together" for each in fired if each != name]
    also = f"; also in {', '.join(others)}" if others else ""
    began = worst.falls[-1].since
    since = f"since its observation {began:,}; {tolerated:.1%} is tolerated"
    return f"quality{where} fell by {worst.share:.1%}, {levels}, {since}{also}"


def error_rate(observations: Observations, past: Past, now: datetime, policy: TriggerPolicy) -> TriggerResult:
    """Fire where failures or negative feedback are, with confidence, more than is tolerated.

    The lower bound is that of Clopper and Pearson: it holds at every rate and number.
    """
    del past, now
    latest = slice(-policy.error_window, None)
    failed = observations.failed[latest]
    rated = observations.negative[np.isfinite(observations.negative)][latest]
    rates = [
        _rate("failures", int(failed.sum()), len(failed), policy.failure_rate, policy.confidence),
        _rate("negative feedback", int(rated.sum()), len(rated), policy.negative_rate, policy.confidence),
    ]
    asked = [rate for rate in rates if rate.limit is not None]
    if not asked:
        return _off("error_rate")
    worst = max(asked, key=lambda rate: rate.low - (rate.limit or 0.0))
    limit = worst.limit or 0.0
    numbers: dict[str, Metric] = {}
    for rate in asked:
        key = rate.what.replace(" ", "_")
        numbers |= {key: rate.bad, f"{key}_of": rate.of, f"{key}_low": rate.low}
    return TriggerResult(
        kind="error_rate", fired=worst.low > limit, value=worst.low, threshold=limit,
        missing=max(0.0, limit - worst.low), reason="; ".join(rate.text for rate in asked),
        would_fire="now" if worst.low > limit else _until(worst, policy.confidence), numbers=numbers,
    )  # fmt: skip


class _Rate(NamedTuple):
    what: str
    bad: int
    of: int
    limit: float | None
    low: float

    @property
    def text(self) -> str:
        if not self.of:
            return f"no observations of {self.what}"
        return f"{self.what}: {self.bad:,} of {self.of:,}, at least {self.low:.1%}, {self.limit or 0:.1%} is tolerated"


def _rate(what: str, count: int, of: int, limit: float | None, confidence: float) -> _Rate:
    if limit is None or of < FEWEST:
        return _Rate(what, count, of, limit, 0.0)
    from scipy.stats import binomtest

    bound = binomtest(count, of, alternative="greater").proportion_ci(confidence, method="exact")
    return _Rate(what, count, of, limit, float(bound.low))


def _until(rate: _Rate, confidence: float) -> str:
    """Return how many more of the next observations would have to be bad."""
    limit = rate.limit or 0.0
    more = 1
    while more < 2**20 and _rate(rate.what, rate.bad + more, rate.of + more, limit, confidence).low <= limit:
        more *= 2
    return f"after at most {more:,} more observations, were all of them {rate.what}"


def manual(request: Request | None) -> TriggerResult:
    """Fire where a person wants it."""
    said = f"{request.by}: {request.reason or 'no reason given'}" if request else "nobody asked for it"
    return TriggerResult(
        kind="manual", fired=request is not None, value=None, threshold=None, missing=None, reason=said,
        would_fire="now" if request else "on `ratchet retrain --by NAME --reason TEXT`",
    )  # fmt: skip


def _off(kind: Kind) -> TriggerResult:
    return TriggerResult(
        kind=kind, fired=False, value=None, threshold=None, missing=None, reason="switched off by the policy",
        would_fire="never",
    )  # fmt: skip


def _span(hours: float) -> str:
    """Return a length of time as a person says it."""
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 2:
        return f"{hours:.1f} hours"
    minutes = max(1, round(hours * 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
