"""Whatever the bytes are: no traceback, and every line that is not blank ends in exactly one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

SETTINGS = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=8)
    | st.sampled_from(
        ["1.0", "success", "failure", "execution.completed", "feedback.recorded", "tool_call", "\x00", ""]
    )
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    ("id",), ("source",), ("type",), ("time",), ("subject",), ("data",), ("specversion",), ("data", "trace_id"),
    ("data", "task"), ("data", "task", "instruction"), ("data", "task", "input"), ("data", "steps"), ("data", "output"),
    ("data", "steps", 0, "type"), ("data", "steps", 0, "tool"), ("data", "steps", 0, "arguments"),
    ("data", "steps", 0, "observation"), ("data", "status"), ("data", "quality_score"), ("data", "confidence"),
    ("data", "feedback"), ("data", "plan"), ("data", "kind"), ("data", "value"), ("data", "unheard_of"),
]  # fmt: skip


def mutated(event: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    place: Any = event
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return event


@pytest.fixture
def check(paths, tmp_path):
    """Return a function that reads bytes and checks that the counts add up."""
    path = tmp_path / "fuzz.jsonl"

    def read_and_check(data: bytes) -> Any:
        path.write_bytes(data or b"\n")
        found = paths(path)
        events = found.events
        lines = [line for line in data.split(b"\n") if line.strip()]
        assert events.read == len(lines)
        assert events.read == found.taken + events.duplicate + events.ignored + events.rejected
        assert events.rejected == len(found.rejects)
        _check_rejects(found.rejects, data)
        for text in found.examples["messages"].to_pylist():
            for message in json.loads(text):
                assert message["role"] in {"system", "user", "assistant", "tool"}
                assert isinstance(message["content"], str)
        return found

    return read_and_check


def _check_rejects(rejects: list[Any], data: bytes) -> None:
    """A reject says where its line is."""
    lines = data.split(b"\n")
    for reject in rejects:
        line = lines[reject.line - 1]
        assert data[reject.offset : reject.offset + len(line)] == line
        assert reject.bytes == len(line)
        assert reject.raw_base64 is not None or reject.raw.encode() == line


@SETTINGS
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_random_bytes_are_counted(check, lines):
    check(b"\n".join(lines))


@SETTINGS
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), VALUE), min_size=1, max_size=3))
def test_events_with_strange_values_are_counted(check, event, changes):
    lines = []
    for number, (path, value) in enumerate(changes):
        strange = mutated(event(id=f"strange-{number}", data__trace_id=f"t{number}"), path, value)
        lines.append(json.dumps(strange).encode())
    check(b"\n".join([json.dumps(event()).encode(), *lines]))


@SETTINGS
@given(data=st.data())
def test_events_with_broken_bytes_are_counted(check, event, data):
    line = bytearray(json.dumps(event()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(line) - 1))
        line[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    found = check(bytes(line) + b"\n" + json.dumps(event(id="whole")).encode())
    assert "whole" in found.examples["event_id"].to_pylist()


STEP = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [None, "user_message", "assistant_message", "tool_call", "thought", "llm_call", "observation", "system",
             "unheard_of"]
        ),
        "tool": st.none() | st.sampled_from(["search", "finish", " "]),
        "arguments": VALUE,
        "observation": VALUE,
    },
)  # fmt: skip


@SETTINGS
@given(steps=st.lists(STEP, max_size=6), output=VALUE)
def test_any_steps_give_a_conversation_that_ends_with_the_assistant(check, event, steps, output):
    found = check(json.dumps(event(data__steps=steps, data__output=output)).encode())
    for messages in found.messages:
        assert not messages or messages[-1]["role"] == "assistant"
        asked = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        told = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert len(asked) == len(set(asked))
        assert set(told) <= set(asked)


def test_the_real_records_are_all_taken(paths, records: Path):
    found = paths(records / "events")

    assert not found.rejects
    assert found.events.read == 5_504
    assert found.events.by_reason == {"preference.recorded": 1_615}
    assert found.taken == 3_889
