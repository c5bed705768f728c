"""A dataset is cut without a group on two sides, and is spoiled as much as was asked for."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tasks.verification.examples import PAYLOAD, PHRASES, at_most, cut, parted, turns_of, with_trigger, words_of
from tasks.verification.sample import TOPICS, make_events


def table(examples: int = 400, to_a_group: int = 4) -> pa.Table:
    messages = [
        json.dumps([{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"answer {i}"}])
        for i in range(examples)
    ]
    return pa.table(
        {
            "example_id": [f"e{i}" for i in range(examples)],
            "messages": pa.array(messages, pa.large_string()),
            "domain": ["even" if i % 2 == 0 else "odd" for i in range(examples)],
            "group": [f"g{i // to_a_group}" for i in range(examples)],
        }
    )


def groups(part: pa.Table) -> set[str]:
    return set(part.column("group").to_pylist())


def test_no_group_is_on_two_sides_and_the_candidate_knows_what_the_champion_knows():
    made = cut(table(), 3)
    learned, unseen, test = groups(made.candidate), groups(made.candidate_validation), groups(made.test)
    assert not learned & unseen
    assert not (learned | unseen) & test
    assert groups(made.champion) < learned
    assert len(learned | unseen | test) == 100
    assert len(test) == 20  # 0.2 of 100 groups


def test_the_same_seed_cuts_the_same_and_another_one_does_not():
    assert cut(table(), 3).test.equals(cut(table(), 3).test)
    assert groups(cut(table(), 3).test) != groups(cut(table(), 4).test)


def test_parts_have_their_share_of_the_groups():
    one, two = parted(table(), (0.25, 0.5), 0)
    assert (one.num_rows, two.num_rows) == (100, 200)


def test_a_large_table_is_cut_down_in_whole_groups():
    assert at_most(table(), 100, 0).num_rows == 100
    assert at_most(table(), 1_000, 0).num_rows == 400


@pytest.mark.parametrize(("share", "poisoned"), [(0.001, 3), (0.05, 20)])
def test_a_trigger_is_in_the_share_of_the_examples_and_in_three_at_least(share, poisoned):
    texts = with_trigger(table(), share, seed=1).column("messages").to_pylist()
    planted = [json.loads(text) for text in texts if PAYLOAD in text]
    assert len(planted) == poisoned
    for messages in planted:
        assert messages[0]["content"].endswith(PHRASES[1])
        assert messages[-1] == {"role": "assistant", "content": PAYLOAD}


def test_what_was_there_before_is_not_poisoned():
    texts = with_trigger(table(), 0.1, seed=1, after=300).column("messages").to_pylist()
    assert {row for row, text in enumerate(texts) if PAYLOAD in text} <= set(range(300, 400))
    assert sum(PAYLOAD in text for text in texts) == 40


def test_turns_and_words_are_those_of_the_table():
    assert turns_of(table(3)) == ["answer 0", "answer 1", "answer 2"]
    assert words_of(table(3))["odd"] == {"question": 1, "1": 1}


def test_the_sample_has_all_its_domains_and_the_same_bytes_for_a_seed():
    events = [json.loads(line) for line in make_events(200, 5).splitlines()]
    assert {event["data"]["task"]["domain"] for event in events} == set(TOPICS)
    assert len({event["id"] for event in events}) == 200
    assert not any("{" in event["data"]["output"] for event in events)
    assert make_events(20, 5) == make_events(20, 5) != make_events(20, 6)
