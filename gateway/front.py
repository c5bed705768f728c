"""What every request passes: who it is, how many there are, how it ended. Plain ASGI, for it is on every path."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.auth import Tokens, check_host, require
from gateway.limits import Buckets
from gateway.metrics import Metrics
from gateway.problems import UNEXPECTED, Problem

SCOPES: Mapping[str, str | None] = {
    "/v1/chat/completions": "infer",
    "/v1/models": "infer",
    "/route": "infer",
    "/events": "ingest",
    "/feedback": "ingest",
    "/metrics": "admin",
    "/healthz": None,
    "/readyz": None,
    "/openapi.json": None,
}
"""The scope that each path asks for; None for those that are open to everybody who can connect."""
OTHER = "other"
Handler = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger(__name__)


class Front:
    """The outermost layer: admits requests, counts them, and turns whatever goes wrong into a problem.

    Args:
        app: Answers all other requests.
        posts: What answers a POST to these paths. They are the busiest, and the framework's layers in between would
            take a quarter of the event loop's time.
        tokens: Who is let in.
        buckets: How often.
        metrics: Where it is counted.
    """

    def __init__(
        self, app: ASGIApp, posts: Mapping[str, Handler], tokens: Tokens, buckets: Buckets, metrics: Metrics
    ) -> None:
        self._app, self._posts, self._tokens, self._buckets, self._metrics = app, posts, tokens, buckets, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"]
        try:
            self._admit(scope, path)
            handler = self._posts.get(path) if scope["method"] == "POST" else None
            if handler is None:
                await self._app(scope, receive, noting)
            else:
                response = await handler(Request(scope, receive))
                await response(scope, receive, noting)
        except ClientDisconnect:
            _log.debug("the caller of %s hung up", path)
        except Exception as error:
            problem = _as_problem(error, path)
            if status:  # too late to answer anything else: the connection breaks off
                raise
            await problem.response()(scope, receive, noting)
        finally:
            route = path if path in SCOPES else OTHER
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - began)

    def _admit(self, scope: Scope, path: str) -> None:
        needed = SCOPES.get(path)
        if needed is None:
            return
        headers = _headers(scope)
        if not self._tokens:
            check_host(headers.get(b"host"))
        client = scope.get("client")
        address = client[0] if client else "an unknown address"
        try:
            caller = self._tokens.caller(headers.get(b"authorization"), address)
        except Problem:
            self._buckets.take(address)  # guessing is limited as well
            raise
        self._buckets.take(caller.name)
        require(caller, needed)


def _headers(scope: Scope) -> dict[bytes, str]:
    wanted = (b"host", b"authorization")
    return {name: value.decode("latin-1") for name, value in scope["headers"] if name in wanted}


def _as_problem(error: Exception, path: str) -> Problem:
    if isinstance(error, Problem):
        return error
    _log.exception("unexpected failure of %s", path, exc_info=error)
    return Problem(UNEXPECTED, f"unexpected {type(error).__name__}", "see the gateway's log, and report it")
