"""Versions that are served elsewhere: their OpenAI-compatible server is asked, and its answer passed on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from typing import Any, NamedTuple

import httpx
import msgspec

from gateway.auth import origin_of
from gateway.chat import DONE, sse
from gateway.problems import BUSY, MALFORMED, MODEL_FAILED, MODEL_LATE, Problem
from registry.serving import Servable

MOST_BYTES = 64 << 20
"""The largest answer that is taken."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Reply(NamedTuple):
    """A whole answer of another server."""

    body: bytes
    text: str
    usage: dict[str, Any]


class Streamed:
    """What a stream has said so far."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.usage: dict[str, Any] = {}
        self.failed: str | None = None
        self.finished = False

    @property
    def text(self) -> str:
        """The answer, joined."""
        return "".join(self.parts)

    def take(self, data: bytes) -> None:
        """Note what one server-sent event says."""
        if data == b"[DONE]":
            self.finished = True
            return
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(chunk, dict):
            return
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        if chunk.get("error"):
            self.failed = "the server reported an error in its stream"
        delta = _first(chunk).get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("content"), str):
            self.parts.append(delta["content"])


class Keys(httpx.Auth):
    """Gives each server the key that was named for it, and no other server any."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the key."""
        key = self._keys.get(origin_of(str(request.url)) or "")
        if key is not None:
            request.headers["authorization"] = f"Bearer {key}"
        yield request


def client(answer_seconds: float, keys: Mapping[str, str]) -> httpx.AsyncClient:
    """Return a client for all endpoints; it keeps connections open and follows no redirect."""
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=64)
    timeout = httpx.Timeout(answer_seconds, connect=min(5.0, answer_seconds))
    return httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, auth=Keys(keys) if keys else None)


def request_body(servable: Servable, body: bytes, *, stream: bool) -> bytes:
    """Return the caller's request with the name that the model has over there, streamed or not, all else as it came.

    Raises:
        Problem: 400 it holds what cannot be passed on, such as a number that no double can hold.
    """
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Problem(MALFORMED, f"the body cannot be passed on: {error}", "correct it") from None
    if not stream:  # a shadow of a request that is streamed
        fields = {name: value for name, value in fields.items() if name not in {"stream", "stream_options"}}
    return _encode({**fields, "model": servable.endpoint_model})


async def ask(http: httpx.AsyncClient, servable: Servable, body: bytes) -> Reply:
    """Return a whole answer.

    Raises:
        Problem: 502 it cannot be reached or answers something else, 504 it takes too long, 503 it is busy, 400 it
            refuses the request.
    """
    response = await open_answer(http, servable, body)
    try:
        content = await _bounded(response, servable)
    except httpx.TimeoutException:
        raise _late(servable) from None
    except httpx.HTTPError as error:
        raise _failed(servable, type(error).__name__) from None
    finally:
        await response.aclose()
    try:
        answer = _decode(content)
        text = _first(answer)["message"].get("content") or ""
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, RecursionError):
        raise _failed(servable, "its answer is no chat completion") from None
    if not isinstance(text, str):
        raise _failed(servable, "its answer has no text")
    usage = answer.get("usage")
    return Reply(content, text, usage if isinstance(usage, dict) else {})


async def open_answer(http: httpx.AsyncClient, servable: Servable, body: bytes) -> httpx.Response:
    """Return the response of a server that has said yes, its body still to be read; the caller closes it.

    Raises:
        Problem: as `ask`.
    """
    url, headers = f"{servable.endpoint}/chat/completions", {"content-type": "application/json"}
    try:
        response = await http.send(http.build_request("POST", url, content=body, headers=headers), stream=True)
    except httpx.TimeoutException:
        raise _late(servable) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(servable, type(error).__name__) from None
    if response.status_code == httpx.codes.OK:
        return response
    await response.aclose()
    raise _refused(servable, response.status_code)


async def passed_on(response: httpx.Response, said: Streamed) -> AsyncIterator[bytes]:
    """Yield the server-sent events of a stream as they come, and note what they say."""
    try:
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                data = line[5:].strip().encode()
                said.take(data)
                yield sse(data)
                if said.finished:
                    return
        said.failed = said.failed or "the stream ended without [DONE]"
    except httpx.HTTPError as error:
        said.failed = f"the stream broke off: {type(error).__name__}"
    yield sse(_encode({"error": {"message": said.failed, "type": "server_error", "code": MODEL_FAILED.code}}))
    yield DONE


async def _bounded(response: httpx.Response, servable: Servable) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MOST_BYTES:
            raise _failed(servable, f"its answer is larger than {MOST_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _first(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _refused(servable: Servable, status: int) -> Problem:
    """Return what another server's status means here: what it blames on the request, the gateway does, too."""
    if status in {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}:
        name = f"{servable.version.name} version {servable.version.version}"
        return Problem(MALFORMED, f"the server of {name} refused the request with {status}", "correct the request")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Problem(BUSY, "the model's server is busy", "come again", {"retry-after": "1"})
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return _failed(servable, f"it answered {status}: RATCHET_GATEWAY_ENDPOINT_KEYS has no key that it takes")
    return _failed(servable, f"it answered {status}")


def _failed(servable: Servable, reason: str) -> Problem:
    version = servable.version
    what = f"the server of {version.name} version {version.version} failed: {reason}"
    return Problem(MODEL_FAILED, what, "try again; if it stays so, its tag `endpoint` or that server is wrong")


def _late(servable: Servable) -> Problem:
    version = servable.version
    what = f"the server of {version.name} version {version.version} did not answer in time"
    return Problem(MODEL_LATE, what, "try again, or ask for less")
