"""Model versions in MLflow: registered with everything that says where they came from, found, verified, loaded.

A version's stage is its tag `stage`; the aliases `champion`, `challenger` and `staging` say which version is used for
what. Moving a version from stage to stage is `registry.transitions`' work.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from registry.artifacts import code_digest, folder_digest, local_model, present, save, verified
from registry.connection import Connection
from registry.errors import IntegrityError, PromotionError
from registry.records import DatasetManifest, ModelVersion, Recommendation, Stage, Strategy
from registry.tracking import Tracking, dataset_name, flatten

CHAMPION, CHALLENGER, STAGING = "champion", "challenger", "staging"
PAGE = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Candidate(NamedTuple):
    """A trained adapter that is to become a model version."""

    model: str
    mlflow_run_id: str
    artifact: Path
    """The folder that training wrote."""
    code: Path
    """MLflow models-from-code file that answers with the artifact."""
    requirements: Sequence[str]
    """What the inference code needs; given, because MLflow takes seconds to find out."""
    work: str
    """Digest of what the job worked on; the same work gives one version, however often it is registered."""
    dataset: DatasetManifest
    strategy: Strategy
    params: Mapping[str, Any] = {}
    metrics: Mapping[str, float] = {}
    tags: Mapping[str, str] = {}


class ModelRegistry:
    """The registered models of one MLflow."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.tracking = Tracking(connection)

    # --- registering -----------------------------------------------------------------------------------------------

    def log_candidate(self, candidate: Candidate) -> ModelVersion:
        """Register a trained adapter as a new version in stage development, or find the one that was made of it.

        A crash at any point leaves nothing that a repetition does not find and finish: the LoggedModel carries the
        work's digest, and the version comes last.

        Raises:
            PromotionError: E7520 the name cannot be a model's.
            SettingsError: E783x MLflow cannot be used.
        """
        check_name(candidate.model)
        with self.connection.as_default() as client:
            found = self.made_of(candidate.model, candidate.work)
            if found is not None:
                return found
            model_id = self._logged_model(client, candidate)
            code = self._upload(client, candidate, model_id)
            if candidate.metrics:
                self.tracking.log_metrics(
                    candidate.mlflow_run_id, candidate.metrics, model_id=model_id, dataset=candidate.dataset
                )
            return self._register(client, candidate, model_id, code)

    def made_of(self, name: str, work: str) -> ModelVersion | None:
        """Return the version that a run registered for this work; None if none did."""
        found = self._search(f"name = '{name}' and tags.work = '{work}'")
        return found[0] if found else None

    def _logged_model(self, client: Any, candidate: Candidate) -> str:
        """Return the id of the LoggedModel of this work; one that was left unfinished is taken up."""
        tags = {"work": candidate.work, "dataset": dataset_name(candidate.dataset)}
        for model in client.search_logged_models(
            [self.connection.experiment_id],
            filter_string=f"tags.work = '{candidate.work}' and source_run_id = '{candidate.mlflow_run_id}'",
        ):
            if model.name == candidate.model:
                return str(model.model_id)
        created = client.create_logged_model(
            self.connection.experiment_id,
            name=candidate.model,
            source_run_id=candidate.mlflow_run_id,
            tags=tags,
            params=flatten(candidate.params),
            model_type=candidate.strategy,
        )
        return str(created.model_id)

    def _upload(self, client: Any, candidate: Candidate, model_id: str) -> str:
        """Store the files, and return the digest of those beside the artifact."""
        from mlflow.entities import LoggedModelOutput

        scratch = self.connection.home.scratch / f"model-{model_id}"  # named, so that a killed upload's is found
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            folder = scratch / "model"
            save(folder, candidate.artifact, candidate.code, candidate.requirements, candidate.mlflow_run_id, model_id)
            code = code_digest(folder)
            client.log_model_artifacts(model_id, str(folder))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        client.finalize_logged_model(model_id, "READY")
        outputs = client.get_run(candidate.mlflow_run_id).outputs
        if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
            client.log_outputs(candidate.mlflow_run_id, [LoggedModelOutput(model_id, step=0)])
        return code

    def _register(self, client: Any, candidate: Candidate, model_id: str, code: str) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(candidate.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            **candidate.tags,
            "stage": "development",
            "work": candidate.work,
            "dataset": dataset_name(candidate.dataset),
            "dataset_digest": candidate.dataset.digest,
            "artifact_digest": folder_digest(candidate.artifact),
            "code_digest": code,
            "strategy": candidate.strategy,
        }
        made = client.create_model_version(
            candidate.model,
            source=f"models:/{model_id}",
            run_id=candidate.mlflow_run_id,
            tags=tags,
            model_id=model_id,
        )
        link = [{"name": candidate.model, "version": made.version}]
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(link, default=str)})
        return self.get(candidate.model, str(made.version))

    # --- finding ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        with self.connection.explained() as client:
            return sorted(model.name for model in _all_pages(client.search_registered_models))

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Return the versions of one model, or of all, by name and number. A model that is not known has none."""
        return self._search(f"name = '{check_name(name)}'" if name else "")

    def get(self, name: str, reference: str) -> ModelVersion:
        """Return a version by its number or its alias (`3`, `champion`, `@champion`).

        Raises:
            PromotionError: E7522 no such model, version or alias; the message lists what there is.
        """
        check_name(name)
        wanted = reference.removeprefix("@")
        versions = self.versions(name)
        for version in versions:
            if wanted == version.version or (wanted in version.aliases and not wanted.isdigit()):
                return version
        if not versions:
            known = self.names()
            what_to_do = f"known are: {_listing(known)}" if known else "run `ratchet learn` first"
            raise PromotionError("E7522", f"there is no model {name}", what_to_do)
        kind = f"version {wanted}" if wanted.isdigit() else f"alias {wanted}"
        aliases = sorted(f"{alias} → {v.version}" for v in versions for alias in v.aliases)
        raise PromotionError(
            "E7522",
            f"{name} has no {kind}",
            f"its versions are {_listing([v.version for v in versions])}, its aliases {_listing(aliases)}",
        )

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version that serves, None where none does."""
        return next((version for version in self.versions(name) if CHAMPION in version.aliases), None)

    def _search(self, query: str) -> list[ModelVersion]:
        with self.connection.explained() as client:
            found = [_version(version) for version in _all_pages(client.search_model_versions, query)]
            # A search tells the aliases of a model only with the model itself.
            aliases = {name: client.get_registered_model(name).aliases for name in {v.name for v in found}}
        named = [v.model_copy(update={"aliases": _aliases_of(v, aliases[v.name])}) for v in found]
        return sorted(named, key=lambda v: (v.name, int(v.version)))

    # --- loading ---------------------------------------------------------------------------------------------------

    def load(self, name: str, reference: str, *, verify: bool = True) -> Path:
        """Return the local folder of a version's artifact, to examine it; fetched once from a server.

        What answers a user is loaded by `registry.serving`, which verifies signatures as well.

        Raises:
            PromotionError, IntegrityError: See `servable` and `artifact`.
        """
        return self.artifact(self.servable(name, reference), verify=verify)

    def servable(self, name: str, reference: str) -> ModelVersion:
        """Return a version that may serve, as far as MLflow knows.

        Raises:
            PromotionError: E7522 not known, E7523 in quarantine.
            IntegrityError: E7923 the champion's alias was moved by hand.
        """
        version = self.get(name, reference)
        if version.stage == "quarantine":
            raise PromotionError(
                "E7523",
                f"{name} version {version.version} is in quarantine and cannot be loaded",
                f"use another version, or see why with `ratchet history {name}`",
            )
        if reference.removeprefix("@") == CHAMPION and version.stage != "production":
            raise IntegrityError(
                "E7923",
                f"{name}@{CHAMPION} is version {version.version}, which is in {version.stage}, not in production",
                f"the alias was moved by hand: put it right with `ratchet rollback {name} --to VERSION`",
            )
        return version

    def artifact(self, version: ModelVersion, *, verify: bool = True) -> Path:
        """Return the local folder of a version's artifact, whatever its stage; for examining, not for serving.

        Raises:
            IntegrityError: E7924 files are missing, E7925 files differ from what was registered.
        """
        folder = local_model(self.connection, version.name, version.version, version.model_id)
        return verified(version, folder) if verify and version.artifact_digest else present(version, folder)


def check_name(name: str) -> str:
    """Return a model's name if it can be one.

    Raises:
        PromotionError: E7520.
    """
    if not _NAME.fullmatch(name):
        raise PromotionError(
            "E7520",
            f"{name[:120]!r} cannot be the name of a model",
            "use letters, digits, dots, dashes and underscores, 100 at most, beginning with a letter or digit",
        )
    return name


def _version(found: Any) -> ModelVersion:
    tags = found.tags
    recommendation = tags.get("recommendation")
    strategy = tags.get("strategy")
    stage = tags.get("stage", "development")
    if stage not in get_args(Stage):
        raise IntegrityError(
            "E7926",
            f"the tag `stage` of {found.name} version {found.version} is {stage[:40]!r}, which is no stage",
            f"it was changed by hand: set it in MLflow to one of {', '.join(get_args(Stage))}",
        )
    return ModelVersion(
        name=found.name,
        version=str(found.version),
        stage=cast(Stage, stage),
        run_id=found.run_id or "",
        model_id=str(found.source).removeprefix("models:/"),
        dataset=tags.get("dataset"),
        dataset_digest=tags.get("dataset_digest"),
        artifact_digest=tags.get("artifact_digest"),
        code_digest=tags.get("code_digest"),
        recommendation=cast(Recommendation, recommendation) if recommendation in get_args(Recommendation) else None,
        readiness=float(tags["readiness"]) if "readiness" in tags else None,
        decision=tags.get("decision"),
        strategy=cast(Strategy, strategy) if strategy in get_args(Strategy) else None,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="milliseconds"),
    )


def _aliases_of(version: ModelVersion, aliases: Mapping[str, object]) -> list[str]:
    return sorted(alias for alias, number in aliases.items() if str(number) == version.version)


def _all_pages(search: Any, query: str = "") -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(filter_string=query or None, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "none"
