from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.fingerprint import compared_text, fingerprint, fingerprint_texts
from tasks.curation.turns import read_turns


def texts(rows: list[str]) -> list[str | None]:
    """What is read of conversations; None for those that are left to the slow reader."""
    encoded = [row.encode() for row in rows]
    read = read_turns(
        np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    )
    said = [bytes(read.data[start:end]) for start, end in zip(read.offsets, read.offsets[1:], strict=False)]
    return [one.decode("latin-1") if plain else None for one, plain in zip(said, read.plain, strict=True)]


def call(name: str, arguments: str, content: str = "") -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }


def test_system_turns_are_left_out_and_calls_count_with_their_arguments():
    turns = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": " book  it\n"},
        call("book", '{"to":"Rome"}', "gladly"),
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]

    assert texts([json.dumps(turns)]) == ['book  it\x1egladly\x1ebook {"to":"Rome"}\x1edone']


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": "héllo"},
        {"content": "first", "role": "user"},
        {"role": "user", "name": "me", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": "{}", "name": "late"}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "bare"}}]},
        {"role": "user", "content": "a bell \x07"},
    ],
)
def test_what_is_not_plain_is_left_to_the_slow_reader(turn):
    plain = {"role": "user", "content": "hi"}

    assert texts([json.dumps([plain]), json.dumps([turn], ensure_ascii=False), json.dumps([plain])]) == [
        "hi",
        None,
        "hi",
    ]


ascii_texts = st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=12)
messages = st.one_of(
    st.builds(
        lambda role, said: {"role": role, "content": said},
        st.sampled_from(["system", "user", "assistant"]),
        ascii_texts,
    ),
    st.builds(call, ascii_texts, ascii_texts, ascii_texts),
    st.builds(
        lambda said: {"role": "user", "content": said}, st.text(max_size=8).filter(lambda said: said.isprintable())
    ),
)


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.lists(messages, max_size=4), min_size=1, max_size=5), st.booleans())
def test_both_readers_see_the_same_conversations(conversations, spaced):
    rows = [json.dumps(each, separators=None if spaced else (",", ":"), ensure_ascii=False) for each in conversations]

    assert all(fast in (None, compared_text(row)) for fast, row in zip(texts(rows), rows, strict=True))
    fast = fingerprint(pa.chunked_array([pa.array(rows)]), compile_from=0)
    slow = fingerprint_texts([compared_text(row) for row in rows], compile_from=10**12)
    assert all(np.array_equal(one, other) for one, other in zip(fast, slow, strict=True))
