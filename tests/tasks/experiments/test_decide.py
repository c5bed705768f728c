"""The verdict: harm stops at once, a win needs the bound and the margin, everything else waits."""

import json
from math import log

import numpy as np
import pytest

from tasks.experiments.decide import judge
from tasks.experiments.judgement import Judgement
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.units import Exposure


def test_a_challenger_that_is_better_wins(toys):
    found = judge(toys.evidence(toys.units(0, 1500, 0.70), toys.units(1, 1500, 0.80)), toys.quick)
    assert (found.verdict, found.winner) == ("won", "2")
    assert "quality is better" in found.reason
    assert found.comparisons[0].low > 0
    assert found.numbers["lift"] == pytest.approx(0.14, abs=0.06)


def test_one_that_is_better_by_less_than_the_margin_does_not_win(toys):
    arms = toys.units(0, 8000, 0.50, seed=1), toys.units(1, 8000, 0.53, seed=1)
    wanted = toys.quick.model_copy(update={"margin": 0.10})
    assert judge(toys.evidence(*arms), wanted).verdict != "won"
    assert judge(toys.evidence(*arms), toys.quick.model_copy(update={"margin": 0.02})).verdict == "won"


def test_one_that_is_worse_is_stopped_for_harm_before_the_minimum_duration(toys):
    arms = toys.units(0, 600, 0.7), toys.units(1, 600, 0.5)
    found = judge(toys.evidence(*arms, hours=0.1), ExperimentPolicy())
    assert found.verdict == "harm"
    assert found.winner is None


def test_nothing_else_is_said_before_the_minimum_duration(toys):
    arms = toys.units(0, 150, 0.3), toys.units(1, 150, 0.9)
    found = judge(toys.evidence(*arms, hours=20.0), ExperimentPolicy())
    assert found.verdict == "continue"
    assert found.missing == ["4.0 more hours", "50 more units with an outcome in each arm"]
    assert judge(toys.evidence(*arms, hours=30.0), ExperimentPolicy(min_units=100)).verdict == "won"


def test_one_that_cannot_reach_the_margin_any_more_has_lost(toys):
    found = judge(toys.evidence(toys.units(0, 6000, 0.7, seed=1), toys.units(1, 6000, 0.7, seed=1)), toys.quick)
    assert found.verdict == "lost"
    assert found.reason.startswith("no better: ")


def test_an_experiment_that_does_not_decide_ends(toys):
    arms = toys.units(0, 300, 0.70, seed=4), toys.units(1, 300, 0.72, seed=4)
    assert judge(toys.evidence(*arms), toys.quick).verdict == "continue"
    found = judge(toys.evidence(*arms), toys.quick.model_copy(update={"max_units": 300}))
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("no better was shown within 300 units an arm")
    assert judge(toys.evidence(*arms, hours=400.0), toys.quick).verdict == "inconclusive"


def test_a_guard_that_breaks_is_harm_however_good_the_quality(toys):
    good = {"rate": 0.9, "seed": 2}
    control = toys.units(0, 800, 0.7)
    for worse, word in (({"errors": 0.2}, "error rate"), ({"latency": 500.0}, "latency"), ({"cost": 0.05}, "cost")):
        found = judge(toys.evidence(control, toys.units(1, 800, **good, **worse)), toys.quick)
        assert found.verdict == "harm"
        assert word in found.reason
    assert judge(toys.evidence(control, toys.units(1, 800, **good)), toys.quick).verdict == "won"


def test_a_broken_split_blocks_a_promotion_and_says_so(toys):
    arms = toys.units(0, 1500, 0.70), toys.units(1, 1500, 0.85)
    found = judge(toys.evidence(*arms, exposure=Exposure(np.array([2400, 1500]), 0, 0)), toys.quick)
    assert found.verdict == "stop"
    assert "2,400 to 1,500 units for a split of 50% to 50%" in found.reason


def test_no_worse_and_cheaper_wins_where_the_policy_accepts_it(toys):
    arms = toys.units(0, 6000, 0.9, seed=5), toys.units(1, 6000, 0.9, cost=0.005, seed=5)
    assert judge(toys.evidence(*arms), toys.quick).verdict != "won"
    accept = toys.quick.model_copy(update={"accept_no_worse": "cheaper", "no_worse": 0.05})
    found = judge(toys.evidence(*arms), accept)
    assert found.verdict == "won"
    assert "it is cheaper by 10% or more" in found.reason
    assert found.comparisons[0].alpha_low == 0.005
    assert judge(toys.evidence(*arms), accept.model_copy(update={"accept_no_worse": "faster"})).verdict != "won"


def test_a_shadow_never_wins_by_itself_but_reports(toys):
    arms = toys.units(0, 1500, 0.5), toys.units(1, 1500, 0.9)
    found = judge(toys.evidence(*arms, mode="shadow", agreement=[0.9, 0.7]), toys.quick)
    assert (found.verdict, found.winner) == ("continue", None)
    assert "2 answers agree with the served ones by 80%" in found.reason
    assert judge(toys.evidence(*arms, mode="shadow", hours=400.0), toys.quick).verdict == "stop"
    slow = toys.evidence(arms[0], toys.units(1, 1500, latency=900.0), mode="shadow")
    assert judge(slow, toys.quick).verdict == "stop"


def test_the_ramp_goes_up_step_by_step_without_a_sign_of_harm(toys):
    fine = toys.units(0, 300, 0.7, seed=1), toys.units(1, 300, 0.73, seed=1)
    policy = toys.quick.model_copy(update={"min_hours": 1000.0, "max_hours": 2000.0})
    steps = {share: judge(toys.evidence(*fine, share=share), policy).next_share for share in (0.1, 0.25, 0.5)}
    assert steps == {0.1: 0.25, 0.25: 0.5, 0.5: None}
    assert judge(toys.evidence(*fine, step_hours=1.0), policy).next_share is None
    assert judge(toys.evidence(*fine, step_units=50), policy).next_share is None
    bad = toys.evidence(fine[0], toys.units(1, 300, 0.62, seed=1))
    assert judge(bad, policy).comparisons[0].suspicious
    assert judge(bad, policy).next_share is None


def test_of_several_arms_the_best_wins_and_better_ones_get_more_units(toys):
    policy = toys.quick.model_copy(update={"thompson": True})
    arms = toys.units(0, 40, 0.6), toys.units(1, 40, 0.62), toys.units(2, 40, 0.8)
    found = judge(toys.evidence(*arms), policy)
    assert found.verdict == "continue"
    assert sum(found.weights) == pytest.approx(1.0)
    assert found.weights[2] == max(found.weights)
    assert judge(toys.evidence(*arms), policy).weights == found.weights
    arms = toys.units(0, 1500, 0.6), toys.units(1, 1500, 0.6), toys.units(2, 1500, 0.8)
    found = judge(toys.evidence(*arms), policy)
    assert (found.verdict, found.winner) == ("won", "3")
    assert found.comparisons[0].alpha_low == 0.005  # 0.01 shared by two challengers


def test_nobody_has_come_yet(toys):
    found = judge(toys.evidence(toys.units(0, 0), toys.units(1, 0), hours=0.0), ExperimentPolicy())
    assert found.verdict == "continue"
    assert found.numbers["lift"] is None


def test_a_verdict_looked_at_after_every_unit_is_the_one_of_the_running_evidence(toys):
    control, challenger = toys.units(0, 600, 0.6), toys.units(1, 600, 0.75)
    verdicts = []
    for count in range(100, 601, 20):
        part = np.arange(600) < count
        verdicts.append(judge(toys.evidence(control.take(part), challenger.take(part)), toys.quick).verdict)
    assert verdicts == sorted(verdicts)  # "continue", then "won" and nothing else
    assert set(verdicts) == {"continue", "won"}


def test_a_judgement_is_kept_as_json_and_read_again(toys):
    found = judge(toys.evidence(toys.units(0, 300), toys.units(1, 300)), toys.quick)
    assert Judgement.model_validate(json.loads(json.dumps(found.model_dump(mode="json")))) == found
    assert found.comparisons[0].p_better >= np.exp(-log(1e9))
