"""The gateway's table of contents: its paths, what they need, and what is opened and closed around them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi
from gateway.answering import Answering
from gateway.auth import load_keys, load_tokens
from gateway.completions import check_served, chosen, complete, explained, served_models
from gateway.config import GatewayConfig
from gateway.events_http import read_events
from gateway.feedback import read_feedback
from gateway.front import Front
from gateway.ingest import Ingest, Outcome
from gateway.limits import Buckets, read_body
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.models import Models, Running
from gateway.problems import (
    EVENT_REFUSED,
    MALFORMED,
    NO_SUCH_METHOD,
    NO_SUCH_PATH,
    UNEXPECTED,
    Kind,
    Problem,
)
from gateway.routing import wanted
from registry import __version__
from registry.connection import connect
from registry.events import EventLog
from registry.experiments import Experiments
from registry.home import Home
from registry.models import ModelRegistry
from registry.serving import Serving
from registry.spool import Spool
from registry.trust.bundles import Bundles
from registry.trust.signing import Keyring

_encode = msgspec.json.Encoder().encode


class Gateway:
    """What one gateway holds while it runs."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.home = Home(config.home)
        self.metrics = Metrics()
        self.models = Models(self._open_database, self._open_registry, config.poll_seconds, self.metrics)
        self.log: EventLog | None = None
        self.ingest: Ingest
        self.spool: Spool
        self.answering: Answering

    def _open_database(self) -> Running:
        """Open the log and the experiments; the background thread calls it until it succeeds."""
        self.log = EventLog(self.config.records_url)
        self.ingest.attach(self.log)
        return Experiments(self.config.records_url).running

    def _open_registry(self) -> Serving:
        """Open the registry; the background thread calls it until it succeeds."""
        config = self.config
        connection = connect(
            self.home, config.mlflow_uri, template=config.mlflow_template, timeout=config.mlflow_timeout
        )
        registry = ModelRegistry(connection)
        keyring = Keyring(self.home.keys, trusted=config.trusted_keys)
        return Serving(registry, Bundles(config.records_url, keyring, lambda: registry))

    def _deliver(self, lines: Any) -> object:
        if self.log is None:
            raise ConnectionError("the event log is not open yet")
        return self.log.append(lines)

    @contextlib.asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Open everything, and at the end write what waits and close it."""
        self.home.create()
        self.ingest = Ingest(self.log, self.config.waiting_bytes)
        self.spool = Spool(self.home.root / "spool", self._deliver)
        self.answering = Answering(self.config, self.metrics, self._write)
        self.models.start()
        try:
            yield
        finally:
            self.models.stop()
            await self.answering.close()
            await asyncio.to_thread(self.ingest.close)
            await asyncio.to_thread(self.spool.close)

    def _write(self, line: bytes) -> None:
        if not self.spool.put(line):
            raise OSError("the spool is full, or its disk is")

    # --- paths -----------------------------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """Answer with the champion, or with the arm of the running experiment."""
        return await complete(request, self.config, self.models, self.answering)

    async def listed(self) -> Response:
        """List the models that are served, in OpenAI's form."""
        return _json(await served_models(self.models))

    async def events(self, request: Request) -> Response:
        """Append CloudEvents to the log; they are on disk when this answers."""
        body = await read_body(request, self.config.batch_bytes)
        received = read_events(request.headers.items(), body)
        outcome = await self._appended(received.events)
        if received.events and len(outcome.rejected) == len(received.events):
            first = outcome.rejected[0]
            raise Problem(
                Kind(first.code, EVENT_REFUSED.status),
                first.reason if not received.batch else f"no event of the batch was taken: {first.reason}",
                "correct the event; docs/events.md has the format",
                rejected=_listed(outcome),
            )
        return _json(
            {"appended": outcome.appended, "duplicate": outcome.duplicate, "rejected": _listed(outcome)}
        )  # fmt: skip

    async def feedback(self, request: Request) -> Response:
        """Append a judgement of an answer to the log."""
        body = await read_body(request, self.config.chat_bytes)
        feedback = read_feedback(body, request.headers.get("content-type"), self.config.source)
        outcome = await self._appended([feedback.event])
        return _json({"id": feedback.id, "appended": outcome.appended, "duplicate": outcome.duplicate})

    async def _appended(self, events: list[bytes]) -> Outcome:
        outcome = await self.ingest.append(events)
        counts = {"appended": outcome.appended, "duplicate": outcome.duplicate, "rejected": len(outcome.rejected)}
        for name, count in counts.items():
            self.metrics.events.labels(name).inc(count)
        return outcome

    async def route(self, model: str, unit: str = "") -> Response:
        """Tell which version would answer a unit, and why."""
        return _json(explained(await chosen(self.models, wanted(model), unit)))

    async def alive(self) -> Response:
        """Tell that the process lives."""
        return _json({"status": "alive", "version": __version__})

    async def ready(self) -> Response:
        """Tell whether database, registry and a champion are there."""
        return _json(check_served(self.models))

    async def page(self) -> Response:
        """Tell what was counted, for Prometheus."""
        confirmed = self.models.confirmed
        self.metrics.snapshot_age.set(-1 if confirmed is None else time.monotonic() - confirmed)
        self.metrics.backlog.set(self.spool.waiting)
        return Response(self.metrics.page(), headers={"content-type": CONTENT_TYPE})


def create_app(config: GatewayConfig) -> FastAPI:
    """Return the gateway as an ASGI application.

    Raises:
        SettingsError: E7870 no tokens and an address that others reach, E7871 the file of tokens or of endpoint keys
            is not usable.
    """
    tokens = load_tokens(config.tokens, config.host)
    load_keys(config.endpoint_keys)  # so that a fault is told before anything is opened
    gateway = Gateway(config)
    app = FastAPI(
        title="Ratchet gateway",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=gateway.running,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    post, get, problems = ["POST"], ["GET"], openapi.PROBLEMS
    app.add_api_route(
        "/v1/chat/completions", gateway.chat, methods=post, openapi_extra=openapi.CHAT, responses=problems
    )
    app.add_api_route("/v1/models", gateway.listed, methods=get, responses=problems)
    app.add_api_route("/events", gateway.events, methods=post, openapi_extra=openapi.EVENTS, responses=openapi.OUTCOME)
    app.add_api_route("/feedback", gateway.feedback, methods=post, openapi_extra=openapi.FEEDBACK, responses=problems)
    app.add_api_route("/route", gateway.route, methods=get, responses=problems)
    app.add_api_route("/healthz", gateway.alive, methods=get)
    app.add_api_route("/readyz", gateway.ready, methods=get, responses=problems)
    app.add_api_route("/metrics", gateway.page, methods=get, responses=problems)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_exception_handler(RequestValidationError, _misfit)
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(openapi.components())
        return schema

    app.openapi = described  # type: ignore[method-assign]
    app.add_middleware(
        Front,
        posts={"/v1/chat/completions": gateway.chat, "/events": gateway.events, "/feedback": gateway.feedback},
        tokens=tokens,
        buckets=Buckets(config.requests_per_second, config.burst),
        metrics=gateway.metrics,
    )
    return app


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: NO_SUCH_PATH, 405: NO_SUCH_METHOD}
    kind = kinds.get(error.status_code, Kind(UNEXPECTED.code, error.status_code))
    what = f"{request.method} {request.url.path}: {error.detail}"
    return Problem(kind, what, "/openapi.json lists the paths", error.headers).response()


async def _misfit(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return Problem(MALFORMED, faults, "/openapi.json shows the form").response()


def _listed(outcome: Outcome) -> list[dict[str, Any]]:
    return [rejected._asdict() for rejected in outcome.rejected]


def _json(value: Any) -> Response:
    return Response(_encode(value), media_type="application/json")
