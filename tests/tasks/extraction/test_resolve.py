"""Duplicates, feedback and scores over all partitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from registry.records import Reason
from tasks.extraction.extract import extract
from tasks.extraction.inputs import find_inputs, split_inputs
from tasks.extraction.keys import event_keys, text_keys
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.resolve import numbers, resolve


@pytest.fixture
def feedback(event):
    """Return a builder of `feedback.recorded`."""

    def make(trace, kind="stars", value=5, **changes):
        changes.setdefault("id", f"f-{trace}-{value}")
        return event(type="feedback.recorded", data={"trace_id": trace, "kind": kind, "value": value}, **changes)

    return make


def test_the_first_event_of_an_identity_stays(event, read):
    other = event(data__output="It leaves at noon.")
    found = read(event(), event(), other, event(source="elsewhere"), event(id="e-2"))

    assert found.resolution.keep.tolist() == [True, False, False, True, True]
    assert found.events.duplicate == 2
    assert found.events.by_reason == {"duplicate": 1, "duplicate_conflicting": 1}


def test_the_same_event_written_differently_is_no_conflict(event, read):
    found = read(event(), json.dumps(event(), indent=None, separators=(",", ":"), sort_keys=True))

    assert found.events.by_reason == {"duplicate": 1}


@pytest.mark.parametrize(
    "changes", [{"data__quality_score": 10}, {"data__confidence": 0.1}, {"data__status": "failure"}]
)
def test_a_duplicate_that_was_judged_otherwise_is_a_conflict(event, read, changes):
    assert read(event(), event(**changes)).events.by_reason["duplicate_conflicting"] == 1


def test_feedback_joins_its_trace_whether_it_came_before_or_after(event, read, feedback):
    found = read(
        feedback("late", value=2),
        event(id="a", data__trace_id="late", data__quality_score=None),
        event(id="b", data__trace_id="early", data__quality_score=None),
        feedback("early", value=4),
    )

    assert found.resolution.quality.tolist() == [25.0, 75.0]
    assert found.events.by_reason == {"joined_feedback": 2}


def test_scores_of_a_trace_are_averaged_and_a_wide_spread_is_flagged(event, read, feedback):
    found = read(
        event(id="a", data__trace_id="near", data__quality_score=80),
        feedback("near", "percent", 50),  # (80 + 50) / 2 = 65, spread 30: not above 30
        event(id="b", data__trace_id="far", data__quality_score=81),
        feedback("far", "percent", 50),  # (81 + 50) / 2 = 65.5, spread 31
        event(id="c", data__trace_id="three", data__quality_score=60),
        feedback("three", "percent", 75),
        feedback("three", "percent", 90),  # (60 + 75 + 90) / 3 = 75, spread 30
    )

    assert found.resolution.quality.tolist() == [65.0, 65.5, 75.0]
    assert found.resolution.flags.tolist() == [0, Reason.CONFLICTING_SCORES, 0]


def test_a_score_that_was_sent_twice_counts_once(event, read, feedback):
    again = feedback("t-1", "percent", 30)
    found = read(event(), again, again)  # (90 + 30) / 2

    assert found.resolution.quality.tolist() == [60.0]
    assert found.events.duplicate == 1


def test_feedback_for_an_unknown_trace_is_counted_as_an_orphan(event, read, feedback):
    found = read(event(), feedback("nobody"), feedback("nowhere"))

    assert found.events.by_reason == {"orphan_feedback": 2}
    assert (found.events.ignored, found.events.read) == (2, 3)


def test_several_events_of_one_trace_and_agent_share_scores_and_failure(event, read):
    found = read(
        event(id="plan", type="planning.completed", data__plan=["go"], data__quality_score=100),
        event(id="run", data__quality_score=80, data__status="failure"),
        event(id="judge", data__agent="judge", data__quality_score=None),
    )

    assert found.resolution.quality[:2].tolist() == [90.0, 90.0]
    assert np.isnan(found.resolution.quality[2])
    assert found.resolution.flags.tolist() == [Reason.FAILED_TRACE, Reason.FAILED_TRACE, 0]


def test_recorded_feedback_is_for_all_agents_of_its_trace(event, read, feedback):
    found = read(
        event(id="a", data__quality_score=None),
        event(id="b", data__agent="judge", data__quality_score=None),
        feedback("t-1", value=5),
    )

    assert found.resolution.quality.tolist() == [100.0, 100.0]


def test_events_without_a_trace_keep_their_own_score(event, read):
    found = read(event(id="a", data__trace_id=None), event(id="b", data__trace_id="", data__quality_score=20))

    assert found.resolution.quality.tolist() == [90.0, 20.0]
    assert found.resolution.flags.tolist() == [0, 0]


def test_events_learned_before_are_duplicates_and_feedback_for_them_is_late(event, feedback, tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [event(id="old"), event(id="new", data__trace_id="t-2"), feedback("t-0"), feedback("nobody")]
    path.write_text("\n".join(map(json.dumps, lines)))
    parts = [numbers(extract(part, ExtractionPolicy())) for part in split_inputs(find_inputs([path]), 65_536)]
    known = event_keys(["https://agents.example/support"], ["old"])
    found = resolve(parts, known=known, known_traces=text_keys(["t-0"]))

    assert found.keep.tolist() == [False, True]
    assert found.events.by_reason == {"already_learned": 1, "late_feedback": 1, "orphan_feedback": 1}


def test_nothing_resolves_to_nothing():
    found = resolve([])

    assert len(found.keep) == 0
    assert found.events.read == 0


def test_keys_are_the_same_in_every_process_and_zero_for_nothing():
    keys = text_keys(["t-1", None, "", "é"])
    # The first 8 bytes, little-endian, of BLAKE2b-64: a change of them would make every parent's events new again.
    assert keys.tolist() == [int.from_bytes(bytes.fromhex("c3415115f09b0bc2"), "little"), 0, 0, keys[3]]
    assert len(set(event_keys(["a", "b", "ab"], ["b", "a", "c"]).tolist())) == 3
