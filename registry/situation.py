"""What a transition starts from, and what the history says of the champions there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from registry.errors import PromotionError
from registry.models import CHAMPION
from registry.records import ModelVersion, StageChange


class Situation(NamedTuple):
    """What a transition starts from: all versions of a model, and its history, oldest first."""

    model: str
    versions: Sequence[ModelVersion]
    history: Sequence[StageChange]

    def version(self, number: str) -> ModelVersion:
        """Return the version with this number.

        Raises:
            PromotionError: E7522.
        """
        for version in self.versions:
            if version.version == number:
                return version
        known = ", ".join(version.version for version in self.versions) or "none"
        raise PromotionError("E7522", f"{self.model} has no version {number}", f"its versions are {known}")

    def recorded(self, number: str, action: str, evidence_digest: str) -> bool:
        """Tell whether the history has this action of a version already, on the same evidence."""
        wanted = (number, action, evidence_digest)
        return any((line.version, line.action, line.evidence_digest) == wanted for line in self.history)

    @property
    def champion(self) -> ModelVersion | None:
        """The version that serves."""
        return next((version for version in self.versions if CHAMPION in version.aliases), None)


def champions(history: Sequence[StageChange]) -> list[str]:
    """Return the champions that a rollback goes back through: the last one serves, unless it is in quarantine.

    A promotion adds one; a rollback takes away those after its target (or adds the target where it was taken away
    before); quarantine takes the serving one away.
    """
    line: list[str] = []
    for change in history:
        if change.action == "promote":
            line.append(change.version)
        elif change.action == "rollback":
            line = line[: _last(line, change.version) + 1] or line
            if line[-1:] != [change.version]:
                line.append(change.version)
        elif change.action == "quarantine" and change.before == "production":
            line = line[:-1]
    return line


def _last(line: Sequence[str], version: str) -> int:
    return max((position for position, name in enumerate(line) if name == version), default=-1)


def trusted(history: Sequence[StageChange]) -> list[str]:
    """Return every version that was champion and not in quarantine since, in the order of their promotion."""
    names: dict[str, None] = {}
    for change in history:
        if change.action == "promote":
            names[change.version] = None
        elif change.action == "quarantine":
            names.pop(change.version, None)
    return list(names)
