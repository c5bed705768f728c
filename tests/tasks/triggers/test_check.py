"""The five triggers, each with its numbers, and what holds a retrain back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.triggers.check import Check, TriggerResult, check, error_rate
from tasks.triggers.observations import Event, Observations, Past, Request
from tasks.triggers.policy import TriggerPolicy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = TriggerPolicy()
LONG_AGO = Past(trained=NOON - timedelta(days=3), version="1")


def served(quality=(), failed=(), negative=(), domain=(), domains=(), samples=0) -> Observations:
    count = max(len(quality), len(failed), len(negative))

    def column(values, default):
        return np.asarray(values) if len(values) else np.full(count, default)

    return Observations(
        column(quality, np.nan).astype(float), column(failed, False).astype(bool),
        column(negative, np.nan).astype(float), column(domain, -1), np.arange(count), tuple(domains), samples,
    )  # fmt: skip


def ask(observations=None, past=LONG_AGO, now=NOON, policy=POLICY, request=None) -> Check:
    return check(observations or served(), past, now, policy, request)


def of(found: Check, kind: str) -> TriggerResult:
    return next(each for each in found.checks if each.kind == kind)


def fallen(domain=None, seed=0) -> Observations:
    """3,000 scores about 80 of three domains; in the last thousand all, or one domain, lose 16 points."""
    rng = np.random.default_rng(seed)
    domains = rng.integers(3, size=3_000)
    late = (np.arange(3_000) >= 2_000) & ((domains == domain) if domain is not None else True)
    return served(rng.normal(np.where(late, 64, 80), 15), domain=domains, domains=("food", "travel", "work"))


def test_nothing_fires_on_an_empty_log():
    found = ask()
    assert not found.fired
    assert found.reason == "no trigger fired"
    assert [each.kind for each in found.checks] == ["sample_count", "schedule", "quality_drop", "error_rate", "manual"]
    assert all(each.reason and each.would_fire for each in found.checks)


def test_enough_samples_fire_and_too_few_say_how_many_are_missing_and_when():
    assert ask(served(samples=1_000)).fired
    few = of(ask(served(samples=750)), "sample_count")
    assert (few.fired, few.value, few.threshold, few.missing) == (False, 750, 1_000, 250)
    assert few.would_fire == "in about 24.0 hours, at the rate since the last training"  # 750 in 3 days


def test_an_old_training_fires_where_there_is_something_to_learn():
    week = Past(trained=NOON - timedelta(hours=168), version="1")
    assert ask(served(samples=1), week).fired
    assert not ask(served(samples=0), week).fired
    young = of(ask(served(samples=1)), "schedule")
    assert (young.fired, young.value, young.missing) == (False, 72, 96)
    assert young.would_fire == "at 2026-03-05 12:00 UTC"
    assert ask(served(samples=1), Past()).fired, "never trained"


def test_a_drop_in_one_domain_is_found_and_named():
    result = of(ask(fallen(domain=1)), "quality_drop")
    assert result.fired
    assert result.reason.startswith("quality in travel fell by ")
    assert result.numbers["domain"] == "travel"
    everywhere = of(ask(fallen()), "quality_drop")
    assert everywhere.value == pytest.approx(0.2, abs=0.03)
    assert "also in" in everywhere.reason


def test_a_short_reference_says_what_is_missing():
    result = of(ask(served(np.full(400, 80.0))), "quality_drop")
    assert not result.fired
    assert result.would_fire == "not before 600 more scored observations"


def test_missing_scores_never_fire_and_change_nothing():
    assert not ask(served(np.full(5_000, np.nan))).fired
    assert not of(ask(served(np.array([np.inf, -np.inf, np.nan] * 1_000))), "quality_drop").fired
    whole = fallen()
    holes = np.concatenate([np.column_stack([whole.quality, np.full(3_000, np.nan)]).ravel()])
    twice = served(holes, domain=np.repeat(whole.domain, 2), domains=whole.domains)
    one, two = of(ask(whole), "quality_drop"), of(ask(twice), "quality_drop")
    assert (one.value, one.numbers) == (two.value, two.numbers)


def test_failures_fire_when_the_lower_bound_lies_above_the_limit():
    """Clopper and Pearson: all of n failed has the lower bound 0.01^(1/n): 0.631 for 10, 0.794 for 20."""
    result = error_rate(served(failed=[True] * 20), LONG_AGO, NOON, POLICY)
    assert result.fired
    assert result.value == pytest.approx(0.01 ** (1 / 20))
    assert not error_rate(served(failed=[True] * 10), LONG_AGO, NOON, POLICY).fired, "ten say nothing"
    few = error_rate(served(failed=[True] * 25 + [False] * 175), LONG_AGO, NOON, POLICY)
    assert not few.fired, "12.5 % of 200 may be 10 %"
    assert error_rate(served(failed=[True] * 250 + [False] * 1_750), LONG_AGO, NOON, POLICY).fired


def test_negative_feedback_is_counted_among_the_feedback_alone():
    negative = [1.0] * 50 + [0.0] * 50 + [np.nan] * 1_900
    result = error_rate(served(negative=negative), LONG_AGO, NOON, POLICY)
    assert result.fired
    assert result.numbers["negative_feedback_of"] == 100
    assert "negative feedback: 50 of 100" in result.reason


@pytest.mark.parametrize("what", ["version 1 was trained", "version 2 was rejected", "experiment a-2 was lost"])
def test_after_a_training_a_rejection_and_a_loss_it_waits(what):
    past = Past(NOON - timedelta(days=9), "1", (Event(NOON - timedelta(hours=23), what),))
    found = ask(served(samples=9_999), past)
    assert not found.fired
    assert found.held == f"cooldown until 2026-03-01 13:00 UTC, for {what} at 2026-02-28 13:00 UTC"
    assert of(found, "sample_count").fired
    assert ask(served(samples=9_999), past, NOON + timedelta(hours=1)).fired


def test_a_running_experiment_comes_first():
    past = Past(NOON - timedelta(days=9), "1", running=("agent-2",))
    assert ask(served(samples=9_999), past).held.startswith("experiment agent-2 goes on")


def test_a_person_waits_for_nothing():
    past = Past(NOON, "1", (Event(NOON, "version 1 was trained"),), ("agent-2",))
    found = ask(past=past, request=Request("ann", "new prices"))
    assert found.fired
    assert found.reason == "manual: ann: new prices"


def test_triggers_without_a_limit_are_off():
    off = TriggerPolicy(
        sample_count=None, schedule_hours=None, quality_drop=None, failure_rate=None, negative_rate=None
    )
    found = ask(served(failed=[True] * 500, samples=9_999), Past(), policy=off)
    assert not found.fired
    assert [each.would_fire for each in found.checks[:4]] == ["never"] * 4


def test_one_look_gives_the_same_as_the_next():
    assert ask(fallen()) == ask(fallen())


@pytest.mark.parametrize("wrong", [{"sample_count": 0}, {"quality_drop": 1.0}, {"cooldown_hours": -1}, {"drop": 1}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValidationError):
        TriggerPolicy(**wrong)
