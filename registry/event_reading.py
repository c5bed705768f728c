"""From bytes to a typed event: fast where it is as it should be, exact where it is not.

A CloudEvent whose data has fields of wrong types is an event all the same: those fields are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_BYTES = 1 << 20
MAX_NESTING = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"
Scalar = bool | int | float | str | None


class Feedback(msgspec.Struct, gc=False):
    """A judgement of a trace."""

    kind: str | None = None
    value: Scalar = None


class Task(msgspec.Struct, gc=False):
    """What the agent was asked to do."""

    domain: str | None = None
    instruction: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


class Data(msgspec.Struct, gc=False):
    """The fields of `data` that become columns of the log. Other keys are never read."""

    trace_id: str | int | None = None
    agent: str | None = None
    model_version: str | int | None = None
    task: Task | None = None
    domain: str | None = None
    output: msgspec.Raw = msgspec.Raw()
    plan: msgspec.Raw = msgspec.Raw()
    status: str | None = None
    quality_score: float | None = None
    feedback: Feedback | list[Feedback] | None = None
    latency_ms: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    cost: float | None = None
    unit: str | int | None = None
    user: str | int | None = None
    session_id: str | int | None = None
    experiment: str | None = None
    arm: str | None = None
    shadow: bool | None = None
    kind: str | None = None
    value: Scalar = None


_NAMES = frozenset(
    {
        "trace_id",
        "agent",
        "model_version",
        "domain",
        "status",
        "unit",
        "user",
        "session_id",
        "experiment",
        "arm",
        "kind",
    }
)
_AMOUNTS = frozenset({"quality_score", "latency_ms", "tokens_in", "tokens_out", "cost"})


class Event(msgspec.Struct, gc=False):
    """A CloudEvents 1.0 record in structured mode."""

    specversion: str
    id: str
    source: str
    type: str
    time: str | None = None
    data: Data | None = None


class NotAnEventError(Exception):
    """What was given is not an event."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode


def read_body(event: bytes | str | Mapping[str, Any]) -> bytes:
    """Return an event as one line of JSON."""
    body = (event if type(event) is bytes else _as_bytes(event)).strip().removeprefix(_BOM)
    if len(body) > MAX_BYTES:
        raise NotAnEventError("E7028", f"it has {len(body)} bytes, the limit is {MAX_BYTES}")
    if body.count(b"{") + body.count(b"[") > MAX_NESTING and (levels := _nesting(body)) > MAX_NESTING:
        raise NotAnEventError("E7027", f"{levels} levels of nesting, the limit is {MAX_NESTING}")
    return body.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in body or b"\r" in body else body


def _as_bytes(event: bytes | str | bytearray | memoryview | Mapping[str, Any]) -> bytes:
    try:
        if isinstance(event, str):
            return event.encode()
        return bytes(event) if isinstance(event, bytes | bytearray | memoryview) else _encode(event)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        if isinstance(event, str):
            raise NotAnEventError("E7029", "it has a lone surrogate") from None
        raise NotAnEventError("E7021", f"it cannot be written as JSON: {error}") from None


def _nesting(body: bytes) -> int:
    level = deepest = 0
    for byte in _STRING.sub(b"", body):
        if byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest


def read_event(body: bytes) -> Event:
    """Return the typed event of a body; the exact reading where the fast one refuses."""
    try:
        escaped = b"\\" in body and b"\\u0000" in body
        event = _exact(body) if escaped else _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        event = _exact(body)
    if event.specversion != "1.0":
        raise NotAnEventError("E7024", f"specversion is {event.specversion[:40]!r}, not '1.0'")
    if not (event.id and event.source and event.type):
        name = next(name for name in ("id", "source", "type") if not getattr(event, name))
        raise NotAnEventError("E7023", f"attribute {name} is empty")
    return event


def _exact(body: bytes) -> Event:
    try:
        value = json.loads(body.decode(), parse_int=_integer, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise NotAnEventError("E7020", f"{error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotAnEventError("E7021", f"{error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise NotAnEventError("E7022", "it is JSON, but not an object")
    _check_attributes(value)
    return _lenient(value)


def _check_attributes(value: dict[str, Any]) -> None:
    for name in ("specversion", "id", "source", "type"):
        if value.get(name) is None:
            raise NotAnEventError("E7023", f"attribute {name} is missing")
        if not isinstance(value[name], str):
            raise NotAnEventError("E7025", f"{name} is not a string")
        if _SURROGATE.search(value[name]):
            raise NotAnEventError("E7029", f"lone surrogate in {name}")
        if "\x00" in value[name]:
            raise NotAnEventError("E7030", f"NUL character in {name}")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 300 else float(digits)


def _constant(name: str) -> Any:
    raise NotAnEventError("E7026", f"{name} is not JSON")


def _lenient(value: dict[str, Any]) -> Event:
    """Return an event without the fields that are of a wrong type."""
    event = Event(value["specversion"], value["id"], value["source"], value["type"], _name(value.get("time")))
    if isinstance(data := value.get("data"), dict):
        made = Data(output=_raw(data.get("output")), plan=_raw(data.get("plan")), shadow=data.get("shadow") is True)
        for name in _NAMES:
            setattr(made, name, _name(data.get(name)))
        for name in _AMOUNTS:
            setattr(made, name, _number(data.get(name)))
        made.value = _judged(data.get("value"))
        if isinstance(task := data.get("task"), dict):
            made.task = Task(_name(task.get("domain")), _raw(task.get("instruction")), _raw(task.get("input")))
        given = data.get("feedback")
        several = given if isinstance(given, list) else [given]
        found = [each for each in several if isinstance(each, dict)]
        made.feedback = [Feedback(_name(each.get("kind")), _judged(each.get("value"))) for each in found]
        event.data = made
    return event


def _raw(value: Any) -> msgspec.Raw:
    """Return a value as JSON; nothing for none."""
    return (
        msgspec.Raw()
        if value is None
        else msgspec.Raw(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    )


def _name(value: Any) -> str | None:
    """Return a value as a text that any database can hold, else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return None if "\x00" in text or _SURROGATE.search(text) else text


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool | str) or value is None else float(value)
    except (OverflowError, TypeError):
        return None


def _judged(value: Any) -> Scalar:
    return value if isinstance(value, bool) else _number(value) if isinstance(value, int | float) else _name(value)


def loaded(body: str) -> dict[str, Any]:
    """Return the event that a body of the log holds."""
    try:
        event: dict[str, Any] = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError):  # a number or a character that only the exact reading takes
        event = json.loads(body, parse_int=_integer)
    return event
