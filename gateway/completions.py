"""`POST /v1/chat/completions` and `GET /route`: from a request to who answers it, and back."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.answering import Answering
from gateway.chat import JSON, LONGEST_NAME, ChatRequest, conversation, read_request, words
from gateway.config import GatewayConfig
from gateway.executions import Asked
from gateway.limits import read_body
from gateway.models import Models
from gateway.problems import MALFORMED, NOTHING_SERVES, Problem
from gateway.routing import Choice, Wanted, choose, explicit, not_servable, number_of, route_of, wanted
from registry.errors import RatchetError
from registry.event_rows import new_id
from registry.home import now

START_SECONDS, LOOK_SECONDS = 30.0, 0.02
"""How long a question waits for a gateway that has just started and is still loading, and how often it looks."""
UNIT, SESSION, DOMAIN = "x-ratchet-unit", "x-ratchet-session", "x-ratchet-domain"
EVENT_STREAM = "text/event-stream"


async def complete(request: Request, config: GatewayConfig, models: Models, answering: Answering) -> Response:
    """Answer one chat completion."""
    body = await read_body(request, config.chat_bytes)
    chat = read_request(body, request.headers.get("content-type"))
    asked = _asked(request, chat)
    choice = await chosen(models, wanted(chat.model), asked.unit)
    headers = _headers(choice, asked.trace)
    try:
        answer = await answering.answer(choice, asked, chat, body)
    except Problem as problem:
        problem.headers |= headers
        raise
    headers["server-timing"] = f"model;dur={answer.seconds * 1000:.3f}"
    if isinstance(answer.body, bytes):
        return Response(answer.body, headers=headers, media_type=JSON)
    headers["cache-control"] = "no-cache"
    return StreamingResponse(answer.body, headers=headers, media_type=EVENT_STREAM)


async def chosen(models: Models, asked: Wanted, unit: str) -> Choice:
    """Return what answers: the version that was asked for, else what routing says.

    Raises:
        Problem: 404 no such model or version, 409 the version cannot be served, 503 nothing serves.
    """
    if not models.looked:
        await _started(models)
    route = route_of(models.snapshot, asked.model)
    number = number_of(route, asked)
    if number is None or (asked.version == "champion" and number not in route.versions):
        return choose(route, asked.model, unit)
    loaded = models.ready(asked.model, number)
    if loaded is None:
        try:
            loaded = await asyncio.to_thread(models.fetch, asked.model, number)
        except RatchetError as error:
            raise not_servable(asked.model, number, error) from None
    return explicit(loaded, asked.model)


async def _started(models: Models) -> None:
    """Wait for the first look at the registry: it takes seconds, and a restart should cost nobody an answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while not models.looked:
                await asyncio.sleep(LOOK_SECONDS)


def _asked(request: Request, chat: ChatRequest) -> Asked:
    metadata = chat.metadata or {}
    session = name_of(request, SESSION) or _short("metadata.session_id", metadata.get("session_id"))
    user = _short("user", chat.user)
    messages = conversation(chat)
    return Asked(
        trace=new_id(),
        time=now(),
        unit=name_of(request, UNIT) or user or session or f"anonymous-{secrets.token_hex(8)}",
        session=session,
        user=user,
        domain=name_of(request, DOMAIN) or _short("metadata.domain", metadata.get("domain")),
        messages=messages,
        tokens_in=words(messages),
    )


def name_of(request: Request, header: str) -> str | None:
    """Return the text of a header, which may be UTF-8.

    Raises:
        Problem: 400 where it is too long.
    """
    value = request.headers.get(header)
    if value is None:
        return None
    with contextlib.suppress(UnicodeDecodeError):  # then it is Latin-1, as HTTP has it
        value = value.encode("latin-1").decode()
    return _short(header, value)


def _short(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else str(value)
    if len(text) > LONGEST_NAME:
        raise Problem(MALFORMED, f"{name} has {len(text)} characters", f"send up to {LONGEST_NAME}")
    return text


def _headers(choice: Choice, trace: str) -> dict[str, str]:
    headers = {"x-ratchet-version": choice.served.number, "x-ratchet-trace": trace}
    if choice.experiment is not None and choice.arm is not None:
        headers["x-ratchet-experiment"] = quote(choice.experiment)
        headers["x-ratchet-arm"] = quote(choice.arm)
    return headers


def explained(choice: Choice) -> dict[str, str | None]:
    """Return what `GET /route` says of a choice."""
    return {
        "model": choice.model,
        "version": choice.served.number,
        "experiment": choice.experiment,
        "arm": choice.arm,
        "shadow": choice.shadow.number if choice.shadow is not None else None,
        "why": choice.why,
    }


async def served_models(models: Models) -> dict[str, object]:
    """Return the models that are served, each under the name that a chat completion asks for it by."""
    if not models.looked:
        await _started(models)
    champions = {name: route.versions.get(route.champion or "") for name, route in models.snapshot.routes.items()}
    data = [
        {"id": name, "object": "model", "created": _seconds(found.servable.version.created), "owned_by": "ratchet"}
        for name, found in sorted(champions.items())
        if found is not None
    ]
    return {"object": "list", "data": data}


def _seconds(time: str | None) -> int:
    return int(datetime.fromisoformat(time).timestamp()) if time else 0


def check_served(models: Models) -> dict[str, object]:
    """Return the champions that serve, where everything is as it should be.

    Raises:
        Problem: 503 with every check.
    """
    routes = models.snapshot.routes
    champions = {name: route.champion for name, route in routes.items()}
    problems = [route.problem for route in routes.values() if route.problem]
    checks = {name: {"ok": found.ok, "detail": found.detail} for name, found in models.health.items()}
    serves = any(champions.values())
    checks["champion"] = {"ok": serves, "detail": "; ".join(problems) if problems or serves else "no model serves"}
    failing = [name for name, check in checks.items() if not check["ok"]]
    if failing:
        todo = "see the checks; what is loaded goes on serving"
        raise Problem(NOTHING_SERVES, f"not ready: {', '.join(failing)}", todo, checks=checks, champions=champions)
    return {"status": "ready", "checks": checks, "champions": champions}
