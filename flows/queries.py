"""What the reading commands ask: models, history, lineage, datasets, counters, and single answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from flows.settings import Settings
from flows.stores import open_stores
from registry.datasets import DatasetStore
from registry.errors import IntegrityError, PromotionError, TrainingError
from registry.records import Conversation, Decision, Evidence

ROLES = ("system", "user", "assistant", "tool")


def reference(model: str, default: str | None = None) -> tuple[str, str | None]:
    """Return the name, and the alias or version, of `MODEL`, `MODEL@ALIAS` or `MODEL/VERSION`."""
    for mark in "@/":
        name, found, rest = model.partition(mark)
        if found:
            if not name or not rest:
                raise PromotionError("E7562", f"{model!r} names no version", "write MODEL@ALIAS or MODEL/VERSION")
            return name, rest
    return model, default


def dataset_store(settings: Settings) -> DatasetStore:
    """Return the dataset versions of the home."""
    return open_stores(settings).datasets


def model_history(settings: Settings, model: str) -> dict[str, Any]:
    """Return everything that ever happened to a model's versions, oldest first."""
    stores = open_stores(settings)
    lines = stores.history.of(model)
    if not lines:
        known = ", ".join(stores.history.models())
        todo = f"the models are {known}" if known else "run `ratchet learn` first"
        raise PromotionError("E7563", f"there is no history of {model!r}", todo)
    return {"model": model, "history": [line.model_dump(mode="json") for line in lines]}


def show_model(settings: Settings, model: str, events: int) -> dict[str, Any]:
    """Return one version with everything behind it, or all versions of a model."""
    stores = open_stores(settings)
    name, wanted = reference(model)
    if wanted is None:
        versions = [version.model_dump(mode="json") for version in stores.models.versions(name)]
        if not versions:
            stores.models.get(name, "champion")  # says which models there are
        return {"model": name, "versions": versions}
    from flows.promotion import decisions_of
    from registry import lineage

    version = stores.models.get(name, wanted)
    behind = lineage.of_version(version, stores.datasets)
    rows = lineage.events_of(version, stores.datasets).slice(0, events).to_pylist() if events else []
    decided = decisions_of(stores, name, version.version)
    approved = _approved_by(*decided[-1]) if decided else []
    return {
        **version.model_dump(mode="json"),
        "verdict": decided[-1][0].verdict if decided else None,
        "replaced": decided[-1][0].replaced if decided else None,
        "approved_by": ", ".join(approved) or None,
        "gates": [gate.model_dump() for gate in decided[-1][0].gates] if decided else [],
        "lineage": {"datasets": behind.chain, "events": behind.events, "event_count": sum(behind.events.values())},
        "events": [{"source": row["event_source"], "id": row["event_id"], "split": row["split"]} for row in rows],
    }


def _approved_by(decision: Decision, evidence: Evidence) -> list[str]:
    """Return whose approvals counted for a decision."""
    from tasks.promotion.approvals import counted
    from tasks.promotion.policy import PromotionPolicy

    return counted(evidence, PromotionPolicy.model_validate(decision.policy)).by


def event_lineage(settings: Settings, event_id: str) -> dict[str, Any]:
    """Return the dataset and model versions that saw an event, given as ID or SOURCE#ID.

    Raises:
        PromotionError: E7564 that is no id, E7568 no dataset version holds the event.
    """
    from registry import lineage

    source, _, identity = event_id.rpartition("#")
    if not identity.strip() or not event_id.isprintable():
        raise PromotionError("E7564", f"{event_id!r} is not the id of an event", "write ID or SOURCE#ID")
    stores = open_stores(settings)
    seen = lineage.of_event(identity, stores.datasets, stores.models.versions(), source or None)
    if not seen.sightings:
        raise PromotionError(
            "E7568",
            f"no dataset version holds the event {event_id}",
            "correct its id; what was not taken is in runs/RUN/ of the home (rejects.jsonl, decisions.parquet)",
        )
    rows = []
    for sighting in seen.sightings:
        models = [
            {"name": version.name, "version": version.version, "stage": version.stage, "aliases": version.aliases}
            for version in seen.versions
            if version.dataset == sighting.dataset
        ]
        rows.append(
            {"source": sighting.event_source, "id": identity, "example_id": sighting.example_id,
             "dataset": sighting.dataset, "split": sighting.split, "models": models}
        )  # fmt: skip
    return {"event": event_id, "datasets": rows}


def list_datasets(settings: Settings) -> dict[str, Any]:
    """Return the manifests of all dataset versions, without their per-file parts; `damaged` says what one has."""
    store = dataset_store(settings)
    kept = ("name", "version", "digest", "parent", "splits", "redacted", "exact_duplicates", "near_duplicates")
    rows = []
    for name in store.names():
        for version in store.versions(name):
            place = {"path": str(store.path(name, version)), "damaged": None}
            try:
                manifest = store.manifest(name, version).model_dump(mode="json")
            except IntegrityError as error:
                manifest = dict.fromkeys(kept) | {"name": name, "version": version}
                place["damaged"] = str(error)
            rows.append({key: manifest[key] for key in kept} | place)
    return {"datasets": rows}


def release_version(settings: Settings, model: str, version: str, by: str, reason: str) -> dict[str, Any]:
    """Take a version out of quarantine."""
    from registry.transitions import Actor

    stores = open_stores(settings)
    after = stores.transitions.release(model, version, reason, Actor(by))
    return {"model": model, "version": version, "stage": after.stage, "aliases": after.aliases}


def predict_lines(settings: Settings, model: str, lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """Answer JSON lines {"messages" | "prompt"} with {"response", "confidence", "version"}, in order.

    A line that cannot be answered yields {"error": code, "reason"} in its place.

    Raises:
        PromotionError: No such model or alias, or it is in quarantine.
        IntegrityError: The artifact is not what was registered.
    """
    from threadpoolctl import threadpool_limits

    from tasks.training.backend import load_trained

    stores = open_stores(settings)
    name, wanted = reference(model, default="champion")
    with stores.serving.named(name, str(wanted)) as (version, copy):
        predictor = load_trained(copy.artifact)
    with threadpool_limits(limits=1, user_api="blas"):  # more threads for one question only wait for each other
        for line in lines:
            if not line.strip():
                continue
            try:
                conversation = _conversation(line)
            except TrainingError as error:
                yield {"error": error.code, "reason": error.what}
                continue
            answers = predictor.answer([conversation])
            yield {
                "response": answers.responses[0],
                "confidence": float(answers.confidences[0]),
                "version": version.version,
            }


def _conversation(line: bytes) -> Conversation:
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        raise TrainingError("E7370", "the line is not JSON", "send one JSON object a line") from None
    todo = 'send {"prompt": "..."} or {"messages": [{"role": ..., "content": ...}]}'
    if isinstance(asked, dict) and isinstance(asked.get("prompt"), str):
        return [{"role": "user", "content": asked["prompt"]}]
    if isinstance(asked, dict) and isinstance(asked.get("messages"), list):
        messages: Conversation = asked["messages"]
        if not messages:
            raise TrainingError("E7371", "the list of messages is empty", todo)
        wrong = next((place for place, message in enumerate(messages, 1) if not _is_message(message)), None)
        if wrong is None:
            return messages
        raise TrainingError("E7371", f"message {wrong} of the list is not one with a known role and a text", todo)
    raise TrainingError("E7371", "the line has neither a prompt nor a list of messages", todo)


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("role") not in ROLES:
        return False
    calls = value.get("tool_calls") or []
    calls_are_objects = isinstance(calls, list) and all(isinstance(call, dict) for call in calls)
    return calls_are_objects and isinstance(value.get("content"), str | None)


def statistics(settings: Settings) -> dict[str, Any]:
    """Return the counters that operators watch."""
    from registry.stats import stats

    stores = open_stores(settings)
    kept = sum(len(stores.datasets.versions(name)) for name in stores.datasets.names())
    return stats(stores.history, stores.models.versions(), kept).model_dump(mode="json")
