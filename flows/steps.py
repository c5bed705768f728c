"""The chapters of the main job: each calls its stage, records what came out, and can be repeated after a crash."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime, task
from prefect.assets import Asset, materialize
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import opaque

from flows import summary
from flows.dataset import BuildResult, build_dataset
from flows.mapping import mapper
from flows.memory import remembered
from flows.promotion import current_evidence, decide_and_carry_out, loadable
from flows.run import Run
from registry import __version__
from registry.models import Candidate, ModelRegistry
from registry.records import (
    Decision,
    Evidence,
    ModelVersion,
    Readiness,
    Record,
    Split,
    StateChange,
    Strategy,
    TrainingResult,
    ValidationReport,
    canonical_json,
)
from registry.transitions import Actor
from tasks.promotion.task import measure_readiness
from tasks.reporting.task import show_funnel, show_gates, show_report, show_validation, write_report
from tasks.training.backend import find_backend
from tasks.training.job import Job as TrainingJob
from tasks.training.job import run_job
from tasks.validation.examination import prepare as prepare_examination
from tasks.validation.regression import read_golden
from tasks.validation.task import examine_side_by_side
from tasks.validation.verdict import STAGES, recommend

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.records import EpochMetrics, JobState
    from tasks.training.backend import TrainingData

BY = "ratchet"
"""Who does what follows from a policy."""
INFERENCE_CODE = Path(__file__).parent.parent / "tasks" / "training" / "pyfunc.py"
REQUIREMENTS = [f"ratchet-learn=={__version__}"]
RETRIES = 2
"""Of effects that change nothing when they are repeated."""


class Training(Record):
    """What training left."""

    result: TrainingResult
    mlflow_run_id: str
    states: list[StateChange]
    folder: str
    """The artifact, relative to the home."""


class Examination(Record):
    """What validation found."""

    version: str
    report: ValidationReport
    readiness: Readiness | None
    champion: ModelVersion | None = None
    """The version that served when this was examined."""


class Decided(Record):
    """What the gates said, and the version as it is after that was carried out."""

    decision: Decision
    version: ModelVersion


# --- dataset -------------------------------------------------------------------------------------------------------


def make_dataset(run: Run) -> BuildResult:
    """Events → a dataset version, in partitions that are mapped tasks."""
    job, store = run.job, run.stores.datasets

    def build() -> BuildResult:
        return build_dataset(
            job.inputs, job.policy, store, job.model, seed=job.seed, scratch=job.scratch, out=job.folder,
            run=mapper(job.settings, run.progress.advance), partition_bytes=job.settings.partition_bytes,
        )  # fmt: skip

    def still(known: BuildResult) -> bool:
        return store.holds(known.manifest) and store.latest(job.model) == known.manifest.version

    with run.progress.step("dataset"):
        made = remembered(job.folder, "dataset", BuildResult, build, still)
        _publish(
            f"ratchet://datasets/{job.model}", "publish dataset", made.manifest.version, f"ratchet://events/{job.model}"
        )
    show_funnel(job.model, made.events, made.examples, made.manifest)
    return made


def _publish(key: str, name: str, version: str, *behind: str) -> None:
    """Say in Prefect that an asset has a new version, and what it was made of."""
    announce = materialize(Asset(key=key), asset_deps=list(behind), name=name, task_run_name=f"{name} {version}")
    announce(lambda: version)()


def learned_before(run: Run, dataset: BuildResult) -> dict[str, Any] | None:
    """Return the summary of an earlier run that trained on this very dataset in this very way, if there is one."""
    if not dataset.unchanged:
        return None
    for entry in reversed(run.stores.history.ledger()):
        if entry.event == "completed" and entry.model == run.job.model and entry.body:
            same_data = (entry.body.get("dataset") or {}).get("digest") == dataset.manifest.digest
            if same_data and entry.body.get("recipe") == recipe(run):
                return entry.body
    return None


def recipe(run: Run) -> str:
    """Return a digest of how this run trains and examines: the policy without its data part, seed and strategy."""
    policy = run.job.policy.model_dump(mode="json")
    parts = {name: policy[name] for name in ("training", "validation", "promotion")}
    return hashlib.sha256(canonical_json([parts, run.job.seed, run.job.strategy]).encode()).hexdigest()


# --- training ------------------------------------------------------------------------------------------------------


def train_adapter(run: Run, dataset: BuildResult) -> Training:
    """A dataset version → an adapter, as an MLflow run."""
    job, home = run.job, run.job.home
    strategy, start = _start(run)
    with run.progress.step("training", total=job.policy.training.epochs):
        run.mlflow_run_id = _mlflow_run(run, dataset, strategy)
        listener = TrainingListener(run)

        def do() -> Training:
            out = job.folder / "adapter"
            shutil.rmtree(out, ignore_errors=True)
            states = TrainingJob(listener)
            backend = find_backend(job.policy.training.backend)
            result = run_job(backend, _training_data(run, dataset), job.policy.training, job.seed, out, start, states)
            return Training(
                result=result.model_copy(update={"strategy": strategy}),
                states=states.changes,
                mlflow_run_id=str(run.mlflow_run_id),
                folder=home.relative(out),
            )

        trained = remembered(job.folder, "training", Training, do, lambda known: _there(run, known))
    run.stores.models.tracking.log_epochs(trained.mlflow_run_id, trained.result.epochs)
    return trained


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
    job, tracking = run.job, run.stores.models.tracking
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


def _there(run: Run, known: Training) -> bool:
    from registry.models import folder_digest

    folder = run.job.home.root / known.folder
    return folder.is_dir() and folder_digest(folder) == known.result.artifact_digest


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


# --- registry ------------------------------------------------------------------------------------------------------


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
        stores.transitions.registered(version, Actor(BY, job.run_id))
        stores.models.tracking.set_state(training.mlflow_run_id, "COMPLETED")
        _publish(f"ratchet://models/{job.model}", "publish model", version.version, f"ratchet://datasets/{job.model}")
    return version


@task(name="register model", retries=RETRIES, retry_delay_seconds=1, cache_policy=NO_CACHE)
def _register(models: ModelRegistry, candidate: Candidate) -> ModelVersion:
    """Log and register the artifact; doing it again finds what is there."""
    return models.log_candidate(candidate)


# --- examination ---------------------------------------------------------------------------------------------------


def examine_candidate(run: Run, dataset: BuildResult, candidate: ModelVersion) -> Examination:
    """A candidate → the five-stage report and its readiness, measured on the model as it will be served."""
    job = run.job

    def still(known: Examination) -> bool:
        return known.version == candidate.version

    with run.progress.step("validation", total=len(STAGES)):
        found = remembered(job.folder, "examination", Examination, lambda: _examine(run, dataset, candidate), still)
    run.stores.transitions.validated(job.model, candidate.version, found.report, found.readiness, Actor(BY, job.run_id))
    show_validation(job.model, found.report, found.readiness)
    return found


def _examine(run: Run, dataset: BuildResult, candidate: ModelVersion) -> Examination:
    job, stores = run.job, run.stores
    champion = stores.models.champion(job.model)
    backend = find_backend(job.policy.training.backend)
    path = stores.models.load(job.model, candidate.version)
    model = backend.load(path)
    baseline = backend.load(path, adapter=False) if champion is None else backend.load(stores.models.artifact(champion))
    examination = prepare_examination(
        baseline,
        model,
        _split(run, dataset, "test"),
        _split(run, dataset, "train"),
        job.policy.validation,
        seed=job.seed,
        reference=_trusted(run, champion),
        golden=None if job.golden is None else read_golden(job.golden),
    )
    stages = examine_side_by_side(examination)
    report = ValidationReport(
        recommendation=recommend(stages),
        baseline="frozen base" if champion is None else f"{champion.name}/{champion.version}",
        stages=stages,
    )
    cases = examination.answers.candidate.cases
    readiness = measure_readiness(
        report,
        model,
        opaque([case.context for case in cases]),
        opaque([case.expected for case in cases]),
        job.policy.promotion,
        job.seed,
    )
    return Examination(version=candidate.version, report=report, readiness=readiness, champion=champion)


def _split(run: Run, dataset: BuildResult, split: Split) -> pa.Table:
    columns = ["example_id", "messages", "domain", "group"]
    return run.stores.datasets.read(dataset.manifest.name, dataset.manifest.version, split, columns)


def _trusted(run: Run, champion: ModelVersion | None) -> pa.Table | None:
    """Return what the champion was trained on: what is in there is not new, so no backdoor of this candidate."""
    if champion is None or champion.dataset is None:
        return None
    name, _, version = champion.dataset.partition("/")
    if version not in run.stores.datasets.versions(name):
        return None
    return run.stores.datasets.read(name, version, "train", ["example_id", "messages", "domain", "group"])


# --- decision ------------------------------------------------------------------------------------------------------


def decide(run: Run, training: Training, candidate: ModelVersion, examination: Examination) -> Decided:
    """Recorded evidence → a decision, carried out. What was decided once is not decided again."""
    job, stores = run.job, run.stores
    actor = Actor(BY, job.run_id)
    with run.progress.step("decision"):
        evidence = _evidence(run, training, candidate, examination)
        earlier = stores.history.decisions(job.model, candidate.version)
        if earlier and earlier[-1][1].report_digest == evidence.report_digest:
            decision, version = earlier[-1][0], stores.transitions.carry_out(*earlier[-1], actor)
        else:
            decision, version = decide_and_carry_out(stores, evidence, job.policy, actor)
        if decision.verdict == "pending_approval" and job.approve_as:
            stores.transitions.approve(job.model, candidate.version, job.approve_as, "learn --approve-as")
            again = current_evidence(stores, job.model, candidate.version)
            decision, version = decide_and_carry_out(stores, again, job.policy, Actor(job.approve_as, job.run_id))
    show_gates(job.model, candidate.version, decision.verdict, decision.gates)
    return Decided(decision=decision, version=version)


def _evidence(run: Run, training: Training, candidate: ModelVersion, examination: Examination) -> Evidence:
    stores, champion = run.stores, examination.champion
    recorded = stores.models.tracking.metrics(training.mlflow_run_id)
    return Evidence(
        model=candidate.name,
        version=candidate.version,
        stage=stores.models.get(candidate.name, candidate.version).stage,
        training_state=stores.models.tracking.state(training.mlflow_run_id),
        artifact_present=(run.job.home.root / training.folder).is_dir(),
        artifact_loadable=loadable(stores, candidate),
        artifact_digest=candidate.artifact_digest or "",
        signed=False,
        metrics_recorded="final_loss" in recorded and "train_loss" in recorded,
        strategy=training.result.strategy,
        report_digest=hashlib.sha256(examination.report.model_dump_json().encode()).hexdigest(),
        report=examination.report,
        readiness=examination.readiness,
        approvals=stores.history.approvals(candidate.name, candidate.version),
        champion=champion.version if champion is not None else None,
    )


# --- report --------------------------------------------------------------------------------------------------------


def report(
    run: Run,
    dataset: BuildResult,
    training: Training,
    candidate: ModelVersion,
    examination: Examination,
    decided: Decided,
) -> dict[str, Any]:
    """Everything → one page, in MLflow and linked from Prefect; the run is recorded as completed."""
    job, tracking = run.job, run.stores.models.tracking
    page = job.home.reports / f"{job.run_id}.html"
    result = summary.of_run(run, dataset, training, examination, decided, page)
    with run.progress.step("report"):
        data = summary.report_data(run, dataset, training, examination, decided)
        write_report(data, page)
        tracking.log_artifacts(training.mlflow_run_id, [page])
        tracking.log_text(training.mlflow_run_id, data.model_dump_json(indent=1), "report.json")
        numbers = {
            f"{stage.name}.{key}": value for stage in examination.report.stages for key, value in stage.metrics.items()
        }
        tracking.log_metrics(training.mlflow_run_id, numbers, model_id=candidate.model_id, dataset=dataset.manifest)
        show_report(job.model, page, decided.decision)
    run.complete(result)
    return result
