"""What a caller did wrong, or what went wrong here, as RFC 9457 problem JSON. All its codes are in this one file."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from registry.errors import RatchetError

MEDIA_TYPE = "application/problem+json"
MOST_TEXT = 500
"""Characters of a detail: it may repeat what the caller sent."""


class Kind(NamedTuple):
    """One kind of problem."""

    code: str
    status: int


UNAUTHORIZED = Kind("E7873", 401)
FORBIDDEN = Kind("E7874", 403)
TOO_LARGE = Kind("E7875", 413)
TOO_MANY = Kind("E7876", 429)
UNSUPPORTED = Kind("E7877", 415)
MALFORMED = Kind("E7878", 400)
NO_SUCH_PATH = Kind("E7879", 404)
NO_SUCH_METHOD = Kind("E7879", 405)
NO_SUCH_MODEL = Kind("E7880", 404)
NOTHING_SERVES = Kind("E7881", 503)
MODEL_FAILED = Kind("E7882", 502)
MODEL_LATE = Kind("E7883", 504)
BUSY = Kind("E7884", 503)
LOG_GONE = Kind("E7885", 503)
EVENT_REFUSED = Kind("E7886", 400)
WRONG_HOST = Kind("E7887", 421)
NOT_SERVABLE = Kind("E7888", 409)
UNEXPECTED = Kind("E7889", 500)


class Problem(Exception):
    """A request that is answered with a problem.

    Args:
        kind: Its code and HTTP status.
        what: What happened, one sentence without a full stop.
        todo: What the caller can do.
        headers: Headers of the answer, such as `Retry-After`.
        more: Further members of the problem.
    """

    def __init__(self, kind: Kind, what: str, todo: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(f"{kind.code}: {what}; {todo}")
        self.kind, self.what, self.todo, self.headers, self.more = kind, what, todo, dict(headers or {}), more

    def response(self) -> Response:
        """Return the answer."""
        body = {
            "type": f"urn:ratchet:{self.kind.code}",
            "title": HTTPStatus(self.kind.status).phrase,
            "status": self.kind.status,
            "detail": f"{_plain(self.what)}; {_plain(self.todo)}",
            "code": self.kind.code,
            **self.more,
        }
        return Response(msgspec.json.encode(body), self.kind.status, self.headers, MEDIA_TYPE)


def from_error(error: RatchetError, kind: Kind) -> Problem:
    """Return one of Ratchet's own errors as a problem: its own code and words, with the status of `kind`."""
    return Problem(Kind(error.code, kind.status), error.what, error.todo)


def _plain(text: str) -> str:
    """Return a text that JSON can hold, whatever bytes of a request it repeats."""
    return text[:MOST_TEXT].encode("utf-8", "replace").decode()
