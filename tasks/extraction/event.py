"""From one line to an event: a typed decode, and a slower reading that says what is wrong with the lines it refuses."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any, NoReturn

import msgspec

from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Fault

EXECUTION, PLANNING, FEEDBACK = "execution.completed", "planning.completed", "feedback.recorded"
KNOWN_TYPES = frozenset({EXECUTION, PLANNING, FEEDBACK})
"""The types that the main job uses. All others are counted and left alone."""

MAX_NESTING = 100
"""Deepest nesting of objects and arrays in an event. A bound of our own, as Python's depends on the call stack. In keys
that are never read, some hundreds of levels may pass."""
MAX_DIGITS = 4_000
"""Integers with more digits are read as infinite, as no double can hold them; Python refuses to read them at all."""
SCORES = frozenset({"data.quality_score", "data.confidence", "data.value"})
"""Where a number that no double can hold is a missing score and not a broken record; so is any feedback's value."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Task(msgspec.Struct, gc=False):
    """What the agent was asked to do."""

    type: str | None = None
    domain: str | None = None
    instruction: str | None = None
    input: Any = None


class Step(msgspec.Struct, gc=False):
    """One thing that happened in a trace."""

    type: str | None = None
    tool: str | None = None
    arguments: Any = None
    observation: Any = None
    """What was said, or what a tool returned."""
    content: Any = None
    text: Any = None


class Feedback(msgspec.Struct, gc=False):
    """A judgement of a trace."""

    kind: str | None = None
    value: bool | int | float | str | None = None


class Data(msgspec.Struct, gc=False):
    """The fields of `data` that are used, of all known types together. Other keys are never read."""

    trace_id: str | int | None = None
    agent: str | None = None
    model_version: str | None = None
    task: Task | None = None
    steps: list[Step] | None = None
    output: Any = None
    plan: Any = None
    plan_text: str | None = None
    status: str | None = None
    quality_score: float | None = None
    confidence: float | None = None
    feedback: Feedback | list[Feedback] | None = None
    session_id: str | int | None = None
    session: str | int | None = None
    conversation_id: str | int | None = None
    kind: str | None = None
    value: bool | int | float | str | None = None
    user: Any = None
    """Who gave the feedback. Many write more than a name there, which then is no name."""


class Event(msgspec.Struct, gc=False):
    """A CloudEvents 1.0 record in structured mode."""

    specversion: str
    id: str
    source: str
    type: str
    time: str | None = None
    subject: str | None = None
    data: Data | None = None


class NotAnEventError(Exception):
    """A line is not an event; `fault` says why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(code, reason)


def read_line(line: bytes, policy: ExtractionPolicy) -> Event | Fault | None:
    """Return the event of a line, why it is none, or None for a blank line. This is the slow, exact reading."""
    if not line.strip():
        return None
    try:
        return _event(_attributes(_loaded(line, policy)), policy)
    except NotAnEventError as error:
        return error.fault
    except RecursionError:
        return Fault("E7027", too_deep(nesting(line)))


def too_large(size: int, policy: ExtractionPolicy) -> str:
    """Say that a line is too long."""
    return f"the line has {size} bytes, the limit is {policy.max_event_bytes}"


def too_deep(levels: int) -> str:
    """Say that a value is nested too deep."""
    return f"{levels} levels of nesting, the limit is {MAX_NESTING}"


def check_nesting(text: bytes, above: int) -> None:
    """Refuse a value (as JSON), with `above` levels around it, that is nested too deep."""
    if len(text) > MAX_NESTING and text.count(b"{") + text.count(b"[") > MAX_NESTING - above:
        levels = nesting(text) + above
        if levels > MAX_NESTING:
            _refuse("E7027", too_deep(levels))


def _refuse(code: str, reason: str) -> NoReturn:
    raise NotAnEventError(code, reason)


def _loaded(line: bytes, policy: ExtractionPolicy) -> dict[str, Any]:
    """Return the object that `line` holds."""
    if len(line) > policy.max_event_bytes:
        _refuse("E7028", too_large(len(line), policy))
    if b"\x00" in line:
        _refuse("E7030", f"NUL byte at byte {line.index(0)} of the line")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse("E7020", f"{error.reason} at byte {error.start} of the line")
    check_nesting(line, 0)
    try:
        value = json.loads(
            text, parse_int=_integer, parse_constant=lambda name: _refuse("E7026", f"{name} is not JSON")
        )
    except json.JSONDecodeError as error:
        _refuse("E7021", f"{error.msg} at character {error.pos} of the line")
    if not isinstance(value, dict):
        _refuse("E7022", f"the line holds a JSON {_json_name(value)}, not an object")
    return value


def _integer(digits: str) -> int | float:
    """Return an integer, or infinity for one that no double can hold."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _constant(name: str) -> NoReturn:
    _refuse("E7026", f"{name} is not JSON")


def nesting(line: bytes) -> int:
    """Return how deep the objects and arrays of a line of JSON are nested."""
    level = deepest = 0
    for byte in _STRING.sub(b"", line).translate(None, _BRACKETS):
        level += _STEP[byte]
        deepest = max(deepest, level)
    return deepest


def _json_name(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}.get(type(value), "object")


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    """Check the attributes that CloudEvents requires."""
    for name in ("specversion", "id", "source", "type"):
        if value.get(name) is None:
            _refuse("E7023", f"attribute {name} is missing")
        if not isinstance(value[name], str):
            _refuse("E7025", f"{name} is a {_json_name(value[name])}, not a string")
        if not value[name]:
            _refuse("E7023", f"attribute {name} is empty")
        _check_string(value[name], name)
    if value["specversion"] != "1.0":
        _refuse("E7024", f"specversion is {value['specversion'][:40]!r}, not '1.0'")
    return value


def _event(value: dict[str, Any], policy: ExtractionPolicy) -> Event:
    """Return the typed event of a record whose required attributes are there."""
    if value["type"] not in KNOWN_TYPES:
        return Event(value["specversion"], value["id"], value["source"], value["type"])
    _check(value, "", numbers=False)
    if "data" not in value and isinstance(value.get("data_base64"), str):
        value["data"] = _decoded(value["data_base64"], policy)
    try:
        event = msgspec.convert(value, Event)
    except msgspec.ValidationError as error:
        _refuse("E7025", _wrong_type(str(error)))
    _check(msgspec.to_builtins(event), "", numbers=True)
    if not has_its_data(event):
        _refuse("E7023", f"data{'.trace_id' if event.data else ''} is missing, which {event.type} needs")
    return event


def has_its_data(event: Event) -> bool:
    """Return whether an event of known type has the data without which it says nothing."""
    return event.data is not None and (event.type != FEEDBACK or event.data.trace_id not in (None, ""))


def _decoded(text: str, policy: ExtractionPolicy) -> dict[str, Any]:
    """Return the JSON object in `data_base64`, the other form in which CloudEvents carries data."""
    try:
        return _loaded(base64.b64decode(text, validate=True), policy)
    except binascii.Error as error:
        _refuse("E7021", f"data_base64 is not base64: {error}")


def _check(value: object, path: str, *, numbers: bool) -> None:
    """Refuse NUL and lone surrogates in any string of `value`, keys included; and on demand infinite numbers."""
    if isinstance(value, str):
        _check_string(value, path)
    elif isinstance(value, float):
        if numbers and not math.isfinite(value) and path not in SCORES and not path.startswith("data.feedback"):
            _refuse("E7032", f"{path} is a number that no double can hold")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_string(key, f"a key of {path or 'the event'}")
            _check(item, f"{path}.{key}" if path else key, numbers=numbers)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", numbers=numbers)


def _check_string(value: str, path: str) -> None:
    if "\x00" in value:
        _refuse("E7030", f"NUL character in {path}")
    if not value.isascii() and _SURROGATE.search(value):
        _refuse("E7029", f"lone surrogate in {path}")


def _wrong_type(message: str) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.data.status`" into a sentence that starts with the path."""
    what, _, path = message.partition(" - at `$")
    return f"{path.strip('.`') or 'the event'}: {what[0].lower()}{what[1:]}"
