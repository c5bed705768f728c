"""How much one may send: bodies are measured while they are read, requests are counted per caller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from gateway.problems import MALFORMED, TOO_LARGE, TOO_MANY, Problem

MOST_CALLERS = 10_000
"""Callers that are remembered; those that were silent longest are forgotten."""


class Buckets:
    """One token bucket a caller: `rate` requests a second for long, `burst` at once.

    Args:
        rate: Requests a second; 0 for no limit.
        burst: Requests at once.
        clock: Seconds that only grow.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count one request of a caller.

        Raises:
            Problem: 429 with `Retry-After` where it is one too many.
        """
        if not self._rate:
            return
        now = self._clock()
        level, before = self._levels.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - before) * self._rate)
        self._levels[caller] = (level - 1 if level >= 1 else level, now)
        if len(self._levels) > MOST_CALLERS:
            del self._levels[next(iter(self._levels))]
        if level < 1:
            wait = max(1, math.ceil((1 - level) / self._rate))
            raise Problem(
                TOO_MANY,
                f"more than {self._rate:g} requests a second came from {caller}",
                f"send several events in one batch, or come again in {wait} s",
                {"retry-after": str(wait)},
            )


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body, which is refused as soon as it grows above `most` bytes.

    Raises:
        Problem: 413 too large, 400 where the caller went away or `Content-Length` is no number.
    """
    announced = request.headers.get("content-length")
    if announced is not None:
        if not (announced.isascii() and announced.isdigit()):
            raise Problem(MALFORMED, "Content-Length is no number", "correct it")
        if int(announced[:20]) > most:
            raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
    except ClientDisconnect:
        raise Problem(MALFORMED, "the connection was closed before the body ended", "send it again") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(most: int) -> Problem:
    # The rest of the body stays unread, so the connection cannot be used again.
    return Problem(TOO_LARGE, f"the body is larger than {most:,} bytes", "send less at once", {"connection": "close"})
