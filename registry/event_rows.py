"""From CloudEvents as they came to rows of the event log: what is known of each in columns, and its body.

Anything that is a CloudEvent becomes a row, whatever its type and its data; a field of the wrong type is missing.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b, sha1
from typing import Any, NamedTuple

import msgspec

from registry.event_reading import Data, Event, Feedback, NotAnEventError, read_body, read_event
from registry.scores import MAX_DOUBLE, feedback_score, in_range

EXECUTION, PLANNING, FEEDBACK = "execution.completed", "planning.completed", "feedback.recorded"
FAILURES = frozenset({"failure", "failed", "error", "timeout", "cancelled"})
"""Statuses of a trace that failed."""
MAX_NAME = 500
"""Longest text of a column, in characters. The body keeps all of it."""
COLUMNS = (
    "key", "time", "trace_key", "content", "type", "trace_id", "agent", "model_version", "domain", "experiment", "arm",
    "unit", "user_id", "feedback_kind", "feedback_value", "quality", "score", "latency_ms", "tokens_in", "tokens_out",
    "cost", "failed", "shadow", "body",
)  # fmt: skip
"""Of the table `events`, without its number."""
LONGEST_ID = 48
"""Bytes of an id that is its own key. The digest that stands for a longer one is longer than that."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_GIVEN = msgspec.Raw()
_NOT_ASKED = (_NOT_GIVEN, _NOT_GIVEN)
_SPACE = b" \t\r\n"
_LOWER = bytes(range(256)).lower()
_encode = msgspec.json.Encoder().encode
_key_number = struct.Struct("<q").unpack
_notes: Counter[str] = Counter()
"""Nobody reads what is noted here of scores that are missing."""


class Rejected(NamedTuple):
    """Something that is not an event."""

    position: int
    """Its place in what was given, from 0."""
    code: str
    reason: str


def read_events(
    events: Sequence[bytes | str | Mapping[str, Any]], received: int | None = None
) -> tuple[list[tuple[Any, ...]], list[Rejected]]:
    """Return a row for each event (`COLUMNS`), the first of each (source, id), and what is none.

    Args:
        events: JSON objects, each as text or as a mapping.
        received: Time of those that say none, in microseconds from 1970; default now.
    """
    now = received if received is not None else microseconds(datetime.now(UTC))
    rows, rejected = [], []
    for position, event in enumerate(events):
        try:
            body = read_body(event)
            rows.append(_row(read_event(body), body, now))
        except NotAnEventError as error:
            rejected.append(Rejected(position, error.code, error.reason))
    return rows, rejected


def microseconds(moment: datetime) -> int:
    """Return the microseconds from 1970-01-01T00:00:00Z to a moment."""
    delta = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def trace_key(trace_id: str) -> int:
    """Return the number that stands for a trace in the log: 64 bits of its digest."""
    number: int = _key_number(blake2b(trace_id.encode(), digest_size=8).digest())[0]
    return number


def new_id() -> str:
    """Return an id that nobody has, 32 hexadecimal digits that grow with time: what is near in time is near on disk."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def event_key(source: str, identity: str) -> bytes:
    """Return what stands for (source, id), under which an event is kept once: a digest of the source, and the id.

    The id as it is: ids that grow with time lie side by side in the index, where digests would touch all of it.
    """
    key = identity.encode()
    if len(key) > LONGEST_ID:
        key = blake2b(key, digest_size=LONGEST_ID + 8).digest()
    return _source_key(source) + key


@lru_cache(maxsize=1024)
def _source_key(source: str) -> bytes:
    return blake2b(source.encode(), digest_size=8).digest()


# --- from an event to a row ----------------------------------------------------------------------------------------


def _row(event: Event, body: bytes, now: int) -> tuple[Any, ...]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise NotAnEventError("E7020", f"{error.reason} at byte {error.start}") from None
    key, when = event_key(event.source, event.id), now if event.time is None else _time(event.time, now)
    data = event.data
    if data is None:
        return (key, when, None, None, event.type, *_NOTHING, 0, 0, text)
    trace, user, task = _short(data.trace_id), _short(data.user), data.task
    unit = user if data.unit is None and data.user is not None else _short(data.unit or data.session_id)
    domain = data.domain if task is None or task.domain is None else task.domain
    kind, value, score = _NO_FEEDBACK
    if data.feedback is not None or event.type == FEEDBACK:
        kind, value, score = _feedback(event.type, data)
    quality = data.quality_score
    return (
        key, when, None if trace is None else trace_key(trace), _content(event.type, data), event.type, trace,
        _short(data.agent), _short(data.model_version), _short(domain), _short(data.experiment), _short(data.arm), unit,
        user, kind, value, None if quality is None else in_range(quality, 100.0, _notes), score,
        _amount(data.latency_ms), _amount(data.tokens_in), _amount(data.tokens_out), _amount(data.cost),
        int(data.status is not None and data.status.lower() in FAILURES), int(data.shadow is True), text,
    )  # fmt: skip


_NO_FEEDBACK = (None, None, None)
_NOTHING = (None,) * (len(COLUMNS) - 8)


def _time(text: str, now: int) -> int:
    try:
        return microseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return now


def _short(value: str | int | None) -> str | None:
    """Return the text of a column."""
    if value is None or value == "":
        return None
    return value[:MAX_NAME] if isinstance(value, str) else str(value)


def _amount(value: float | None) -> float | None:
    """Return a finite number that is not negative, else None."""
    return value if value is not None and 0.0 <= value <= MAX_DOUBLE else None


def _feedback(type_: str, data: Data) -> tuple[str | None, str | None, float | None]:
    """Return kind and value of the last feedback that an event holds, and the mean of all scores from 0 to 100."""
    if type_ == FEEDBACK:
        items = [Feedback(data.kind, data.value)]
    else:
        items = data.feedback if isinstance(data.feedback, list) else [data.feedback or Feedback()]
    if not items:
        return _NO_FEEDBACK
    found = (feedback_score(item.kind, item.value, _notes) for item in items)
    scores = [score for score in found if score is not None]
    last = items[-1]
    value = last.value if isinstance(last.value, str) else None if last.value is None else json.dumps(last.value)
    return _short(last.kind), _short(value), sum(scores) / len(scores) if scores else None


def _content(type_: str, data: Data) -> int | None:
    """Return a digest of what a trace says: the same for two whose texts differ in case and space alone."""
    said = _given(data.output) or _given(data.plan)
    if not said:
        return None
    whose, task = f"{type_}\x1f{data.agent or ''}".encode(), data.task
    asked = _NOT_ASKED if task is None else (_given(task.instruction), _given(task.input))
    text = b"\x1f".join((whose, said, *asked))
    if text.isascii() and b"\\" not in text:  # then it says what the JSON says
        text = text.translate(_LOWER, _SPACE)
    else:
        joined = "\x1f".join((whose.decode(), _said(said), *map(_said, asked)))
        text = joined.lower().encode("utf-8", "replace").translate(None, _SPACE)
    number: int = _key_number(sha1(text, usedforsecurity=False).digest()[:8])[0]
    return number


def _given(part: msgspec.Raw) -> msgspec.Raw:
    return part if len(part) != 4 or bytes(part) != b"null" else _NOT_GIVEN


def _said(part: msgspec.Raw) -> str:
    """Return JSON without the escapes that it may or may not use in texts."""
    if not part:
        return ""
    try:
        value = msgspec.json.decode(part)
    except msgspec.DecodeError:  # a number that only the exact reading takes
        return bytes(part).decode("utf-8", "replace")
    return f'"{value}"' if isinstance(value, str) else _encode(value).decode("utf-8", "replace")
