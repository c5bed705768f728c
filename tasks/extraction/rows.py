"""From typed events to batches of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.records import Reason
from registry.scores import in_range
from tasks.extraction import scores
from tasks.extraction.columns import EXAMPLES, FEEDBACK, JsonColumn, content_keys, example_ids
from tasks.extraction.conversation import build
from tasks.extraction.event import PLANNING, Data, Event
from tasks.extraction.keys import event_keys, normalised, pair_keys, repeated_keys, text_keys
from tasks.extraction.messages import as_text
from tasks.extraction.times import Times, read_times
from tasks.extraction.traits import DIFFICULTIES, difficulties, domain_of, loads

FAILED = frozenset(
    {
        "failure", "failed", "fail", "error", "errored", "timeout", "timed_out", "cancelled", "canceled", "aborted",
        "rejected", "crashed", "killed", "exception", "incomplete", "interrupted",
    }
)  # fmt: skip
"""What `status` says of a trace that failed. Any other status, or none, is not a failure."""

NO_TIME = -(2**62)
"""Time of feedback without one, in microseconds; half of the least there is, so that sums stay numbers."""
_DIFFICULTIES = pa.array(DIFFICULTIES)


class _Traces(NamedTuple):
    """What is kept of n trace events beside their messages."""

    place: Sequence[int]
    time: Sequence[str | None]
    source: Sequence[str]
    id: Sequence[str]
    subject: Sequence[str | None]
    session: Sequence[str | None]
    trace: Sequence[str | None]
    agent: Sequence[str | None]
    model_version: Sequence[str | None]
    task_type: Sequence[str | None]
    domain: Sequence[str]
    prompt: Sequence[str]
    said: Sequence[str]
    flags: Sequence[int]
    answers: Sequence[int]
    turns: Sequence[int]
    calls: Sequence[int]
    tools: Sequence[int]
    quality: Sequence[float | None]
    confidence: Sequence[float | None]


class TraceRows:
    """Collects the traces of a block."""

    def __init__(self) -> None:
        self.messages = JsonColumn()
        self.traces: list[tuple[Any, ...]] = []
        self.notes: Counter[str] = Counter()
        """What was odd in traces that were taken all the same."""

    def add(self, place: int, event: Event) -> None:
        """Take one trace."""
        data, notes = event.data or Data(), self.notes
        task = data.task
        planning = event.type == PLANNING
        output = as_text(data.plan or data.plan_text if planning else data.output)
        made = build(data, output)
        flags = _flags(data, planning and not output, bool(made.messages), made.prompt)
        if made.unknown:
            notes["unknown_step"] += made.unknown
        if made.silent:
            notes["step_without_text"] += made.silent
        self.messages.add(made.messages, keep=not flags)
        self.traces.append(
            (  # in the order of `_Traces`
                place,
                event.time,
                event.source,
                event.id,
                event.subject or None,
                _name(data.session_id or data.session or data.conversation_id),
                _name(data.trace_id),
                data.agent,
                data.model_version,
                task.type if task else None,
                domain_of(task.domain if task else None, made.prompt),
                normalised(made.prompt),
                made.said if not flags else "",
                flags,
                made.answers,
                made.turns,
                made.calls,
                made.tools,
                scores.inline_quality(data, notes),
                in_range(data.confidence, 1.0, notes),
            )
        )

    def times(self) -> Times:
        """Return the times of the traces."""
        return read_times([trace[1] for trace in self.traces])

    def batch(self, position: int, times: pa.Array) -> pa.RecordBatch:
        """Return the traces as rows of `EXAMPLES`; `position` is how many lines of the part were before the block."""
        column = _Traces(*zip(*self.traces, strict=True)) if self.traces else _Traces(*[()] * len(_Traces._fields))
        quality, confidence, flags = _floats(column.quality), _floats(column.confidence), _integers(column.flags)
        size = np.array(self.messages.sizes, dtype=np.int64)
        calls = _integers(column.calls)
        load = loads(_integers(column.turns), calls, _integers(column.tools), size)
        trace_key = text_keys(column.trace)
        columns = {
            "position": position + _integers(column.place),
            "event_key": event_keys(column.source, column.id),
            "content_key": content_keys(self.messages.digests, quality, confidence, flags.astype(np.float64)),
            "trace_key": trace_key,
            "work_key": pair_keys(trace_key, repeated_keys(column.agent)),
            "subject_key": text_keys(column.subject),
            "session_key": repeated_keys(column.session),
            "prompt_key": text_keys(column.prompt),
            "flags": flags,
            "failed": flags & int(Reason.FAILED_TRACE) != 0,
            "example_id": example_ids(self.messages.digests),
            "messages": self.messages.array(),
            "said": column.said,
            "answers": np.where(flags == 0, _integers(column.answers), 0),
            "calls": np.where(flags == 0, calls, 0),
            "domain": column.domain,
            "task_type": column.task_type,
            "difficulty": _DIFFICULTIES.take(pa.array(difficulties(load))),
            "subject": column.subject,
            "session": column.session,
            "quality": _nullable(quality),
            "confidence": _nullable(confidence),
            "model_version": column.model_version,
            "agent": column.agent,
            "time": times,
            "event_source": column.source,
            "event_id": column.id,
            "trace_id": column.trace,
        }
        return _batch(columns, EXAMPLES)


class FeedbackRows:
    """Collects the recorded feedback of a block."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.places: list[int] = []

    def add(self, place: int, event: Event) -> None:
        """Take one `feedback.recorded`."""
        self.events.append(event)
        self.places.append(place)

    def times(self) -> Times:
        """Return the times of the feedback."""
        return read_times([event.time for event in self.events])

    def batch(self, position: int, times: pa.Array, notes: Counter[str]) -> pa.RecordBatch:
        """Return the feedback as rows of `FEEDBACK`; what was odd is counted in `notes`."""
        data = [event.data or Data() for event in self.events]
        columns = {
            "position": position + _integers(self.places),
            "event_key": event_keys([event.source for event in self.events], [event.id for event in self.events]),
            "content_key": text_keys([f"{item.trace_id}\n{item.kind}\n{item.value!r}" for item in data]),
            "trace_key": text_keys([_name(item.trace_id) for item in data]),
            "user_key": repeated_keys([_voter(event) for event in self.events]),
            "time": times.cast(pa.int64()).fill_null(NO_TIME),
            "score": _nullable(_floats([scores.recorded_score(item, notes) for item in data])),
        }
        return _batch(columns, FEEDBACK)


def _flags(data: Data, empty_plan: bool, spoken: bool, prompt: str) -> int:
    """Return why a trace teaches nothing, as bits of `registry.records.Reason`."""
    flags = 0
    if data.status is not None and data.status.strip().lower() in FAILED:
        flags = int(Reason.FAILED_TRACE)
    if spoken and prompt and not empty_plan:
        return flags
    if empty_plan:
        return flags | Reason.EMPTY_OUTPUT
    return flags | (Reason.NO_USER_TURN if spoken else Reason.NO_ASSISTANT_TURN)


def _name(value: str | int | None) -> str | None:
    """Return an identifier as text, None if it is missing or empty."""
    return str(value) if value is not None and value != "" else None


def _voter(event: Event) -> str:
    """Return who gave a feedback. All of a source that name nobody are one: whoever hides must not count for many."""
    user = None if event.data is None else event.data.user
    return f"user {user}" if isinstance(user, str | int) and user != "" else f"source {event.source}"


def _floats(values: Any) -> NDArray[np.float64]:
    """Return numbers as an array with NaN where they are missing."""
    return np.array(values, dtype=np.float64)


def _integers(values: Any) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    """Return an array as a column with nulls in place of NaN."""
    return pa.array(values, from_pandas=True)


def _batch(columns: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
        for name, column in columns.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
