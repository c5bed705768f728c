"""Customers who talk to the gateway, and a ledger of everything that it acknowledged."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
from world import Ask, World

CLIENTS = 8
PATIENCE = 90.0
"""Seconds that a customer asks again while nobody answers."""
DESK = "helpdesk"


class Answer(NamedTuple):
    """What one customer got."""

    ask: Ask
    trace: str
    version: str
    arm: str | None
    content: bool


@dataclass
class Ledger:
    """What was acknowledged, and must be in the log exactly once."""

    traces: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    """Ids of feedback and of what the helpdesk wrote."""
    arms: dict[str, set[str]] = field(default_factory=dict)
    """The versions that each customer was answered by, since the last `forget`."""
    retried: Counter[str] = field(default_factory=Counter)
    """Why requests had to be sent again."""


class Traffic:
    """Sends the customers' questions through the gateway, and their feedback after it."""

    def __init__(self, world: World, gateway: Callable[[], str], model: str) -> None:
        self.world, self.gateway, self.model = world, gateway, model
        self.ledger = Ledger()
        self._lock = threading.Lock()
        self._clients = threading.local()

    def day(self, units: Sequence[str], questions: int = 2) -> list[Answer]:
        """Let every customer ask `questions` times, and say what each got. What was not known the helpdesk answers."""
        asks = [self.world.ask(unit) for unit in units for _ in range(questions)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(self._serve, asks))
        self._say([event for answer in answers for event in self._said(answer)])
        return answers

    # --- one customer ------------------------------------------------------------------------------------------------

    def _serve(self, ask: Ask) -> Answer:
        body = {"model": self.model, "messages": [{"role": "user", "content": ask.prompt}], "user": ask.unit}
        headers = {"x-ratchet-unit": ask.unit, "x-ratchet-domain": ask.domain}
        reply = self._post("/v1/chat/completions", body, headers)
        text = reply.json()["choices"][0]["message"]["content"]
        version, trace = reply.headers["x-ratchet-version"], reply.headers["x-ratchet-trace"]
        with self._lock:
            self.ledger.traces.add(trace)
            self.ledger.arms.setdefault(ask.unit, set()).add(version)
            content = self.world.content(ask, text, version)
        return Answer(ask, trace, version, reply.headers.get("x-ratchet-arm"), content)

    def _said(self, answer: Answer) -> Iterator[dict[str, Any]]:
        """Yield what follows an answer: the customer's feedback, and the helpdesk's answer where there was none."""
        ask = answer.ask
        value = "up" if answer.content else "down"
        yield _event("feedback.recorded", ask.unit, {
            "trace_id": answer.trace, "kind": "thumbs", "value": value, "user": ask.unit,
        })  # fmt: skip
        if not answer.content and ask.new:
            yield _event("execution.completed", ask.unit, {
                "trace_id": uuid.uuid4().hex, "agent": DESK, "model_version": "people",
                "task": {"type": "chat", "domain": ask.domain, "instruction": ask.prompt},
                "steps": [], "output": ask.right, "status": "success", "quality_score": 96, "confidence": 0.97,
            })  # fmt: skip

    # --- the gateway -------------------------------------------------------------------------------------------------

    def _say(self, events: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(events), 200):
            some = events[start : start + 200]
            done = self._post("/events", some, {"content-type": "application/cloudevents-batch+json"}).json()
            assert not done["rejected"], f"the gateway refused events: {done['rejected'][:2]}"
            self.ledger.events |= {event["id"] for event in some}

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        """Ask the gateway; while it is down, ask again. Events have ids of their own, so that none is doubled."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                client = getattr(self._clients, "client", None) or httpx.Client(timeout=20)
                self._clients.client = client
                reply = client.post(f"{self.gateway()}{path}", json=body, headers=headers)
                if reply.status_code < 500:
                    assert reply.status_code < 400, f"{path}: {reply.status_code} {reply.text[:300]}"
                    return reply
                failure = f"{reply.status_code} {reply.json().get('detail', '')[:160]}"
            except (httpx.TransportError, KeyError) as error:
                failure = type(error).__name__
                self._clients.client = None
            assert time.monotonic() < deadline, f"the gateway does not answer {path}: {failure}"
            with self._lock:
                self.ledger.retried[failure] += 1
            time.sleep(0.2)


def _event(kind: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": uuid.uuid4().hex, "source": f"https://shop.example.com/{DESK}", "type": kind,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "subject": subject,
        "datacontenttype": "application/json", "data": data,
    }  # fmt: skip


def shares(answers: Sequence[Answer]) -> str:
    """Return who answered how many, and how content people were, as text."""
    count = Counter(answer.version for answer in answers)
    happy = Counter(answer.version for answer in answers if answer.content)
    return ", ".join(f"version {v}: {n} answers, {happy[v] / n:.0%} content" for v, n in sorted(count.items()))
