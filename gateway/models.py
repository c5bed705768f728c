"""The loaded versions: looked after in a background thread, which swaps one snapshot for the next.

When MLflow or the database does not answer, the last snapshot goes on serving, and `/readyz` and the metrics say so.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.metrics import Metrics
from gateway.routing import EMPTY, Loaded, Route, Snapshot
from registry.errors import IntegrityError, PromotionError, RatchetError
from registry.experiments import Experiment
from registry.models import CHALLENGER, CHAMPION
from registry.records import ModelVersion
from registry.serving import Servable, Serving

SPARE = 4
"""Versions that were asked for by number and are kept loaded beside those in use."""
RETRY_SECONDS = 30.0
"""After which a version that could not be loaded is tried again."""
DISTRUSTED = frozenset({"E7940", "E7941", "E7942", "E7943", "E7945", "E7948", "E7949", "E7950", "E7953"})
"""Why a version stops serving though its bytes are in memory: its bundles do not count any more.

An alias that is elsewhere (E7947) is not among them: it may have moved between two questions of one look."""
_log = logging.getLogger(__name__)


Running = Callable[[], Sequence[Experiment]]
"""Reads the running experiments."""


class Health(NamedTuple):
    """What the last look found of one thing."""

    ok: bool
    detail: str


class Models:
    """The snapshot, and the thread that renews it.

    Args:
        open_experiments: Opens the database; called again until it succeeds.
        open_serving: Opens the registry; called again until it succeeds.
        poll_seconds: How often it looks.
        metrics: Where looks and loaded versions are counted.
    """

    def __init__(
        self,
        open_experiments: Callable[[], Running],
        open_serving: Callable[[], Serving],
        poll_seconds: float,
        metrics: Metrics,
    ) -> None:
        self.snapshot = EMPTY
        self.health: dict[str, Health] = {
            "database": Health(False, "not looked at yet"), "registry": Health(False, "not looked at yet")
        }  # fmt: skip
        self.looked = False
        """Whether the first look is over, however it ended; before it nobody knows what is served."""
        self.confirmed: float | None = None
        """When registry and experiments were last both read, by the monotonic clock."""
        self._open_experiments, self._open_serving = open_experiments, open_serving
        self._poll, self._metrics = poll_seconds, metrics
        self._running: Running | None = None
        self._serving: Serving | None = None
        self._spare: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._faulty: dict[tuple[str, str], tuple[RatchetError, float]] = {}
        self._experiments: tuple[Experiment, ...] = ()
        self._seen: tuple[object, tuple[Experiment, ...]] | None = None
        """What the snapshot was made of: the registry is not asked again before it has changed."""
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="gateway-models", daemon=True)

    def start(self) -> None:
        """Start looking, at once and then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll)

    def refresh(self) -> None:
        """Look once; whatever fails is told and leaves the snapshot as it was."""
        with self._looking:
            try:
                failed = self._look()
            except Exception as error:  # the thread must outlive whatever MLflow raises
                failed = True
                self.health["registry"] = Health(False, _said(error))
                _log.warning("routing could not be renewed: %s", _said(error))
            self._metrics.refreshes.labels("failed" if failed else "ok").inc()
            if not failed:
                self.confirmed = time.monotonic()
            self.looked = True

    def _look(self) -> bool:
        """Look at both; return whether either failed."""
        self.health["database"] = database = self._checked(self._look_at_experiments)
        self.health["registry"] = registry = self._checked(self._look_at_registry)
        return not (database.ok and registry.ok)

    def _checked(self, look: Callable[[], None]) -> Health:
        try:
            look()
        except RatchetError as error:
            return Health(False, str(error))
        return Health(True, "")

    def _look_at_experiments(self) -> None:
        if self._running is None:
            self._running = self._open_experiments()
        self._experiments = tuple(self._running())

    def _look_at_registry(self) -> None:
        if self._serving is None:
            self._serving = self._open_serving()
        serving, mark = self._serving, self._serving.mark()
        if mark is not None and (mark, self._experiments) == self._seen:
            return
        self._seen = None
        served = {name: found for name, found in serving.aliases().items() if CHAMPION in found or self._runs(name)}
        routes = {name: self._renewed(serving, name, found) for name, found in served.items()}
        self._publish(routes | self._vanished(routes))
        if mark is not None and not any(route.problem for route in routes.values()):
            self._seen = (mark, self._experiments)

    def _runs(self, name: str) -> bool:
        return any(experiment.model == name for experiment in self._experiments)

    def _vanished(self, routes: dict[str, Route]) -> dict[str, Route]:
        """Models that served and have no champion any more: known still, but nothing of them answers."""
        gone = self.snapshot.routes.keys() - routes.keys()
        return {name: Route(None, {}, {}, (), f"{name} has no champion") for name in gone}

    def _publish(self, routes: dict[str, Route]) -> None:
        before = {(name, number) for name, route in self.snapshot.routes.items() for number in route.versions}
        after = {(name, number) for name, route in routes.items() for number in route.versions}
        self.snapshot = Snapshot(routes)
        for name, number in after - before:
            self._metrics.loaded.labels(name, number).set(1)
        for name, number in before - after:
            self._metrics.loaded.remove(name, number)
        if after - before:
            # What was just imported and loaded stays: a full collection of it would hold up every request for 0.1 s.
            gc.freeze()

    # --- one model -------------------------------------------------------------------------------------------------

    def _renewed(self, serving: Serving, name: str, aliases: dict[str, str]) -> Route:
        """Return a model's route; one whose record is at fault keeps the one it had, and harms no other model."""
        try:
            return self._route(serving, name, aliases)
        except (IntegrityError, PromotionError) as error:
            return self.snapshot.routes.get(name, Route(None, {}, {}, ()))._replace(problem=str(error))

    def _route(self, serving: Serving, name: str, aliases: dict[str, str]) -> Route:
        old = self.snapshot.routes.get(name, Route(None, {}, {}, ()))
        versions = serving.versions(name)
        mine = [experiment for experiment in self._experiments if experiment.model == name]
        numbers = [aliases[alias] for alias in (CHAMPION, CHALLENGER) if alias in aliases]
        numbers += [arm.version for experiment in mine for arm in experiment.arms]
        loaded: dict[str, Loaded] = {}
        problems: list[str] = []
        refused: set[str] = set()
        for number in dict.fromkeys(numbers):
            try:
                loaded[number] = self._loaded(serving, name, number, versions, old)
            except RatchetError as error:
                problems.append(str(error))
                if error.code in DISTRUSTED:
                    refused.add(number)
        quarantined = {number for number, version in versions.items() if version.stage == "quarantine"}
        for number in quarantined:
            self._spare.pop((name, number), None)
        held = _held(serving, aliases, versions, loaded, problems)
        champion = held.get(CHAMPION)
        if champion in loaded and versions[champion].stage != "production":
            # Moved by hand, or a promotion is under way: the stage follows its alias, or the other way around.
            problems.append(f"{name}@{CHAMPION} is version {champion}, which is not in production")
            champion = None
        if aliases.get(CHAMPION) is not None and champion not in loaded and old.champion not in quarantined | refused:
            champion = old.champion
            loaded |= {number: each for number, each in old.versions.items() if number == champion}
        ready = tuple(each for each in mine if all(arm.version in loaded for arm in each.arms))
        problem = "; ".join(dict.fromkeys(problems)) or None
        return Route(champion if champion in loaded else None, held, loaded, ready, problem)

    def _loaded(
        self, serving: Serving, name: str, number: str, versions: dict[str, ModelVersion], old: Route
    ) -> Loaded:
        """Return a version that answers: the one that is loaded already where nothing about it has changed."""
        version = versions.get(number) or serving.registry.get(name, number)  # the latter says what there is instead
        servable = serving.servable(version)
        serving.check(servable)
        known = old.versions.get(number) or self._spare.get((name, number))
        if known is not None and _identity(known.servable) == _identity(servable):
            return Loaded(servable, known.predictor)
        if servable.endpoint:
            return Loaded(servable, None)
        error, until = self._faulty.get((name, number), (None, 0.0))
        if error is not None and time.monotonic() < until:
            raise error
        try:
            _log.info("loading %s version %s", name, number)
            loaded = Loaded(servable, serving.load(version))
        except RatchetError as error:
            self._faulty[name, number] = error, time.monotonic() + RETRY_SECONDS
            raise
        self._faulty.pop((name, number), None)
        return loaded

    def ready(self, name: str, number: str) -> Loaded | None:
        """Return a version that is loaded already, None where it has to be fetched."""
        return self.snapshot.routes[name].versions.get(number) or self._spare.get((name, number))

    def fetch(self, name: str, number: str) -> Loaded:
        """Return a version that was asked for by number; it blocks while it is loaded, so call it in a thread.

        Raises:
            RatchetError: it is not known, is in quarantine, or cannot be loaded.
        """
        with self._looking:
            serving, route = self._serving, self.snapshot.routes[name]
            assert serving is not None, "there is no route before the registry was read"
            loaded = self._loaded(serving, name, number, serving.versions(name), route)
            self._spare[name, number] = loaded
            self._spare.move_to_end((name, number))
            if len(self._spare) > SPARE:
                self._spare.popitem(last=False)
            return loaded


def _held(
    serving: Serving,
    aliases: dict[str, str],
    versions: dict[str, ModelVersion],
    loaded: dict[str, Loaded],
    problems: list[str],
) -> dict[str, str]:
    """Return the aliases that are where the newest signed decision put them; of the others the problem is told."""
    held: dict[str, str] = {}
    for alias, number in aliases.items():
        if number not in versions:  # deleted since the aliases were read
            continue
        try:
            serving.bundles.standing(versions[number], alias)
            held[alias] = number
        except IntegrityError as error:
            problems.append(str(error))
    return held


def _identity(servable: Servable) -> tuple[str | None, ...]:
    """Return what must be the same for a loaded predictor to be the version's."""
    version = servable.version
    return version.model_id, version.artifact_digest, version.code_digest, servable.endpoint


def _said(error: BaseException) -> str:
    return (
        str(error)
        if isinstance(error, RatchetError)
        else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    )
