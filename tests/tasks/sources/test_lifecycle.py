"""Scores of sources, and the states that follow from them."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from tasks.sources.lifecycle import Evidence, judge, score, seen_in_run
from tasks.sources.policy import SourcePolicy

POLICY = SourcePolicy()


def seen(good=0.0, poor=0.0, harm=0.0, runs=1):
    return Evidence(good=good, poor=poor, harm=harm, examples=round(good + poor + harm), runs=runs)


def test_a_source_that_brought_nothing_has_the_score_of_the_prior():
    assert score(Evidence()) == pytest.approx(4 / 5)


def test_the_score_weighs_what_is_poor_little_and_what_does_harm_much():
    # (4 + 96) / (4 + 1 + 96 + 0.25 · 40 + 10 · 3) = 100 / 141
    assert score(seen(good=96, poor=40, harm=3)) == pytest.approx(100 / 141)


def test_an_honest_source_whose_agent_fails_half_of_the_time_is_trusted():
    assert judge("trial", seen(good=200, poor=200, runs=3), POLICY).state == "trusted"


def test_trust_takes_enough_examples_in_more_than_one_run():
    assert judge("trial", seen(good=1_000, runs=1), POLICY).state == "trial"
    assert judge("trial", seen(good=60, runs=5), POLICY).state == "trial"
    assert judge("trial", seen(good=150, runs=2), POLICY).state == "trusted"


def test_a_source_of_which_most_is_suspected_is_blocked_at_once():
    verdict = judge("trial", seen(good=2, harm=10), POLICY)
    assert verdict.state == "blocked"
    assert verdict.reason == "score 0.06 below 0.25, 10.0 of its examples do harm"  # 6 / 107


def test_a_large_source_is_not_blocked_for_ten_bad_examples():
    assert judge("trusted", seen(good=1_490, harm=10, runs=4), POLICY).state == "trusted"


def test_poor_work_alone_never_blocks():
    verdict = judge("trusted", seen(poor=5_000, runs=9), POLICY)
    assert verdict.state == "probation"


def test_one_or_two_false_alarms_do_not_block_a_new_source():
    assert judge("trial", seen(good=3, harm=2), POLICY).state == "probation"


def test_a_blocked_source_stays_blocked_whatever_it_brings():
    assert judge("blocked", seen(good=100_000, runs=100), POLICY).state == "blocked"


def test_between_the_levels_a_source_keeps_its_state():
    between = seen(good=96, harm=6.5, runs=5)  # 100 / 166 = 0.60: below 0.65, above 0.5
    assert judge("trusted", between, POLICY).state == "trusted"
    assert judge("probation", between, POLICY).state == "probation"


def test_a_score_that_trembles_around_a_level_moves_a_source_once():
    states, state = [], "trusted"
    for harm in itertools.islice(itertools.cycle((9.4, 9.6)), 20):  # 100 / 195 and 100 / 197 … 0.513 and 0.508
        state = judge(state, seen(good=96, harm=harm + 0.4, runs=5), POLICY).state
        states.append(state)
    assert sum(before != after for before, after in itertools.pairwise(["trusted", *states])) <= 1


def test_probation_is_left_by_good_work():
    evidence, state, states = seen(good=20, harm=4), "probation", []
    for _ in range(8):
        evidence = evidence.later(seen(good=60), POLICY.half_life_runs)
        state = judge(state, evidence, POLICY).state
        states.append(state)
    assert states[0] == "probation"
    assert states[-1] == "trusted"


def test_older_runs_count_half_after_the_half_life():
    evidence = seen(good=64, harm=8)
    for _ in range(20):
        evidence = evidence.later(seen(), 20.0)
    assert (evidence.good, evidence.harm) == (pytest.approx(32, abs=1e-3), pytest.approx(4, abs=1e-3))
    assert (evidence.examples, evidence.runs) == (72, 21)


def test_a_run_is_read_off_the_decisions_and_what_says_nothing_counts_nowhere():
    found = seen_in_run({
        ("accepted", ()): 5, ("near_duplicate", ()): 2, ("over_source_share", ()): 1,
        ("reject", ("low_quality",)): 3, ("review", ("outlier",)): 1,
        ("reject", ("failed_trace", "low_quality")): 50, ("review", ("no_quality_signal",)): 70,
        ("review", ("suspected", "outlier")): 6, ("reject", ("low_quality", "feedback_burst")): 2,
        ("duplicate_event", ()): 9,
    })  # fmt: skip
    assert found == Evidence(good=8, poor=4, harm=6, examples=18, runs=1)


def test_events_that_come_again_say_nothing_new():
    assert seen_in_run({("already_learned", ()): 90, ("reject", ("low_quality",)): 30}) == Evidence()
    half = seen_in_run({("already_learned", ()): 50, ("accepted", ()): 50, ("review", ("suspected",)): 4})
    assert half == Evidence(good=50, harm=2, examples=52, runs=1)


def test_levels_that_do_not_rise_are_refused():
    with pytest.raises(ValidationError, match="must rise in this order"):
        SourcePolicy(probation_below=0.7)
