"""How a conversation and a turn are shown to the encoder: a few fields, each with a name and a weight.

The name is part of each feature, so "the user said *cancel*" and "the agent said *cancel*" are two things; the field
without a name is shared by both sides, which is how the frozen base can compare a context with a turn at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from registry.records import Conversation, Message, turn_text
from tasks.training.encoder import Encoder, Floats, salt, unit

LAST, LAST_SHARED, LAST_USER, LAST_ACTION, LAST_ACTION_SHARED, SITUATION, FIRST_USER = 1.0, 0.7, 0.6, 0.6, 0.3, 0.6, 0.5
"""Weights of a context's fields."""
TURN, KIND = 1.0, 0.5
"""Weights of a turn's fields."""
HEAD, TURN_HEAD, ACTION_HEAD, FIRST_HEAD = 600, 800, 400, 400
"""Characters of a field that are read: of a message, a turn, an earlier action, the first request."""
RECENT_TOOLS, RECENT_ROLES, MOST_ROUNDS = 4, 4, 12
CHUNK = 512
"""Rows that are encoded at once."""

_CALL = re.compile(r"^(\w+)\(\{", re.MULTILINE)


class Field(NamedTuple):
    """A piece of text, with the name it is known under and its weight."""

    name: str
    weight: float
    text: str


def context_fields(messages: Conversation) -> list[Field]:
    """Return what is looked at of the messages before a turn; a situation field is always among them."""
    last = messages[-1] if messages else None
    users = [message for message in messages if message.get("role") == "user"]
    action = next((message for message in reversed(messages) if message.get("role") == "assistant"), None)
    fields = [Field("situation", SITUATION, _situation(messages))]
    if last is not None:
        head = content(last)[:HEAD]
        fields += [Field(f"last {last.get('role')}", LAST, head), Field("", LAST_SHARED, head)]
    if users and users[-1] is not last:
        fields.append(Field("last user before", LAST_USER, content(users[-1])[:HEAD]))
    if action is not None:
        said = _action(action)[:ACTION_HEAD]
        fields += [Field("last action", LAST_ACTION, said), Field("", LAST_ACTION_SHARED, said)]
    if len(users) > 1:
        fields.append(Field("first user", FIRST_USER, content(users[0])[:FIRST_HEAD]))
    return [field for field in fields if field.text]


def turn_fields(text: str) -> list[Field]:
    """Return what is looked at of an assistant turn: its text, and which tools it calls."""
    return [Field("", TURN, text[:TURN_HEAD]), Field("kind", KIND, " ".join(_CALL.findall(text)) or "says")]


def encode_rows(encoder: Encoder, rows: Iterable[Sequence[Field]]) -> Floats:
    """Encode n rows of fields: the weighted sum of each row's fields, brought to length 1, shape (n, dimension)."""
    parts: list[Floats] = []
    chunk: list[Sequence[Field]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            parts.append(_encode_chunk(encoder, chunk))
            chunk = []
    if chunk or not parts:
        parts.append(_encode_chunk(encoder, chunk))
    return np.concatenate(parts)


def _encode_chunk(encoder: Encoder, rows: Sequence[Sequence[Field]]) -> Floats:
    fields = [field for row in rows for field in row]
    if not fields:
        return np.zeros((len(rows), encoder.base.dimension), dtype=np.float32)
    salts = {name: salt(name) for name in {field.name for field in fields}}
    vectors = encoder.encode([field.text for field in fields], np.array([salts[field.name] for field in fields]))
    vectors *= np.array([field.weight for field in fields], dtype=np.float32)[:, None]
    counts = np.array([len(row) for row in rows])
    out = np.zeros((len(rows), encoder.base.dimension), dtype=np.float32)
    first = np.cumsum(counts) - counts
    for place in range(int(counts.max())):  # the first field of each row, the second, ...
        having = np.flatnonzero(counts > place)
        out[having] += vectors[first[having] + place]
    return unit(out)


def content(message: Message) -> str:
    """Return a message's content as text, whatever form it has."""
    value = message.get("content")
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value, enc_hook=str).decode()


def _action(message: Message) -> str:
    try:
        return turn_text(message)
    except (KeyError, TypeError):  # a tool call without a function, or content in parts
        return content(message)


def _tools(messages: Conversation) -> list[str]:
    """Names of the last few tools, the latest first."""
    names: list[str] = []
    for message in reversed(messages):
        for call in reversed(message.get("tool_calls") or []):
            function = call.get("function") if isinstance(call, dict) else None
            names.append(str((function or {}).get("name", "")))
        if len(names) >= RECENT_TOOLS:
            break
    return names[:RECENT_TOOLS]


def _situation(messages: Conversation) -> str:
    """Return symbols of where the conversation stands: recent tools, recent roles, how long it is."""
    tools = [f"tool_{'abc'[min(age, 2)]}_{name}" for age, name in enumerate(_tools(messages))]
    roles = "".join(str(message.get("role"))[:1] for message in messages[-RECENT_ROLES:])
    rounds = "i" * min(len(messages) // 2, MOST_ROUNDS)
    return " ".join([*tools, f"roles_{roles}", f"end_{roles[-2:]}", f"rounds_{rounds}"])
