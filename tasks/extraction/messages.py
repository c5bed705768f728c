"""The messages of a conversation, and what a trace's fields say as text."""

from __future__ import annotations

import string
from typing import Any

import msgspec

from tasks.extraction.event import MAX_NESTING, check_nesting, nesting

LEVELS_ABOVE = 4
"""Levels of nesting around what a step holds: the event, its data, the list of steps, the step."""
HEAD = 24
"""Characters of an answer in which its first word is looked for."""

_encode = msgspec.json.Encoder().encode
_PUNCTUATION = string.punctuation.encode()
_ARTICLES = frozenset({"a", "an", "the"})


class Said(msgspec.Struct, gc=False):
    """A system, user or assistant message."""

    role: str
    content: str


class Function(msgspec.Struct, gc=False):
    """What an assistant calls."""

    name: str
    arguments: str


class Call(msgspec.Struct, gc=False):
    """One tool call of an assistant."""

    id: str
    type: str
    function: Function


class Called(msgspec.Struct, gc=False):
    """An assistant message with a tool call."""

    role: str
    content: str
    tool_calls: tuple[Call]


class Answered(msgspec.Struct, gc=False):
    """What a tool returned."""

    role: str
    tool_call_id: str
    content: str


def as_text(value: Any) -> str:
    """Return what a field says as text: strings as they are, nothing as an empty text, all else as compact JSON.

    Raises:
        NotAnEventError: E7027 for a value that is nested too deep.
    """
    if isinstance(value, str):
        return value if not value.isspace() else ""
    return _json(value) if value is not None else ""


def _json(value: Any) -> str:
    """Return a value as compact JSON."""
    text = _encode(value)
    if len(text) > 2 * (MAX_NESTING - LEVELS_ABOVE):
        check_nesting(text, LEVELS_ABOVE)
    return text.decode()


def arguments_text(arguments: Any) -> str:
    """Return a tool's arguments as the text of a JSON object; what is no object becomes its `input`."""
    if arguments is None or arguments == "":
        return "{}"
    if isinstance(arguments, str):
        if arguments[:1] == "{" and (parsed := _object(arguments)) is not None:
            return _json(parsed)
        arguments = {"input": arguments}
    elif not isinstance(arguments, dict):
        arguments = {"input": arguments}
    return _json(arguments)


def _object(text: str) -> dict[str, Any] | None:
    limit = MAX_NESTING - LEVELS_ABOVE
    if text.count("{") + text.count("[") > limit and nesting(text.encode()) > limit:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return None


def answer_form(text: str) -> str:
    """Return `text` in the form in which two answers are the same: lower case, no punctuation, no articles.

    As in the SQuAD evaluation (Rajpurkar et al. 2016, section 6.1).
    """
    return " ".join([word for word in _plain(text).split() if word not in _ARTICLES])


def _plain(text: str) -> str:
    """Return `text` in lower case without punctuation; bytes lose it several times as fast as texts."""
    return text.lower().encode().translate(None, _PUNCTUATION).decode()


def may_hold(text: str, answer: str) -> bool:
    """Return False if the form of `text` surely does not hold the form of `answer`: quick, and nearly always enough.

    Looks for the answer's first word. It may be cut, and escapes in JSON do not hide it, but for those of control
    characters.
    """
    if not answer.isascii() or "\\u" in text:
        return True
    return answer_form(answer[:HEAD]).partition(" ")[0] in _plain(text)


def argument_values(arguments: str) -> str:
    """Return the values of a call's arguments as one text."""
    return " ".join(as_text(value) for value in msgspec.json.decode(arguments, type=dict[str, Any]).values())
