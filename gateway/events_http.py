"""CloudEvents over HTTP: the three content modes of the binding, read into events as JSON bytes (pure).

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from gateway.chat import media_type
from gateway.problems import MALFORMED, UNSUPPORTED, Problem

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PREFIX = "ce-"
MOST_EVENTS = 100_000
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_JSON = re.compile(r"(application|text)/json|[a-z0-9.!#$&^_+-]+/[a-z0-9.!#$&^_-]+\+json")
_batches = msgspec.json.Decoder(list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_encode = msgspec.json.Encoder().encode


class Received(NamedTuple):
    """The events of one request."""

    events: list[bytes]
    """Each one a CloudEvent in JSON, as it came in where that was possible."""
    batch: bool


def read_events(headers: Iterable[tuple[str, str]], body: bytes) -> Received:
    """Return the events of a request. Whether each is a valid event is the log's to say.

    Raises:
        Problem: 415 for another content type, 400 for what is not JSON or no CloudEvent at all.
    """
    named = [(name.lower(), value) for name, value in headers]
    content_type = next((value for name, value in named if name == "content-type"), None)
    kind = media_type(content_type)
    if kind == STRUCTURED:
        return Received([_whole(body)], batch=False)
    if kind == BATCH:
        return Received(_split(body), batch=True)
    attributes = [(name.removeprefix(PREFIX), value) for name, value in named if name.startswith(PREFIX)]
    if not attributes:
        raise Problem(
            UNSUPPORTED,
            f"{kind or 'no content type'} without ce- headers is no CloudEvent",
            f"send {STRUCTURED}, {BATCH}, or the event's attributes as ce- headers",
        )
    return Received([_binary(attributes, content_type, kind, body)], batch=False)


def _whole(body: bytes) -> bytes:
    """Return a structured event as it is: whoever logs it reads it anyway."""
    if not body.lstrip()[:1] == b"{":
        raise Problem(MALFORMED, "the body is not a JSON object", "send one CloudEvent, or a batch of them")
    return body


def _split(body: bytes) -> list[bytes]:
    try:
        found = [bytes(event) for event in _batches.decode(body)]
    except RecursionError:
        raise Problem(MALFORMED, "the batch is nested too deep", "send flatter events") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Problem(MALFORMED, f"the batch cannot be read: {error}", "send a JSON array of CloudEvents") from None
    if len(found) > MOST_EVENTS:
        raise Problem(MALFORMED, f"{len(found):,} events are too many at once", f"send up to {MOST_EVENTS:,}")
    return found


def _binary(attributes: list[tuple[str, str]], content_type: str | None, kind: str, body: bytes) -> bytes:
    event: dict[str, Any] = {}
    for name, value in attributes:
        if not _ATTRIBUTE.fullmatch(name) or name in {"data", "datacontenttype"}:
            raise Problem(MALFORMED, f"ce-{name} cannot be an attribute", "use lower-case letters and digits")
        if name in event:
            raise Problem(MALFORMED, f"the header ce-{name} comes twice", "send it once")
        event[name] = header_value(name, value)
    if content_type is not None:
        event["datacontenttype"] = content_type
    if body:
        event.update(_data(kind, body))
    return _encode(event)


def header_value(name: str, value: str) -> str:
    """Return an attribute's text from its header: quotes are taken off, then percent-encoded UTF-8 is decoded.

    Raises:
        Problem: 400 where that is not UTF-8.
    """
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        # The server hands over headers as Latin-1; what a sender wrote as plain UTF-8 is understood as well.
        return unquote(value.encode("latin-1").decode(), errors="strict")
    except UnicodeError:
        raise Problem(MALFORMED, f"the header ce-{name} is not percent-encoded UTF-8", "encode it so") from None


def _data(kind: str, body: bytes) -> dict[str, Any]:
    if not kind or _JSON.fullmatch(kind):
        try:
            return {"data": _raw.decode(body)}
        except RecursionError:
            raise Problem(MALFORMED, "the data is nested too deep", "send flatter data") from None
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise Problem(MALFORMED, f"the data is not the JSON it is said to be: {error}", "correct it") from None
    if kind.startswith("text/"):
        try:
            return {"data": body.decode()}
        except UnicodeDecodeError:
            raise Problem(MALFORMED, "the data is not UTF-8", "send it as application/octet-stream") from None
    return {"data_base64": base64.b64encode(body).decode()}
