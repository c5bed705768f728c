"""The event that the log gets of an answer, in the form that docs/events.md describes (pure)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from gateway.chat import instruction, steps
from registry.event_reading import MAX_BYTES
from registry.event_rows import EXECUTION
from registry.records import Conversation

CLIPPED = 100_000
"""Characters that are kept of a text in an event that would be too large for the log."""
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """A request, as far as the event tells it."""

    trace: str
    time: str
    unit: str
    session: str | None
    user: str | None
    domain: str | None
    messages: Conversation
    tokens_in: int


class Answered(NamedTuple):
    """What a model made of it."""

    text: str
    status: str
    """`success`, `error`, `timeout`; `incomplete` where the caller hung up."""
    seconds: float
    """The model's own time."""
    confidence: float | None = None
    tokens_in: int | None = None
    """As the model counted; None to count words."""
    tokens_out: int | None = None
    reason: str | None = None
    """Why it failed."""


class By(NamedTuple):
    """Which version answered, and why that one."""

    model: str
    version: str
    experiment: str | None
    arm: str | None
    shadow: bool = False
    """The answer was never served."""


def execution(source: str, asked: Asked, by: By, answered: Answered) -> bytes:
    """Return the event of one answer as a line of JSON."""
    trace = f"{asked.trace}-shadow" if by.shadow else asked.trace
    data: dict[str, Any] = {
        "trace_id": trace,
        "agent": by.model,
        "model_version": by.version,
        "task": {"type": "chat", "domain": asked.domain, "instruction": instruction(asked.messages)},
        "steps": steps(asked.messages, answered.text),
        "output": answered.text,
        "status": answered.status,
        "latency_ms": round(answered.seconds * 1000, 3),
        "tokens_in": asked.tokens_in if answered.tokens_in is None else answered.tokens_in,
        "tokens_out": len(answered.text.split()) if answered.tokens_out is None else answered.tokens_out,
        "unit": asked.unit,
    }
    optional = {
        "confidence": answered.confidence,
        "session_id": asked.session,
        "user": asked.user,
        "experiment": by.experiment,
        "arm": by.arm,
        "error": answered.reason,
    }
    data |= {name: value for name, value in optional.items() if value is not None}
    if by.shadow:
        data |= {"shadow": True, "shadow_of": asked.trace}
    event = {
        "specversion": "1.0",
        "id": trace,
        "source": source,
        "type": EXECUTION,
        "time": asked.time,
        "subject": asked.unit,
        "data": data,
    }
    line = _encode(event)
    return line if len(line) <= MAX_BYTES else _encode({**event, "data": _clipped(data)})


def _clipped(data: dict[str, Any]) -> dict[str, Any]:
    """Return data that fits into the log: marked, without the earlier turns, its texts cut short."""
    task = {**data["task"], "instruction": data["task"]["instruction"][:CLIPPED]}
    return {**data, "task": task, "steps": [], "output": data["output"][:CLIPPED], "clipped": True}
