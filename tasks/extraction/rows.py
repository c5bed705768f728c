"""From typed events to batches of rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.records import Reason
from tasks.extraction import conversation, scores
from tasks.extraction.columns import EXAMPLES, FEEDBACK, JsonColumn, content_keys, example_ids
from tasks.extraction.decode import Decoded
from tasks.extraction.event import FEEDBACK as FEEDBACK_TYPE
from tasks.extraction.event import PLANNING, Data, Event
from tasks.extraction.keys import event_keys, normalised, text_keys
from tasks.extraction.traits import DIFFICULTIES, difficulties, domain_of, loads

FAILED = frozenset(
    {
        "failure", "failed", "fail", "error", "errored", "timeout", "timed_out", "cancelled", "canceled", "aborted",
        "rejected", "crashed", "killed", "exception", "incomplete", "interrupted",
    }
)  # fmt: skip
"""What `status` says of a trace that failed. Any other status, or none, is not a failure."""

_DIFFICULTIES = pa.array(DIFFICULTIES)


class _Built:
    """What the traces of a block gave, one list a property."""

    def __init__(self) -> None:
        self.messages = JsonColumn()
        self.flags: list[int] = []
        self.prompts: list[str] = []
        self.domains: list[str] = []
        self.counts: list[tuple[int, int, int]] = []
        self.quality: list[float | None] = []
        self.confidence: list[float | None] = []


def example_rows(decoded: Decoded, position: int, notes: Counter[str]) -> pa.RecordBatch:
    """Return the traces of a block as rows of `EXAMPLES`; oddities are counted in `notes`.

    Args:
        decoded: The block.
        position: Lines of the part before the block.
        notes: Counts, by name.
    """
    chosen = np.array([event.type != FEEDBACK_TYPE for event in decoded.events], dtype=bool)
    events = [event for event in decoded.events if event.type != FEEDBACK_TYPE]
    built = _Built()
    for event in events:
        _build(event, built, notes)
    quality, confidence = _floats(built.quality), _floats(built.confidence)
    flags = np.array(built.flags, dtype=np.uint32)
    failed = flags & np.uint32(Reason.FAILED_TRACE) != 0
    counts = np.array(built.counts, dtype=np.int64).reshape(-1, 3)
    load = loads(counts[:, 0], counts[:, 1], counts[:, 2], np.array(built.messages.sizes, dtype=np.int64))
    data = [event.data or Data() for event in events]
    subjects = [event.subject or None for event in events]
    sessions = [_name(item.session_id or item.session or item.conversation_id) for item in data]
    traces = [_name(item.trace_id) for item in data]
    sources, ids = [event.source for event in events], [event.id for event in events]
    columns = {
        "position": position + np.array(decoded.places, dtype=np.uint32)[chosen],
        "event_key": event_keys(sources, ids),
        "content_key": content_keys(built.messages.digests, quality, confidence, flags.astype(np.float64)),
        "trace_key": text_keys(traces),
        "work_key": text_keys(trace and f"{item.agent}\n{trace}" for trace, item in zip(traces, data, strict=True)),
        "subject_key": text_keys(subjects),
        "session_key": text_keys(sessions),
        "prompt_key": text_keys(built.prompts),
        "flags": flags,
        "failed": failed,
        "example_id": example_ids(built.messages.digests),
        "messages": built.messages.array(),
        "domain": built.domains,
        "task_type": [item.task.type if item.task else None for item in data],
        "difficulty": _DIFFICULTIES.take(pa.array(difficulties(load))),
        "subject": subjects,
        "session": sessions,
        "quality": _nullable(quality),
        "confidence": _nullable(confidence),
        "model_version": [item.model_version for item in data],
        "agent": [item.agent for item in data],
        "time": decoded.times.filter(pa.array(chosen)),
        "event_source": sources,
        "event_id": ids,
        "trace_id": traces,
    }
    return _batch(columns, EXAMPLES)


def feedback_rows(decoded: Decoded, position: int, notes: Counter[str]) -> pa.RecordBatch:
    """Return the feedback of a block as rows of `FEEDBACK`; see `example_rows`."""
    rows = [row for row, event in enumerate(decoded.events) if event.type == FEEDBACK_TYPE]
    events = [decoded.events[row] for row in rows]
    data = [event.data or Data() for event in events]
    columns = {
        "position": np.array([position + decoded.places[row] for row in rows], dtype=np.uint32),
        "event_key": event_keys([event.source for event in events], [event.id for event in events]),
        "content_key": text_keys([f"{item.trace_id}\n{item.kind}\n{item.value!r}" for item in data]),
        "trace_key": text_keys([_name(item.trace_id) for item in data]),
        "score": _nullable(_floats([scores.recorded_score(item, notes) for item in data])),
    }
    return _batch(columns, FEEDBACK)


def _build(event: Event, built: _Built, notes: Counter[str]) -> None:
    """Add what one trace gives."""
    data = event.data or Data()
    planning = event.type == PLANNING
    output = conversation.as_text(data.plan or data.plan_text if planning else data.output)
    made = conversation.build(data, output)
    flags = 0
    if data.status is not None and data.status.strip().lower() in FAILED:
        flags |= Reason.FAILED_TRACE
    if planning and not output:
        flags |= Reason.EMPTY_OUTPUT
    elif not made.messages:
        flags |= Reason.NO_ASSISTANT_TURN
    elif not made.prompt:
        flags |= Reason.NO_USER_TURN
    built.messages.add(made.messages, keep=not flags)
    built.flags.append(flags)
    built.prompts.append(normalised(made.prompt))
    built.domains.append(domain_of(data.task.domain if data.task else None, made.prompt))
    built.counts.append((made.turns, made.calls, made.tools))
    built.quality.append(scores.inline_quality(data, notes))
    built.confidence.append(scores.in_range(data.confidence, 1.0, notes))
    if made.unknown:
        notes["unknown_step"] += made.unknown


def _name(value: str | int | None) -> str | None:
    """Return an identifier as text, None if it is missing or empty."""
    return str(value) if value is not None and value != "" else None


def _floats(values: list[float | None]) -> NDArray[np.float64]:
    """Return numbers as an array with NaN where they are missing."""
    return np.array(values, dtype=np.float64)


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    """Return an array as a column with nulls in place of NaN."""
    return pa.array(values, from_pandas=True)


def _batch(columns: dict[str, object], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
        for name, column in columns.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
