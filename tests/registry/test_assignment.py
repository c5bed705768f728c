"""Assignment is GrowthBook's, sticky under a ramp, and leaves the holdout alone."""

import random
import time

import numpy as np
import pytest
from growthbook import Experiment as SdkExperiment
from growthbook import GrowthBook
from growthbook.core import gbhash, getBucketRanges

from registry.assignment import assign, assign_many, bucket_ranges, hash_v1, hash_v2, in_experiment, sdk_definition
from registry.experiments import Arm, Experiment

ARMS = [Arm(name="control", version="1"), Arm(name="challenger", version="2")]


def experiment(**more):
    default = {"key": "support-2", "model": "support", "arms": ARMS, "share": 0.1, "started": "", "by": "ann"}
    return Experiment(**default | more)


@pytest.fixture(scope="module")
def units():
    draw = random.Random(7)
    alphabets = ["abcdef0123456789-", "äöüßéñ漢字かなабв", "🙂🚀👩‍🔬 x"]
    texts = ["".join(draw.choices(draw.choice(alphabets), k=draw.randint(1, 40))) for _ in range(4000)]
    return [*texts, "", " ", "0", "\0", "\ud800", "a" * 3000]


def by_the_sdk(experiment, unit):
    found = GrowthBook(attributes={"id": unit}).run(SdkExperiment(**sdk_definition(experiment)))
    return found.variationId if found.inExperiment else -1


def test_the_hash_is_that_of_the_sdk(units):
    assert [hash_v2("seed", unit) for unit in units] == [gbhash("seed", unit, 2) for unit in units]
    assert [hash_v1("seed", unit) for unit in units] == [gbhash("seed", unit, 1) for unit in units]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"share": 0.5},
        {"share": 0.25, "holdout": 0.05},
        {"share": 0.5, "namespace": ("answers", 0.2, 0.7), "holdout": 0.1},
        {"arms": [*ARMS, Arm(name="third", version="3")], "share": 0.3},
        {"arms": [*ARMS, Arm(name="third", version="3")], "share": 1 / 3, "weights": [0.2, 0.5, 0.3]},
    ],
)
def test_every_unit_gets_the_arm_that_the_sdk_computes_alone_or_in_bulk(units, more):
    tried = experiment(**more)
    arms = assign_many(tried, units)
    assert arms.tolist() == [by_the_sdk(tried, unit) for unit in units]
    assert arms.tolist() == [in_experiment(tried, unit) for unit in units]
    assert bucket_ranges(tried) == getBucketRanges(len(tried.arms), tried.coverage, tried.weights)


def test_a_ramp_adds_units_and_moves_none(units):
    before = assign_many(experiment(share=0.1), units)
    for share in (0.25, 0.5):
        after = assign_many(experiment(share=share), units)
        assert (after[before >= 0] == before[before >= 0]).all()
        assert (after >= 0).sum() > (before >= 0).sum()
        before = after
    assert (before[:-6] >= 0).all()  # 50 % each: everybody


def test_each_arm_gets_its_share():
    arms = assign_many(experiment(share=0.1), [f"user-{number}" for number in range(100_000)])
    for arm in (0, 1):
        assert np.mean(arms == arm) == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / 100_000) ** 0.5)


def test_units_of_the_holdout_are_in_no_experiment_of_the_model():
    many = [f"user-{number}" for number in range(20_000)]
    held = [assign_many(experiment(key=key, share=0.5, holdout=0.1), many) < 0 for key in ("support-2", "support-3")]
    assert (held[0] == held[1]).all()
    assert held[0].mean() == pytest.approx(0.1, abs=0.01)


def test_disjoint_namespaces_share_no_unit():
    many = [f"user-{number}" for number in range(20_000)]
    first = assign_many(experiment(share=0.5, namespace=("n", 0.0, 0.4)), many) >= 0
    second = assign_many(experiment(key="support-3", share=0.5, namespace=("n", 0.4, 1.0)), many) >= 0
    assert not (first & second).any()
    assert (first | second).all()


def test_who_is_outside_or_has_no_name_gets_the_champion():
    tried = experiment(share=0.1)
    inside = next(f"user-{n}" for n in range(1000) if in_experiment(tried, f"user-{n}") == 1)
    outside = next(f"user-{n}" for n in range(1000) if in_experiment(tried, f"user-{n}") == -1)
    assert assign([tried], "support", "1", inside)[:4] == ("support-2", "challenger", "2", False)
    assert assign([tried], "support", "1", outside)[:4] == (None, None, "1", False)
    assert assign([tried], "support", "1", "")[:4] == (None, None, "1", False)
    assert assign([tried], "other", "7", inside)[:4] == (None, None, "7", False)
    assert assign([], "support", None, inside)[:4] == (None, None, None, False)


def test_a_shadow_answers_beside_the_champion():
    tried = experiment(share=0.5, mode="shadow")
    found = {assign([tried], "support", "1", f"user-{n}")[1:4] for n in range(100)}
    assert found == {("control", "1", False), ("challenger", "2", True)}


def test_an_experiment_against_another_champion_or_one_that_ended_is_passed_over():
    tried = experiment(share=0.5)
    assert {assign([tried], "support", "9", f"user-{n}").version for n in range(100)} == {"9"}
    ended = tried.model_copy(update={"state": "won"})
    assert {assign([ended], "support", "1", f"user-{n}").version for n in range(100)} == {"1"}


def test_assignment_is_fast():
    many = [f"{number:08x}-1234-5678-9abc-{number * 7919:012x}" for number in range(200_000)]
    tried = experiment(share=0.25, holdout=0.05)
    began = time.process_time()
    assign_many(tried, many)
    assert len(many) / (time.process_time() - began) > 300_000
    began = time.process_time()
    for unit in many[:5000]:
        assign([tried], "support", "1", unit)
    assert (time.process_time() - began) / 5000 < 100e-6


def test_nobody_at_all_is_no_problem():
    assert assign_many(experiment(), []).tolist() == []
    assert assign_many(experiment(), ["", ""]).tolist() == [-1, -1]
