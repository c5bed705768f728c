"""Where the versions of a model are as the audit log has it, whatever MLflow says: what `ratchet sign` signs."""

from __future__ import annotations

from typing import Any, NamedTuple

from registry.history import History
from registry.models import CHAMPION
from registry.records import ModelVersion, Stage
from registry.situation import champions
from registry.trust.statements import elsewhere, moved_by_hand, quarantined


class Recorded(NamedTuple):
    """Stages and aliases of a model's versions as they were recorded."""

    stages: dict[str, Stage]
    """Version → stage."""
    aliases: dict[str, str]
    """Alias → version."""


def recorded(history: History, model: str) -> Recorded:
    """Return what the history says of a model's versions, and what was put under which alias."""
    lines = history.of(model)
    stages: dict[str, Stage] = {line.version: line.after for line in lines if line.after is not None}
    moves = [*history.notes("deploy", model), *history.notes("undeploy", model)]
    aliases: dict[str, str] = {}
    for note in sorted(moves, key=lambda note: note.sequence):
        if note.kind == "deploy":
            aliases[note.body["alias"]] = note.version
        elif aliases.get(note.body["alias"]) == note.version:
            del aliases[note.body["alias"]]
    aliases.pop(CHAMPION, None)
    serves = next(iter(champions(lines)[-1:]), None)
    if serves is not None and stages.get(serves) == "production":
        aliases[CHAMPION] = serves
    return Recorded(stages, aliases)


def as_recorded(version: ModelVersion, known: Recorded) -> dict[str, Any]:
    """Return the aliases and the stage of a version to be signed: what was recorded, which MLflow must say as well.

    Raises:
        IntegrityError: E7947 its aliases differ, E7949 it is in quarantine, E7954 its stage differs.
    """
    stage = known.stages.get(version.version, "development")
    held = {alias for alias, holder in known.aliases.items() if holder == version.version}
    for alias in sorted(held ^ {*version.aliases}):
        raise elsewhere(version, alias, known.aliases.get(alias), has=alias in version.aliases)
    if stage != version.stage:
        raise quarantined(version) if stage == "quarantine" else moved_by_hand(version, stage)
    return {"aliases": dict.fromkeys(version.aliases, version.version), "stages": {version.version: stage}}
