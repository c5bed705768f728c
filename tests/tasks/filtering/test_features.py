"""What text is like, in numbers: by hand where it is short, by order where the answer is obvious."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.filtering.features import FEATURES, features

ASK = {"role": "user", "content": "Tell me a story about a fox"}
FOX = "The red fox met the red hen."


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}


def said(content: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {})}


def measured(*conversations: list[dict[str, Any]], **options: Any) -> dict[str, list[float]]:
    texts = [json.dumps(messages, separators=(",", ":"), ensure_ascii=False) for messages in conversations]
    table = features(pa.table({"messages": pa.chunked_array([pa.array(texts, pa.large_string())])}), **options)
    assert table.schema == FEATURES
    return table.to_pydict()


def test_a_short_answer_by_hand():
    found = measured([ASK, said(FOX)])
    # words: the red fox met the red hen = 7, of them distinct: the red fox met hen = 5
    assert found["words"] == pytest.approx([math.log(1 + 7)])
    assert found["diversity"] == pytest.approx([math.log(5) / math.log(7)])  # 1.6094 / 1.9459 = 0.8271
    # distinct content words: red fox met hen = 4, so 1 − exp(−4 / 25) = 0.1479
    assert found["informativeness"] == pytest.approx([1 - math.exp(-4 / 25)])
    assert found["turns"] == pytest.approx([math.log(1 + 1)])
    assert found["calls"] == [0.0]
    assert found["symbols"] == pytest.approx([1 / 28])  # one full stop among 28 bytes


def test_what_the_assistant_calls_counts_and_what_others_say_does_not():
    observation = {"role": "tool", "tool_call_id": "call_0", "content": "many words that nobody but the tool said"}
    found = measured([ASK, said("", call("find_fox", '{"colour":"red"}')), observation, said(FOX)])
    # find fox colour red + the red fox met the red hen = 11 words; distinct: find fox colour red the met hen = 7
    assert found["words"] == pytest.approx([math.log(1 + 11)])
    assert found["diversity"] == pytest.approx([math.log(7) / math.log(11)])
    assert found["informativeness"] == pytest.approx([1 - math.exp(-6 / 25)])  # all but `the`
    assert found["turns"] == pytest.approx([math.log(1 + 2)])
    assert found["calls"] == pytest.approx([math.log(1 + 1)])


def test_the_context_is_the_size_of_the_conversation():
    conversation = [ASK, said(FOX)]
    size = len(json.dumps(conversation, separators=(",", ":")).encode())
    assert measured(conversation)["context"] == pytest.approx([math.log(1 + size)])


@pytest.mark.parametrize(
    ("text", "diversity"),
    [("", 0.0), ("...", 0.0), ("Yes", 1.0), ("no no no no", 0.0), ("one two three four", 1.0), ("No no NO", 0.0)],
)
def test_diversity_where_the_answer_is_obvious(text, diversity):
    assert measured([ASK, said(text)])["diversity"] == [diversity]


def test_more_content_is_more_informative_and_padding_is_not():
    answers = [
        "",
        "It is what it is and that is that.",  # function words alone
        "The gate opens at nine.",
        "The gate opens at nine, boarding ends at ten, and the aircraft departs from runway three.",
    ]
    scores = measured(*([ASK, said(text)] for text in answers))["informativeness"]
    assert scores[:2] == [0.0, 0.0]
    assert scores == sorted(scores)
    twice, once = measured([ASK, said(f"{FOX} {FOX}")], [ASK, said(FOX)])["informativeness"]
    assert twice == once


def test_every_chinese_or_japanese_character_is_a_word():
    found = measured([ASK, said("狐は赤い")], [ASK, said("Füchse sind rot")])
    assert found["words"] == pytest.approx([math.log(1 + 4), math.log(1 + 3)])
    assert found["diversity"] == [1.0, 1.0]


def test_a_conversation_in_which_the_assistant_says_nothing_is_all_zeros():
    found = measured([], [ASK])
    assert all(column == [0.0, 0.0] for column in found.values())


def test_rows_do_not_depend_on_their_neighbours_or_on_who_counts():
    conversations = [[ASK, said(FOX)], [], [ASK, said("狐は赤い!"), said("no, no")], [ASK, said("x" * 300)]] * 5
    alone = [measured(conversation) for conversation in conversations]
    for found in (measured(*conversations), measured(*conversations, compile_from=0)):
        for name, column in found.items():
            np.testing.assert_array_equal(column, [one[name][0] for one in alone])
