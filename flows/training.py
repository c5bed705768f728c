"""A dataset version → an adapter, as an MLflow run → a registered version in stage development."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.assets import publish
from flows.memory import content_key, keep, recall
from flows.run import BY, Run
from registry import __version__
from registry.artifacts import folder_digest
from registry.models import Candidate, ModelRegistry
from registry.records import ModelVersion, Record, StateChange, Strategy, TrainingResult
from registry.transitions import Actor
from tasks.training.task import train

if TYPE_CHECKING:
    from flows.dataset import BuildResult
    from registry.records import EpochMetrics, JobState
    from tasks.training.backend import TrainingData

INFERENCE_CODE = Path(__file__).parent.parent / "tasks" / "training" / "pyfunc.py"
REQUIREMENTS = [f"ratchet-learn=={__version__}"]
RETRIES = 2
"""Of registering, which changes nothing when it is repeated."""


class Trained(Record):
    """What a training job did, and the states that it went through."""

    result: TrainingResult
    states: list[StateChange]


class Training(Trained):
    """A training of this run."""

    mlflow_run_id: str
    folder: str
    """The artifact, relative to the home."""


def train_adapter(run: Run, dataset: BuildResult) -> Training:
    """Train on a dataset version, in an MLflow run. The same training was done before? Then its adapter is taken."""
    job, home, tracking = run.job, run.job.home, run.stores.models.tracking
    strategy, start = _start(run)
    key = content_key(
        job.model, dataset.manifest.digest, job.policy.training.model_dump(mode="json"), job.seed, strategy,
        None if start is None else folder_digest(start),
    )  # fmt: skip
    folder = home.cache / "training" / key
    with run.progress.step("training", total=job.policy.training.epochs):
        run.mlflow_run_id = mlflow_run_id = _mlflow_run(run, dataset, strategy)
        state = _train(run, dataset, strategy, start, folder)
        trained: Trained = state.result()
        tracking.log_epochs(mlflow_run_id, trained.result.epochs)
    where = home.relative(folder / "adapter")
    return Training(result=trained.result, states=trained.states, mlflow_run_id=mlflow_run_id, folder=where)


@task(
    name="train adapter", task_run_name="train adapter {folder.name:.12}", cache_policy=NO_CACHE, persist_result=False
)
def _train(run: Run, dataset: BuildResult, strategy: Strategy, start: Path | None, folder: Path) -> State[Trained]:
    """Train into `folder`, which is named by a digest of all that the result depends on.

    The cache is Ratchet's and not Prefect's: Prefect writes a result in place, and one that a SIGKILL tore would fail
    every later run.
    """
    job, adapter = run.job, folder / "adapter"

    def still(known: Trained) -> bool:
        return adapter.is_dir() and folder_digest(adapter) == known.result.artifact_digest

    known = recall(run.stores.keyring, folder, "result", Trained)
    if known is not None and still(known):
        return Completed(name="Cached", message="the same training was done before", data=known)
    done = train(
        _training_data(run, dataset), job.policy.training, job.seed, adapter, start, strategy, TrainingListener(run)
    )
    trained = keep(run.stores.keyring, folder, "result", Trained(result=done.result, states=done.changes))
    return Completed(
        message=f"token-F1 {trained.result.score:.3f}, frozen base {trained.result.base_score:.3f}", data=trained
    )


def _start(run: Run) -> tuple[Strategy, Path | None]:
    """Return the strategy, and the artifact that training goes on from."""
    champion = run.stores.models.champion(run.job.model)
    wanted = run.job.strategy
    if wanted == "shadow":
        return "shadow", None
    if wanted == "full_retrain" or champion is None:
        return "full_retrain", None
    path = run.stores.models.artifact(champion)
    return "incremental", path


def _mlflow_run(run: Run, dataset: BuildResult, strategy: Strategy) -> str:
    """Return the MLflow run of this training: of the version that was registered already, or one that is under way."""
    job, tracking = run.job, run.stores.models.tracking
    registered = run.stores.models.made_of(job.model, job.work)
    if registered is not None:
        return registered.run_id
    manifest = dataset.manifest
    mlflow_run_id = tracking.start_run(
        job.model,
        job.run_id,
        job.work,
        params={"seed": job.seed, "strategy": strategy, "policy": job.policy.model_dump(mode="json")},
        flow_run_id=runtime.flow_run.id,
        code_version=__version__,
    )
    tracking.log_dataset(
        mlflow_run_id, manifest, job.home.relative(run.stores.datasets.path(manifest.name, manifest.version))
    )
    tracking.log_text(mlflow_run_id, job.policy.model_dump_json(indent=2), "policy.json")
    return mlflow_run_id


def _training_data(run: Run, dataset: BuildResult) -> TrainingData:
    from tasks.training.backend import TrainingData

    store, manifest = run.stores.datasets, dataset.manifest
    columns = ["example_id", "messages", "domain", "composite"]
    train, validation = (
        store.read(manifest.name, manifest.version, split, columns) for split in ("train", "validation")
    )
    return TrainingData(train, validation, manifest.digest)


class TrainingListener:
    """Passes a training job's states and epochs to MLflow, to the progress bar and to the log."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def state(self, state: JobState) -> None:
        """Record a state; the last ones are recorded when the run itself knows how it ended."""
        if state not in {"PENDING", "COMPLETED", "FAILED", "CANCELLED"}:
            self.run.stores.models.tracking.set_state(str(self.run.mlflow_run_id), state)

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        """Move the bar."""
        self.run.progress.advance(1.0)

    def cancelled(self) -> bool:
        """Nobody cancels a run from here; a signal ends it."""
        return False


def register_candidate(run: Run, dataset: BuildResult, training: Training) -> ModelVersion:
    """An adapter → a registered version in stage development; the same work gives one version."""
    job, stores, result = run.job, run.stores, training.result
    with run.progress.step("registering"):
        candidate = Candidate(
            model=job.model,
            mlflow_run_id=training.mlflow_run_id,
            artifact=job.home.root / training.folder,
            code=INFERENCE_CODE,
            requirements=REQUIREMENTS,
            work=job.work,
            dataset=dataset.manifest,
            strategy=result.strategy,
            params=job.policy.training.model_dump(mode="json"),
            metrics={"final_loss": result.final_loss, "token_f1": result.score, "token_f1_base": result.base_score},
            tags={"ratchet_run_id": job.run_id, "backend": result.backend},
        )
        version = _register(stores.models, candidate)
        stores.bundles.attest(version, _trained(run, result), by=run.started_by, run_id=job.run_id)
        stores.transitions.registered(version, Actor(BY, job.run_id))
        stores.models.tracking.set_state(training.mlflow_run_id, "COMPLETED")
        publish("model", job.model, version.version, "dataset")
    return version


def _trained(run: Run, result: TrainingResult) -> dict[str, Any]:
    """Return what is signed of a training: all that its result depends on."""
    return {
        "backend": result.backend,
        "base": result.base,
        "strategy": result.strategy,
        "config": run.job.policy.training.model_dump(mode="json"),
        "seed": run.job.seed,
        "work": run.job.work,
        "code_version": __version__,
    }


@task(
    name="register model",
    task_run_name="register {candidate.model}",
    retries=RETRIES,
    retry_delay_seconds=1,
    cache_policy=NO_CACHE,
)
def _register(models: ModelRegistry, candidate: Candidate) -> ModelVersion:
    """Log and register the artifact; doing it again finds what is there."""
    version: ModelVersion = models.log_candidate(candidate)
    return version
