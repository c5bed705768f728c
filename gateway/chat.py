"""Chat completions in OpenAI's form: the request, the answer, its chunks, and the event that is logged (all pure)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.problems import MALFORMED, UNSUPPORTED, Problem
from registry.records import Conversation, Message, turn_text

JSON = "application/json"
LONGEST_NAME = 256
"""Characters of a unit, a session or a domain."""
_encode = msgspec.json.Encoder().encode


class Part(msgspec.Struct):
    """A part of a message's content; all but texts are left to models that are served elsewhere."""

    type: str
    text: str | None = None


class Function(msgspec.Struct):
    """What an assistant called; its arguments are JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct):
    """One tool call of an assistant."""

    function: Function
    id: str = ""
    type: str = "function"


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    """What a stream tells beside the text."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a request that the gateway looks at; others are passed on to models that are served elsewhere."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    n: int | None = None


_requests = msgspec.json.Decoder(ChatRequest)


def media_type(header: str | None) -> str:
    """Return the media type of a `Content-Type`, in lower case.

    Raises:
        Problem: 415 for a charset that is not UTF-8.
    """
    kind, *parameters = (header or "").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('" ') not in {"utf-8", "utf8", "us-ascii"}:
            raise Problem(UNSUPPORTED, f"the charset {value!r} is not understood", "send UTF-8")
    return kind.strip()


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes, content_type: str | None) -> Any:
    """Return a JSON body as `decoder` reads it.

    Raises:
        Problem: 415 no JSON was announced, 400 it is not JSON (NaN, lone surrogates and bytes that are no UTF-8
            included), is nested too deep, or does not fit.
    """
    if media_type(content_type) != JSON:
        raise Problem(UNSUPPORTED, "the body is not announced as JSON", f"send Content-Type: {JSON}")
    try:
        return decoder.decode(body)
    except RecursionError:
        raise Problem(MALFORMED, "the body is nested too deep", "send a flatter one") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Problem(
            MALFORMED, f"the body cannot be read: {error}", "correct it; /openapi.json shows the form"
        ) from None


def read_request(body: bytes, content_type: str | None) -> ChatRequest:
    """Return the request.

    Raises:
        Problem: 415 or 400; all that is wrong with a field is said with its path.
    """
    request: ChatRequest = decoded(_requests, body, content_type)
    if not request.messages:
        raise Problem(MALFORMED, "`messages` is empty", "send at least one message")
    if request.n not in {None, 1}:
        raise Problem(MALFORMED, f"`n` is {request.n}", "ask once for each answer that you want")
    return request


def conversation(request: ChatRequest) -> Conversation:
    """Return the messages as models take them: texts only."""
    return [_message(message) for message in request.messages]


def _message(message: ChatMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    made: Message = {"role": role, "content": _text(message.content)}
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        made["name"] = message.name
    return made


def _text(content: str | list[Part] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text if part.text is not None else f"[{part.type}]" for part in content)
    return content or ""


def words(messages: Sequence[Message]) -> int:
    """Return the size of messages in words: what the gateway counts as tokens where no model says better."""
    return sum(len(turn_text(message).split()) for message in messages)


# --- the answer ----------------------------------------------------------------------------------------------------


def completion(trace: str, model: str, text: str, usage: Mapping[str, int]) -> bytes:
    """Return a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": f"chatcmpl-{trace}", "object": "chat.completion", "created": int(time.time()), "model": model}
    return _encode({**body, "choices": [choice], "usage": usage})


def usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    """Return what an answer cost, in OpenAI's form."""
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def chunks(trace: str, model: str, text: str, spent: Mapping[str, int] | None) -> Iterator[bytes]:
    """Yield an answer as server-sent events: the role, a chunk a word, the end, the usage where it was asked for."""
    head = {"id": f"chatcmpl-{trace}", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: Mapping[str, str], finish: str | None = None) -> bytes:
        return sse(_encode({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))

    yield chunk({"role": "assistant", "content": ""})
    for piece in text.splitlines(keepends=True):
        start = 0
        while start < len(piece):
            end = piece.find(" ", start + 1)
            end = len(piece) if end < 0 else end
            yield chunk({"content": piece[start:end]})
            start = end
    yield chunk({}, "stop")
    if spent is not None:
        yield sse(_encode({**head, "choices": [], "usage": spent}))
    yield DONE


def sse(data: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: " + data + b"\n\n"


DONE = sse(b"[DONE]")


# --- the event -----------------------------------------------------------------------------------------------------


def steps(messages: Sequence[Message], output: str) -> list[dict[str, Any]]:
    """Return the steps of a trace from which extraction makes these messages, and the answer, again.

    A single question needs none: `task.instruction` and `output` say it all. Several calls in one turn become one
    turn each, with its own result, as everywhere in a log.
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return []
    results = {m["tool_call_id"]: m["content"] for m in messages if m["role"] == "tool" and m.get("tool_call_id")}
    made: list[dict[str, Any]] = []
    answered: set[str] = set()
    for message in messages:
        if message.get("tool_calls"):
            made += _calls(message, results, answered)
        elif message["role"] == "tool" and message.get("tool_call_id") in answered:
            continue
        else:
            made.append({"type": _STEPS[message["role"]], "observation": message["content"]})
    if output:
        made.append({"type": "assistant_message", "observation": output})
    return made


_STEPS = {"system": "system_message", "user": "user_message", "assistant": "assistant_message", "tool": "tool_result"}


def _calls(message: Message, results: Mapping[str, str], answered: set[str]) -> Iterator[dict[str, Any]]:
    if message["content"]:
        yield {"type": "thought", "observation": message["content"]}
    for call in message["tool_calls"]:
        function = call["function"]
        step = {"type": "tool_call", "tool": function["name"], "arguments": function["arguments"]}
        if call["id"] in results and call["id"] not in answered:
            step["observation"] = results[call["id"]]
            answered.add(call["id"])
        yield step


def instruction(messages: Sequence[Message]) -> str:
    """Return what was asked last."""
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
