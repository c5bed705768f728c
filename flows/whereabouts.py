"""Where a person's text is: events, dataset versions, model versions and experiments, and the words themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.dataset as pads
import sqlalchemy as sa

from flows.forgetting import rows_of
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry import database
from registry.erasure import events as event_erasure
from registry.erasure import plan as erasure
from registry.erasure.events import LoggedOf, Person
from registry.erasure.needles import Needles, leaves
from registry.erasure.plan import Held, Keys, Plan
from registry.errors import IntegrityError
from registry.event_queries import events
from registry.records import ModelVersion

OTHERS = 5_000
"""Rows of others, and events of others, that are compared with what the person said."""


class Found(NamedTuple):
    """Where a person's text is."""

    logged: LoggedOf
    keys: Keys
    held: list[Held]
    versions: list[ModelVersion]
    experiments: list[str]

    @property
    def anything(self) -> bool:
        """Whether there is any."""
        return bool(self.logged.offsets or self.held)


def where_is(settings: Settings, person: Person) -> dict[str, Any]:
    """Return which events, dataset versions, model versions and experiments saw a person; nothing is changed.

    Raises:
        IntegrityError: E7983 nobody is known by that name.
    """
    stores = open_stores(settings)
    found = find(stores, person)
    if not found.anything:
        raise nobody(stores, person)
    return shown(person, found)


def find(stores: Stores, person: Person) -> Found:
    """Return where a person's text is."""
    logged = event_erasure.find(stores.events.engine, person)
    keys = erasure.keys_of(person, logged)
    held = erasure.holding(stores.datasets, keys)
    versions = erasure.of_models(held, stores.models.versions())
    tried = sa.select(events.c.experiment).where(events.c.experiment.is_not(None)).distinct()
    found: set[str] = set()
    for start in range(0, len(logged.offsets), event_erasure.AT_ONCE):
        some = logged.offsets[start : start + event_erasure.AT_ONCE]
        found |= {
            row["experiment"] for row in database.read(stores.events.engine, tried.where(events.c.sequence.in_(some)))
        }
    return Found(logged, keys, held, versions, sorted(found))


def nobody(stores: Stores, person: Person) -> IntegrityError:
    """Return the error that says that there is nothing of a person: not yet, or not any more."""
    before = [each for each in erasure.records(stores.history, stores.keyring.trust()) if _is(each, person)]
    if before:
        what = f"this {person.kind} was erased on {before[-1].time[:10]} (erasure {before[-1].plan})"
        return IntegrityError("E7983", what, "nothing of it came since")
    what = f"no event and no example has this {person.kind}"
    return IntegrityError("E7983", what, "correct it, or ask by another of --subject, --user and --trace")


def _is(plan: Plan, person: Person) -> bool:
    return plan.digest == erasure.salted(person, plan.salt)


def needles_of(stores: Stores, found: Found) -> Needles:
    """Return what the person said, without what others said as well."""
    engine = stores.events.engine
    said = [text for _, event in event_erasure.bodies(engine, found.logged.offsets) for text in leaves(event)]
    said += [text for each in found.held for text in _texts(rows_of(stores, each.name, found.keys, ["messages"]))]
    needles = Needles(said, found.logged.names)
    for each in found.held:
        needles.forget(_others(stores, each, found.keys))
    head = stores.events.head()
    step, own = max(1, head // OTHERS), set(found.logged.offsets)
    some = [offset for offset in range(1, head + 1, step) if offset not in own]
    needles.forget(text for _, event in event_erasure.bodies(engine, some) for text in leaves(event))
    return needles


def _texts(rows: Any) -> Iterator[str]:
    for messages in rows["messages"].to_pylist():
        yield from leaves(json.loads(messages))


def _others(stores: Stores, held: Held, keys: Keys) -> Iterator[str]:
    """Yield what others say in a dataset version: of its first rows, which are no others than any, sorted by digest."""
    manifest = held.manifest
    for path in stores.datasets.files(manifest)[:1]:
        rows = pads.dataset(path, format="parquet")
        yield from _texts(rows.head(OTHERS, columns=["messages"], filter=~erasure.is_theirs(rows.schema, keys)))


def shown(person: Person, found: Found) -> dict[str, Any]:
    """Return what was found as it is printed."""
    return {
        "kind": person.kind,
        "events": len(found.logged.events),
        "traces": len(found.logged.traces),
        "datasets": [{"dataset": each.name, "rows": each.rows} for each in found.held],
        "models": [
            {"name": version.name, "version": version.version, "stage": version.stage, "aliases": version.aliases,
             "dataset": version.dataset}
            for version in found.versions
        ],
        "experiments": found.experiments,
    }  # fmt: skip
