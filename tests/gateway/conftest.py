"""A real registry with toy models, made once and copied for each test that moves something; gateways on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.app import create_app
from gateway.config import GatewayConfig
from registry.connection import connect
from registry.events import EventLog, Query
from registry.experiments import Arm, Experiment, Experiments
from registry.history import History
from registry.home import Home, now
from registry.models import Candidate, ModelRegistry
from registry.records import DatasetManifest
from registry.transitions import Actor, Transitions
from registry.trust.bundles import Bundles
from registry.trust.signing import Keyring

TOY = Path(__file__).parent / "toy_model.py"
LOCAL = "http://127.0.0.1"


class Place:
    """A home with an opened registry."""

    def __init__(self, root: Path) -> None:
        template = Path(sys.prefix) / "share" / "ratchet" / f"mlflow-{installed_version('mlflow')}.db"
        self.home = Home(root).create()
        self.registry = ModelRegistry(connect(self.home, template=template if template.exists() else None))
        self.client = self.registry.connection.client
        self.url = self.home.database_url

    @property
    def log(self) -> EventLog:
        return EventLog(self.url)

    @property
    def experiments(self) -> Experiments:
        return Experiments(self.url)

    @property
    def transitions(self) -> Transitions:
        return Transitions(self.registry, History(self.url), self.bundles)

    @property
    def bundles(self) -> Bundles:
        return Bundles(self.url, Keyring(self.home.keys), lambda: self.registry)

    def train(self, answer: str, code: Path = TOY, adapter: Path | None = None, model: str = "agent") -> str:
        """Register a version that gives this answer; return its number."""
        folder = self.home.scratch / "toy"
        if adapter is None:
            folder.mkdir()
            (folder / "answer.json").write_text(json.dumps({"answer": answer}))
        run = self.registry.tracking.start_run(model, f"run-{answer}", answer)
        made = self.registry.log_candidate(
            Candidate(model, run, adapter or folder, code, ["ratchet-learn"], answer, manifest(), "full_retrain")
        )
        self.bundles.attest(made, {}, by="ann")
        shutil.rmtree(folder, ignore_errors=True)
        return made.version

    def crown(self, number: str, model: str = "agent") -> None:
        """Make a version the champion: what a promotion does to the registry."""
        facts = {"aliases": {"champion": number}, "stages": {number: "production"}, "by": "ann"}
        history = History(self.url)
        intent = history.intend(model, {})
        self.bundles.decide(intent.intent_id, model, number, "promote", facts)
        self.client.set_model_version_tag(model, number, "stage", "production")
        self.client.set_registered_model_alias(model, "champion", number)
        history.append(model, number, "promote", before="staging", after="production", by="ann")
        history.close_intent(intent.intent_id)

    def execution(self, trace: str) -> dict[str, Any]:
        """The logged event of an answer, once it is there."""
        return self.executions(lambda found: any(each["id"] == trace for each in found), trace)[0]

    def executions(self, enough: Callable[[list[dict[str, Any]]], bool], trace: str | None = None) -> list[Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = [each.event for each in self.log.query(Query(types=["execution.completed"], shadow=None))]
            if enough(found):
                return [each for each in found if trace in {None, each["id"]}]
            time.sleep(0.05)
        raise AssertionError(f"not in the log: {trace}")


def manifest() -> DatasetManifest:
    return DatasetManifest(
        name="agent", version="1.0.0", digest="d" * 64, splits={"train": 8, "validation": 1, "test": 1},
        source_digest="e" * 64, code_version="0.1.0",
    )  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """Return a home with three versions of `agent`; the first is the champion."""
    place = Place(tmp_path_factory.mktemp("gateway") / "home")
    numbers = [place.train(f"answer {number}") for number in (1, 2, 3)]
    place.crown(numbers[0])
    return place.home.root


@pytest.fixture
def place(made, tmp_path) -> Place:
    """Return a copy of it that a test may change."""
    shutil.copytree(made, tmp_path / "home")
    return Place(tmp_path / "home")


def config_of(place: Place, **more) -> GatewayConfig:
    told = {"home": place.home.root, "records_url": place.url, "poll_seconds": 0.1, "port": 0}
    return GatewayConfig(**told | more)


class Asked:
    """A gateway in this process, asked without a socket, from another thread's event loop."""

    def __init__(self, config: GatewayConfig) -> None:
        self.app = create_app(config)
        self.gateway = self.app.state.gateway
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.do(self.lifespan.__aenter__())
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("127.0.0.1", 1))
        self.http = httpx.AsyncClient(transport=transport, base_url=LOCAL)

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def get(self, path: str, **more) -> httpx.Response:
        return self.do(self.http.get(path, **more))

    def post(self, path: str, **more) -> httpx.Response:
        return self.do(self.http.post(path, **more))

    def chat(self, text: str = "hello", unit: str = "ann", **more) -> httpx.Response:
        headers = {"x-ratchet-unit": unit} | more.pop("headers", {})
        body = {"model": "agent", "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", json=body, headers=headers)

    def ready(self) -> Asked:
        self.until(lambda: self.get("/readyz").status_code == 200)
        return self

    def until(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.get("/readyz").text
            time.sleep(0.02)

    def close(self) -> None:
        self.do(self.http.aclose())
        self.do(self.lifespan.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


@pytest.fixture
def opened():
    """Return a function that opens a gateway on a home: `opened(place, poll_seconds=0.1)`."""
    with contextlib.ExitStack() as stack:

        def open_(place: Place, **more) -> Asked:
            asked = Asked(config_of(place, **more))
            stack.callback(asked.close)
            return asked

        yield open_


@pytest.fixture(scope="session")
def shared(made, tmp_path_factory):
    """Return a place and a ready gateway on it, for tests that only ask."""
    root = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(made, root)
    place = Place(root)
    asked = Asked(config_of(place)).ready()
    yield SimpleNamespace(place=place, gateway=asked)
    asked.close()


@pytest.fixture
def served():
    """Return a function that serves an ASGI application on a free port of this machine and returns its address."""
    with contextlib.ExitStack() as stack:

        def serve(app) -> str:
            server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.01)

            def stop() -> None:
                server.should_exit = True
                thread.join(10)

            stack.callback(stop)
            return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

        yield serve


@pytest.fixture(scope="session")
def toys():
    """Return what tests make things with; test files cannot import this one."""

    def experiment(share: float = 0.5, mode: str = "live", challenger: str = "2") -> Experiment:
        arms = [Arm(name="control", version="1"), Arm(name="challenger", version=challenger)]
        return Experiment(key="exp-1", model="agent", arms=arms, share=share, mode=mode, started=now(), by="ann")

    def event(identity: str = "e-1", **more) -> dict[str, Any]:
        return {"specversion": "1.0", "id": identity, "source": "toy", "type": "execution.completed", **more}

    return SimpleNamespace(
        experiment=experiment, event=event, config=config_of, actor=Actor("ann"), asked=Asked, place=Place
    )
