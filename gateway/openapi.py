"""What /openapi.json says of bodies and answers: schemas of the very types that bodies are decoded with (pure)."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.chat import JSON, ChatRequest
from gateway.events_http import BATCH, STRUCTURED
from gateway.feedback import FeedbackRequest
from gateway.problems import MEDIA_TYPE

DESCRIPTION = """Answers with the champion, or with the arm of the running experiment, and logs what happened.
Every failure is a problem (RFC 9457) with an E-code."""
_TEMPLATE = "#/components/schemas/{name}"
_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "time": {"type": "string", "format": "date-time"},
        "subject": {"type": "string"},
        "data": {},
    },
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "pattern": "^E7[0-9]{3}$"},
    },
}
_OUTCOME = {
    "type": "object",
    "properties": {
        "appended": {"type": "integer"},
        "duplicate": {"type": "integer"},
        "rejected": {"type": "array", "items": {"type": "object"}},
    },
}


def components() -> dict[str, Any]:
    """Return the schemas that the paths refer to."""
    _, found = msgspec.json.schema_components([ChatRequest, FeedbackRequest], ref_template=_TEMPLATE)
    return {**found, "CloudEvent": _EVENT, "Problem": _PROBLEM, "Outcome": _OUTCOME}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(name=name)}


def body(*content: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the description of a body by media type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind, schema in content}}}


CHAT = body((JSON, _ref("ChatRequest")))
FEEDBACK = body((JSON, _ref("FeedbackRequest")))
EVENTS = body(
    (STRUCTURED, _ref("CloudEvent")), (BATCH, {"type": "array", "items": _ref("CloudEvent")})
)  # fmt: skip
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "A problem", "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}
}
OUTCOME: dict[int | str, dict[str, Any]] = {
    200: {"description": "What became of the events", "content": {JSON: {"schema": _ref("Outcome")}}}, **PROBLEMS
}  # fmt: skip
