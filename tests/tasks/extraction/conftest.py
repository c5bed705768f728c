"""Events as plain dictionaries, and the way from lines to rows."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from registry.records import EventCounts
from tasks.extraction.extract import Extracted, extract
from tasks.extraction.inputs import find_inputs, split_inputs
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Reject
from tasks.extraction.resolve import Resolution, numbered, numbers, resolve

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "https://agents.example/support",
    "type": "execution.completed",
    "time": "2026-03-01T12:00:00Z",
    "subject": "ticket-7",
    "data": {
        "trace_id": "t-1",
        "agent": "support",
        "model_version": "m-1",
        "task": {"type": "support", "domain": "travel", "instruction": "Find a train to Bern.", "input": None},
        "steps": [
            {"type": "tool_call", "tool": "find_train", "arguments": {"to": "Bern"}, "observation": "10:04"},
            {"type": "assistant_message", "tool": None, "arguments": None, "observation": "It leaves at 10:04."},
        ],
        "output": "It leaves at 10:04.",
        "status": "success",
        "quality_score": 90,
        "confidence": 0.8,
        "feedback": None,
    },
}


def make_event(**changes: Any) -> dict[str, Any]:
    """Return an event; `data__task__domain="qa"` changes one field, and `...` removes it."""
    event = copy.deepcopy(EVENT)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = event
        for parent in parents:
            place = place[parent]
        if value is ...:
            place.pop(last, None)
        else:
            place[last] = value
    return event


class Read(NamedTuple):
    """What became of some lines."""

    parts: list[Extracted]
    resolution: Resolution
    rejects: list[Reject]

    @property
    def examples(self) -> pa.Table:
        return pa.concat_tables([part.examples for part in self.parts])

    @property
    def events(self) -> EventCounts:
        return self.resolution.events

    @property
    def messages(self) -> list[list[dict[str, Any]]]:
        return [json.loads(text) for text in self.examples["messages"].to_pylist()]

    @property
    def taken(self) -> int:
        """Events that were used: traces, and feedback of a trace."""
        kept = int(self.resolution.keep.sum())
        feedback = sum(part.feedback.num_rows for part in self.parts)
        reasons = self.events.by_reason
        unused = reasons.get("orphan_feedback", 0) + reasons.get("late_feedback", 0)
        duplicates = self.events.duplicate - int((~self.resolution.keep).sum())
        return kept + feedback - unused - duplicates


def read_paths(*paths: Path, policy: ExtractionPolicy | None = None) -> Read:
    """Read whole files."""
    policy = policy or ExtractionPolicy()
    parts = [extract(part, policy) for part in split_inputs(find_inputs(list(paths)), policy.partition_bytes)]
    resolution = resolve([numbers(part) for part in parts], policy.score_spread)
    return Read(parts, resolution, numbered([(part.rejects, part.lines) for part in parts]))


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Return `make_event`."""
    return make_event


@pytest.fixture
def paths() -> Callable[..., Read]:
    """Return `read_paths`."""
    return read_paths


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    """Return a function that reads lines: dictionaries, texts or bytes, in a file of their own."""

    def read_lines(*lines: dict[str, Any] | str | bytes, policy: ExtractionPolicy | None = None) -> Read:
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"\n".join(as_bytes(line) for line in lines) + b"\n")
        return read_paths(path, policy=policy)

    return read_lines


def as_bytes(line: dict[str, Any] | str | bytes) -> bytes:
    if isinstance(line, dict):
        line = json.dumps(line)
    return line.encode() if isinstance(line, str) else line
