"""What a gateway needs of the registry: which versions are in use, and a verified version that answers in process.

Looking is cheap, because a gateway looks every two seconds: one question for the aliases of all models, and a few for
each model that is served.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from registry.errors import IntegrityError, PromotionError
from registry.models import ModelRegistry
from registry.records import ModelVersion, Predictor
from registry.trust.bundles import Bundles
from registry.trust.endpoints import Endpoint, endpoint_of

SETTLED_SECONDS = 0.1


class Servable(NamedTuple):
    """A version as it may be served."""

    version: ModelVersion
    endpoint: str | None
    """Base URL of an OpenAI-compatible server; None where the version answers in process."""
    endpoint_model: str


class Copy(NamedTuple):
    """A version's model whose bytes were verified."""

    model: Path
    """The MLflow model."""
    artifact: Path
    """The artifact in it."""


class Serving:
    """The models of one registry, as a gateway sees them."""

    def __init__(self, registry: ModelRegistry, bundles: Bundles) -> None:
        self.registry = registry
        self.bundles = bundles

    def mark(self) -> object | None:
        """Return what changes with every write to the embedded store and to the list of trusted keys, at no cost.

        None where it cannot be told.

        A store that was written within the last moments may be written again before the clock of its files moves.
        """
        connection = self.registry.connection
        if not connection.embedded:
            return None
        database, trusted = connection.home.mlflow_database, self.bundles.keyring.file
        found = []
        for path in (database, database.with_name(f"{database.name}-wal"), trusted):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if time.time() - status.st_mtime < SETTLED_SECONDS:
                return None
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found) or None

    def aliases(self) -> dict[str, dict[str, str]]:
        """Return the aliases of every registered model: name → alias → version."""
        with self.registry.connection.explained() as client:
            found: dict[str, dict[str, str]] = {}
            token = None
            while True:
                page = client.search_registered_models(max_results=1000, page_token=token)
                found |= {m.name: {alias: str(v) for alias, v in m.aliases.items()} for m in page}
                token = page.token
                if not token:
                    return found

    def versions(self, name: str) -> dict[str, ModelVersion]:
        """Return the versions of a model by number."""
        return {version.version: version for version in self.registry.versions(name)}

    def servable(self, version: ModelVersion) -> Servable:
        """Return a version with what its tags say about where it is served.

        Raises:
            PromotionError: E7523 it is in quarantine.
            IntegrityError: E7927 its endpoint is no address.
        """
        name, number = version.name, version.version
        if version.stage == "quarantine":
            raise PromotionError(
                "E7523",
                f"{name} version {number} is in quarantine and is not served",
                f"use another version, or see why with `ratchet history {name}`",
            )
        with self.registry.connection.explained() as client:
            tags = client.get_model_version(name, number).tags
        endpoint = endpoint_of(version, tags)
        return Servable(version, endpoint.url, endpoint.model) if endpoint else Servable(version, None, name)

    def check(self, servable: Servable, alias: str | None = None) -> None:
        """Look whether a version may serve, by its number or under an alias, without looking at its files.

        A version that is served elsewhere has its bytes there: that somebody signed where is what counts.

        Raises:
            IntegrityError: E7940 to E7954 it may not (see `Bundles.serving`).
        """
        endpoint = None if servable.endpoint is None else Endpoint(servable.endpoint, servable.endpoint_model)
        self.bundles.serving(servable.version, endpoint, alias)

    def load(self, version: ModelVersion) -> Predictor:
        """Return the predictor of a version, of exactly the bytes that were signed.

        The files are copied; the copy is verified and loaded, so that nobody can change them in between.

        Raises:
            IntegrityError: E7924 files are missing, E7940 to E7950 nobody signed them whose signature counts, or they
                are others, E7928 it cannot be loaded, or has nothing that answers.
        """
        with self.taken(version) as copy:
            return _predictor(version, copy.model)

    @contextlib.contextmanager
    def named(self, name: str, reference: str) -> Iterator[tuple[ModelVersion, Copy]]:
        """Give a version by its number or alias, and a private copy of it that was verified.

        Raises:
            PromotionError: E7522 not known, E7523 in quarantine.
            IntegrityError: E7923 the champion is not in production, E7924 files are missing, E7940 to E7950 it may not
                be used (see `Bundles.standing`).
        """
        version, alias = self.found(name, reference)
        with self.taken(version, alias) as copy:
            yield version, copy

    def found(self, name: str, reference: str) -> tuple[ModelVersion, str | None]:
        """Return a version by its number or alias, and the alias, as far as MLflow knows; nothing is verified.

        Raises:
            PromotionError: E7522 not known, E7523 in quarantine.
            IntegrityError: E7923 the champion is not in production.
        """
        alias = reference.removeprefix("@")
        return self.registry.servable(name, reference), None if alias.isdigit() else alias

    @contextlib.contextmanager
    def taken(self, version: ModelVersion, alias: str | None = None) -> Iterator[Copy]:
        """Give a private copy of a version's model that was verified, for as long as the context lasts.

        Args:
            version: The version.
            alias: The alias under which it was found; None for its number.

        Raises:
            IntegrityError: E7924 files are missing, E7940 to E7950 it may not be used (see `Bundles.standing`).
        """
        home = self.registry.connection.home
        with home.guard():
            home.scratch.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=home.scratch, prefix="serve-"))
            try:
                model = scratch / "model"
                yield Copy(model, self.bundles.take(version, model, alias))
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def _predictor(version: ModelVersion, folder: Path) -> Predictor:
    """Load an MLflow model from code and take out what answers: its DataFrame interface takes longer than the model."""
    import mlflow.pyfunc

    try:
        python_model = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    except Exception as error:  # a model is code: it may fail in any way
        raise IntegrityError(
            "E7928",
            f"{version.name} version {version.version} cannot be loaded: {type(error).__name__}: {str(error)[:200]}",
            "check that the installation is of the version that trained it, or roll back",
        ) from error
    predictor = getattr(python_model, "predictor", None)
    if predictor is None or not _answers(predictor):
        raise IntegrityError(
            "E7928",
            f"{version.name} version {version.version} has nothing that answers a question",
            "register it through Ratchet, or give it the tag `endpoint` of the server that answers for it",
        )
    return cast(Predictor, predictor)


def _answers(predictor: Any) -> bool:
    """Ask a first question, before anybody else does: it compiles and warms what the model uses."""
    try:
        return isinstance(predictor.answer([[{"role": "user", "content": "hello"}]]).responses[0], str)
    except Exception:  # a model is code: it may fail in any way
        return False
