"""Bursts of feedback from a few users, beside what is no burst."""

from __future__ import annotations

import numpy as np
import pytest

from registry.records import Reason
from tasks.extraction.brigading import Burst, Votes, brigaded, counted_once
from tasks.extraction.extract import extract
from tasks.extraction.inputs import find_inputs, split_inputs
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.resolve import numbers, resolve

HOUR = 3_600_000_000
NOTHING = np.zeros(0)


def votes(*rows):
    user, time, score = zip(*rows, strict=True)
    return Votes(np.array(user, dtype=np.uint64), np.array(time, dtype=np.int64), np.array(score, dtype=np.float64))


def crowd(seed, users=300, each=4, days=7, good=0.8):
    """Return the votes of many users, a few each over some days."""
    rng = np.random.default_rng(seed)
    return [
        (100 + user, int(rng.integers(0, days * 24 * HOUR)), 100.0 if rng.random() < good else 0.0)
        for user in range(users)
        for _ in range(each)
    ]


def brigade(users, each, at, score=100.0, minutes=20):
    return [(1 + user, at + n * minutes * 60_000_000 // each, score) for user in range(users) for n in range(each)]


@pytest.mark.parametrize(("users", "each"), [(1, 60), (2, 25), (3, 15), (5, 10)])
@pytest.mark.parametrize("score", [100.0, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_burst_of_a_few_users_is_found_whole_and_nothing_else_is(users, each, score, seed):
    start = 3 * 24 * HOUR + seed * HOUR // 3  # wherever the windows are cut
    attack, others = brigade(users, each, start, score), crowd(seed)
    found = brigaded(votes(*attack, *others), NOTHING, Burst())
    assert found[: len(attack)].all()
    assert not found[len(attack) :].any()


@pytest.mark.parametrize("seed", range(10))
def test_a_crowd_alone_is_no_burst(seed):
    rows = crowd(seed, users=2_000, each=3, days=2, good=0.75)
    assert not brigaded(votes(*rows), NOTHING, Burst()).any()


def test_somebody_who_rates_much_and_says_yes_and_no_is_no_burst():
    rows = [(1, n * 1_000_000, 100.0 if n % 4 else 0.0) for n in range(500)]
    assert not brigaded(votes(*rows, *crowd(0)), NOTHING, Burst()).any()


def test_raters_who_all_vote_as_much_as_each_other_are_no_burst():
    rows = [(user, n * 1_000_000, 100.0) for user in range(1, 20) for n in range(40)]
    assert not brigaded(votes(*rows), NOTHING, Burst()).any()


def test_praise_that_the_scores_of_the_traces_explain_is_no_burst():
    rows = brigade(1, 40, 0)
    good, mixed = np.full(500, 92.0), np.tile([92.0, 20.0], 250)
    assert not brigaded(votes(*rows), good, Burst()).any()
    assert brigaded(votes(*rows), mixed, Burst()).all()


def test_votes_without_a_time_lie_in_one_window():
    rows = [(1, -(2**62), 100.0) for _ in range(30)]
    assert brigaded(votes(*rows, *crowd(1)), NOTHING, Burst())[:30].all()


def test_votes_below_the_number_are_left_alone():
    assert not brigaded(votes(*brigade(3, 6, 0)), NOTHING, Burst()).any()


def test_the_votes_of_a_burst_about_one_trace_are_one_vote():
    trace = np.array([7, 7, 7, 8, 8], dtype=np.uint64)
    scores = np.array([100.0, 80.0, 30.0, 100.0, 60.0])
    result = counted_once(trace, scores, np.array([True, True, False, True, False]))
    np.testing.assert_array_equal(result, [90.0, np.nan, 30.0, 100.0, 60.0])  # (100 + 80) / 2


# --- in the whole ----------------------------------------------------------------------------------------------------


@pytest.fixture
def judged(event, tmp_path):
    """Return a function that reads traces and feedback as files are read."""
    import json

    def read(*feedback, traces=60, **changes):
        lines = [event(id=f"e-{n}", data__trace_id=f"t-{n}", **changes) for n in range(traces)]
        for number, (user, trace, minute, value) in enumerate(feedback):
            data = {"trace_id": trace, "kind": "thumbs", "value": value} | ({} if user is None else {"user": user})
            time = f"2026-03-01T{12 + minute // 60:02}:{minute % 60:02}:00Z"
            lines.append(event(id=f"f-{number}", type="feedback.recorded", time=time, data=data))
        path = tmp_path / "e.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        parts = [extract(part, ExtractionPolicy()) for part in split_inputs(find_inputs([path]), 65_536)]
        return resolve(map(numbers, parts), burst=Burst())

    return read


def test_bought_praise_sends_its_examples_to_review_and_counts_once(judged):
    praise = [(f"u{user}", f"t-{n}", 5, "up") for user in range(3) for n in range(10)]
    found = judged(*praise, data__quality_score=20)
    burst = (found.flags & np.uint32(Reason.FEEDBACK_BURST)) != 0
    assert burst.tolist() == [n < 10 for n in range(60)]
    assert found.quality[0] == 60  # (20 + 100) / 2, where the three votes would have made (20 + 300) / 4 = 80
    assert found.quality[10] == 20
    assert found.events.by_reason["feedback_burst"] == 30


def test_feedback_that_names_nobody_or_something_else_is_taken_as_ever(judged):
    for user in (None, "", {"id": 7}, ["a"], 1.5, True):
        found = judged(*[(user, f"t-{n}", 0, "up") for n in range(2)])
        assert "feedback_burst" not in found.events.by_reason
        assert found.events.by_reason["joined_feedback"] == 2
        assert found.events.rejected == 0


def test_praise_without_a_name_is_one_users_for_each_source(judged):
    praise = [(None, f"t-{n % 10}", 5, "up") for n in range(40)]
    found = judged(*praise, data__quality_score=20)
    burst = (found.flags & np.uint32(Reason.FEEDBACK_BURST)) != 0
    assert burst.tolist() == [n < 10 for n in range(60)]
    assert found.quality[0] == 60  # (20 + 100) / 2


def test_a_source_that_never_names_anybody_and_is_always_praised_is_no_burst(judged):
    usual = [(None, f"t-{n % 60}", 2 * n, "down" if n % 20 == 0 else "up") for n in range(300)]  # 30 an hour
    found = judged(*usual)
    assert "feedback_burst" not in found.events.by_reason


def test_one_vote_each_by_many_users_is_no_burst(judged):
    found = judged(*[(f"u{n}", f"t-{n % 60}", 1, "up") for n in range(200)], data__quality_score=20)
    assert "feedback_burst" not in found.events.by_reason
