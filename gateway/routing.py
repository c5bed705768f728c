"""Who answers: a snapshot of champions, loaded versions and experiments, and the choice for one request (pure).

A snapshot is never changed. A new one takes its place between two requests; what a request has taken from the old one
it keeps until it has answered, so no request is dropped by a swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.problems import NO_SUCH_MODEL, NOT_SERVABLE, NOTHING_SERVES, Problem
from registry.assignment import Assignment, assign
from registry.errors import RatchetError
from registry.experiments import Experiment
from registry.records import Predictor
from registry.serving import Servable


class Loaded(NamedTuple):
    """A version that can answer now."""

    servable: Servable
    predictor: Predictor | None
    """None for a version that is served elsewhere."""

    @property
    def number(self) -> str:
        """Its number."""
        return self.servable.version.version


class Route(NamedTuple):
    """One model, as it is served."""

    champion: str | None
    aliases: Mapping[str, str]
    versions: Mapping[str, Loaded]
    experiments: tuple[Experiment, ...]
    """The running ones all of whose arms are loaded."""
    problem: str | None = None
    """Why it is not served as the registry says, or not at all."""


class Snapshot(NamedTuple):
    """Everything that routing looks at."""

    routes: Mapping[str, Route]


EMPTY = Snapshot({})


class Choice(NamedTuple):
    """What answers one request."""

    model: str
    served: Loaded
    experiment: str | None
    arm: str | None
    why: str
    shadow: Loaded | None = None
    """The challenger that answers beside it, unseen."""
    shadow_arm: str | None = None
    shadow_experiment: str | None = None


class Wanted(NamedTuple):
    """What a request asks for: a model, and a version of it or None."""

    model: str
    version: str | None


def wanted(reference: str) -> Wanted:
    """Return what `agent`, `agent/3` or `agent@champion` asks for."""
    model, mark, version = reference.partition("@")
    if not mark:
        model, mark, version = reference.partition("/")
    return Wanted(model, version if mark else None)


def route_of(snapshot: Snapshot, model: str) -> Route:
    """Return the route of a model.

    Raises:
        Problem: 404 where there is no such model, 503 where nothing is served at all.
    """
    route = snapshot.routes.get(model)
    if route is not None:
        return route
    if not snapshot.routes:
        todo = "promote one with `ratchet learn` and `ratchet approve`; /readyz tells more"
        raise Problem(NOTHING_SERVES, "no model serves yet", todo, {"retry-after": "5"})
    known = ", ".join(sorted(snapshot.routes)[:10])
    raise Problem(NO_SUCH_MODEL, f"there is no model {model!r}", f"served are: {known}")


def number_of(route: Route, asked: Wanted) -> str | None:
    """Return the number of the version that was asked for by number or alias; None where none was.

    Raises:
        Problem: 404 for an alias that there is not.
    """
    if asked.version is None or asked.version.isdigit():
        return asked.version
    if asked.version not in route.aliases:
        known = ", ".join(sorted(route.aliases)) or "none"
        raise Problem(NO_SUCH_MODEL, f"{asked.model} has no alias {asked.version!r}", f"its aliases are: {known}")
    return route.aliases[asked.version]


def choose(route: Route, model: str, unit: str) -> Choice:
    """Return what answers a unit.

    Raises:
        Problem: 503 where no champion serves.
    """
    champion = route.versions.get(route.champion or "")
    if champion is None:
        todo = route.problem or "promote a version with `ratchet approve` or `ratchet rollback`"
        raise Problem(NOTHING_SERVES, f"no champion of {model} serves", todo, {"retry-after": "5"})
    found: Assignment = assign(route.experiments, model, champion.number, unit)
    chosen = route.versions.get(found.version or "", champion)
    if found.shadow:
        return Choice(model, champion, None, None, f"{found.why}, unseen", chosen, found.arm, found.experiment)
    return Choice(model, chosen, found.experiment, found.arm, found.why)


def explicit(loaded: Loaded, model: str) -> Choice:
    """Return the choice of a version that was asked for by name; it is in no experiment."""
    return Choice(model, loaded, None, None, "asked for")


def not_servable(model: str, version: str, error: RatchetError) -> Problem:
    """Return the problem of a version that was asked for by name and cannot be served."""
    kind = NO_SUCH_MODEL if error.code in {"E7521", "E7522"} else NOT_SERVABLE
    return Problem(kind, f"{model} version {version} cannot be served: {error.code}: {error.what}", error.todo)
