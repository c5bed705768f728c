"""`POST /feedback`: a judgement of an answer becomes an event of its own; the trace itself is never changed (pure)."""

from __future__ import annotations

import msgspec

from gateway.chat import LONGEST_NAME, decoded
from gateway.problems import MALFORMED, Problem
from registry.event_rows import FEEDBACK, new_id
from registry.home import now


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody thinks of an answer; docs/events.md lists the kinds and their values."""

    trace_id: str
    kind: str
    value: bool | int | float | str | None = None
    user: str | None = None
    comment: str | None = None
    id: str | None = None
    """Identity of this judgement: sent twice, it counts once."""


_requests = msgspec.json.Decoder(FeedbackRequest)
_encode = msgspec.json.Encoder().encode


class Feedback(msgspec.Struct):
    """A judgement, ready for the log."""

    id: str
    event: bytes


def read_feedback(body: bytes, content_type: str | None, source: str) -> Feedback:
    """Return the event of a judgement.

    Raises:
        Problem: 415 or 400.
    """
    request: FeedbackRequest = decoded(_requests, body, content_type)
    for name, text in (("trace_id", request.trace_id), ("kind", request.kind), ("id", request.id)):
        if text is not None and (not text.strip() or len(text) > LONGEST_NAME or "\x00" in text):
            raise Problem(MALFORMED, f"{name} is blank, too long or has a NUL", f"send 1 to {LONGEST_NAME} characters")
    identity = request.id or new_id()
    given = {"value": request.value, "user": request.user, "comment": request.comment}
    data = {"trace_id": request.trace_id, "kind": request.kind} | {k: v for k, v in given.items() if v is not None}
    event = {
        "specversion": "1.0",
        "id": identity,
        "source": f"{source}/feedback",
        "type": FEEDBACK,
        "time": now(),
        "subject": request.trace_id,
        "data": data,
    }
    return Feedback(identity, _encode(event))
