"""Every component looks at itself, in a sandbox: it does a piece of its work, and says when that came out wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from flows.audit import verified
from flows.dataset import build_dataset
from flows.looked import Check, looked_at
from flows.policy import Policy
from flows.stores import Stores
from flows.verification_signing import evidence_of, register
from registry.audit import retention
from registry.audit.log import Entry
from registry.errors import IntegrityError, RatchetError
from registry.records import SPLITS
from registry.transitions import Actor
from tasks.curation.redact import redact_text
from tasks.extraction.inputs import find_inputs
from tasks.promotion.gates import decide
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.simulated import SimulatedBackend
from tasks.verification.faults import PERSONAL
from tasks.verification.sample import make_events

BY = Actor("verifier")
SAMPLE = 240
PROMPT = "Hello, how do I clean the lamp?"
GATEWAY_SECONDS = 20.0


def component_checks(stores: Stores, *, gateway: bool) -> list[Check]:
    """Return what every component says of itself.

    Args:
        stores: Of a sandbox; versions are registered and promoted in it.
        gateway: Whether a gateway is started as well, which takes seconds.
    """
    looks: list[tuple[str, Callable[[Stores], str]]] = [
        ("signatures", _signatures),
        ("audit log", _audit_log),
        ("event log", _event_log),
        ("redaction", _redaction),
        ("dataset", _dataset),
        ("registry", _registry),
    ]
    if gateway:
        looks.append(("gateway", _gateway))
    return [looked_at(name, partial(look, stores)) for name, look in looks]


def _signatures(stores: Stores) -> str:
    kind = "application/vnd.ratchet.check+json"
    envelope = stores.keyring.own().sign({"said": "yes"}, kind)
    _check(stores.keyring.trust().opened(envelope, kind).payload == {"said": "yes"}, "what was signed is not read back")
    forged = json.dumps({**json.loads(envelope), "payload": "eyJzYWlkIjogIm5vIn0="})
    try:
        stores.keyring.trust().opened(forged, kind)
    except IntegrityError:
        return "a signed statement is read, an altered one refused"
    raise _wrong("an altered statement is read as if it was signed")


def _audit_log(stores: Stores) -> str:
    stores.audit.append_many(Entry("trial", "verified", {"number": i}) for i in range(50))
    _check(bool(verified(stores)["ok"]), "a log that nobody touched is said to be tampered with")
    records = list(stores.audit.records())
    with stores.audit.engine.begin() as connection, retention.mutable(connection, "audit"):
        connection.execute(
            sa.text("UPDATE audit SET by = 'somebody' WHERE sequence = :at"),
            {"at": records[len(records) // 2].sequence},
        )
    try:
        _check(not verified(stores)["ok"], "an edited record is not found")
    finally:
        with stores.audit.engine.begin() as connection, retention.mutable(connection, "audit"):
            middle = records[len(records) // 2]
            connection.execute(
                sa.text("UPDATE audit SET by = :by WHERE sequence = :at"), {"at": middle.sequence, "by": middle.by}
            )
    return f"{len(records)} records verified, an edited one found"


def _event_log(stores: Stores) -> str:
    lines = make_events(40).splitlines()
    first, again = stores.events.append(lines), stores.events.append(lines)
    _check((first.appended, again.appended) == (40, 0), f"{first.appended} of 40 events, then {again.appended} again")
    said = [each.event["id"] for each in stores.events.query()]
    _check(said == [json.loads(line)["id"] for line in lines], "the log gives other events than it was given")
    return "40 events appended once, and read back in order"


def _redaction(stores: Stores) -> str:
    left = [value for value in PERSONAL if value in redact_text(f"Send it to {value}, please.")]
    _check(not left, f"{len(left)} of {len(PERSONAL)} kinds of personal data are left in a text")
    plain = "Order 20260301 of 3 lamps, version 2.10.4, room 12."
    _check(redact_text(plain) == plain, "a text without personal data is changed")
    return f"{len(PERSONAL)} kinds of personal data are replaced, numbers of orders are not"


def _dataset(stores: Stores) -> str:
    """Make a dataset with doubled events, and look at its splits."""
    tables = sample_tables(stores)
    groups = [set(tables[split].column("group").to_pylist()) for split in SPLITS]
    shared = groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    _check(not shared, f"{len(shared)} groups are in two splits")
    texts = [text for split in SPLITS for text in tables[split].column("messages").to_pylist()]
    _check(len(set(texts)) == len(texts), "an example is in it twice")
    return f"{len(texts)} examples, each once, no group in two splits"


def sample_tables(stores: Stores) -> dict[str, pa.Table]:
    """Return the splits of a dataset made of the sample."""
    path = stores.home.scratch / "sample.jsonl"
    if not stores.datasets.latest("sample"):
        lines = make_events(SAMPLE)
        path.write_bytes(lines + lines[: len(lines) // 4])
        scratch, policy = stores.home.scratch / "dataset", Policy()
        policy = policy.model_copy(update={"screening": policy.screening.model_copy(update={"enabled": False})})
        build_dataset(
            find_inputs([path]), policy, stores.datasets, "sample", seed=0, scratch=scratch, out=scratch / "out"
        )
    version = stores.datasets.latest("sample")
    return {split: stores.datasets.read("sample", str(version), split) for split in SPLITS}


def _registry(stores: Stores) -> str:
    """Promote a version, put it in quarantine, and see that it cannot be used then."""
    for work in ("first", "second"):
        version = register(stores, work, "checked", _adapter(stores))
        stores.transitions.registered(version, BY)
        stores.bundles.attest(version, {}, by=BY.by)
        serving = stores.models.champion("checked")
        champion = None if serving is None else serving.version
        evidence = evidence_of(stores, version).model_copy(update={"champion": champion})
        promotion = Policy().promotion.model_copy(update={"approval": "auto"})
        stores.transitions.carry_out(decide(evidence, promotion), evidence, BY)
    serving = stores.models.champion("checked")
    _check(serving is not None and serving.version == "2", "a version that passed every gate does not serve")
    stores.transitions.rollback("checked", "verified", BY)
    stores.transitions.quarantine("checked", "2", "verified", BY)
    try:
        stores.models.load("checked", "2")
    except RatchetError:
        serving = stores.models.champion("checked")
        _check(serving is not None and serving.version == "1", "a rollback has not brought the version before back")
        return "promoted, rolled back, and put in quarantine, where it cannot be loaded"
    raise _wrong("a version in quarantine can be loaded")


def _gateway(stores: Stores) -> str:
    """Ask a gateway in this process for an answer of the champion."""
    return asyncio.run(_asked(stores))


async def _asked(stores: Stores) -> str:
    import httpx

    from gateway.app import create_app
    from gateway.config import GatewayConfig

    app = create_app(GatewayConfig(home=stores.home.root, records_url=stores.settings.records_url, port=0))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        async with asyncio.timeout(GATEWAY_SECONDS):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        body = {"model": "checked", "messages": [{"role": "user", "content": PROMPT}]}
        answer = await client.post("/v1/chat/completions", json=body)
    _check(answer.status_code == 200, f"it answers {answer.status_code}: {answer.text[:200]}")
    said = answer.json()["choices"][0]["message"]["content"]
    _check(bool(said), "it answers with nothing")
    return f"ready, and the champion answers with {len(said)} characters"


def _adapter(stores: Stores) -> Path:
    folder = stores.home.scratch / "checked"
    if not folder.exists():
        tables, policy = sample_tables(stores), Policy().training.model_copy(update={"epochs": 1})
        run_job(SimulatedBackend(), TrainingData(tables["train"], tables["validation"], "check"), policy, 0, folder)
    return folder


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise _wrong(otherwise)


def _wrong(what: str) -> IntegrityError:
    return IntegrityError("E7990", what, "this component is broken: reinstall Ratchet, and report it")


def as_rows(checks: list[Check]) -> list[dict[str, Any]]:
    """Return checks as they are printed."""
    return [check._asdict() for check in checks]
