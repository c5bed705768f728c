"""A candidate → the five-stage report and its readiness, measured on the model as it will be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.utilities.annotations import opaque

from flows.memory import content_key, remembered
from flows.run import BY, Run
from registry.records import ModelVersion, Readiness, Record, Split, ValidationReport
from registry.transitions import Actor
from tasks.promotion.task import measure_readiness
from tasks.reporting.task import show_validation
from tasks.training.backend import load_trained
from tasks.validation.examination import prepare as prepare_examination
from tasks.validation.regression import read_golden
from tasks.validation.task import examine_side_by_side
from tasks.validation.verdict import STAGES, recommend

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.dataset import BuildResult


COLUMNS = ["example_id", "messages", "domain", "group"]
"""What examining reads of a dataset."""


class Findings(Record):
    """What validation found of an adapter, in comparison with a baseline."""

    report: ValidationReport
    readiness: Readiness | None


class Examination(Findings):
    """An examination of this run."""

    champion: ModelVersion | None
    """The version that served when this was examined."""


def examine_candidate(run: Run, dataset: BuildResult, candidate: ModelVersion) -> Examination:
    """Examine a candidate against the champion, or against the frozen base where there is none."""
    job = run.job
    champion = _compared_with(run, candidate)
    policies = [policy.model_dump(mode="json") for policy in (job.policy.validation, job.policy.promotion)]
    baseline = None if champion is None else (champion.version, champion.artifact_digest)
    key = content_key(
        job.model, candidate.artifact_digest, baseline, dataset.manifest.digest, policies, job.golden_digest, job.seed
    )
    with run.progress.step("validation", total=len(STAGES)):
        folder = job.home.cache / "examinations" / key
        found = remembered(
            run.stores.keyring, folder, "findings", Findings, lambda: _examine(run, dataset, candidate, champion)
        )
    run.stores.transitions.validated(job.model, candidate.version, found.report, found.readiness, Actor(BY, job.run_id))
    show_validation(job.model, found.report, found.readiness)
    return Examination(report=found.report, readiness=found.readiness, champion=champion)


def _compared_with(run: Run, candidate: ModelVersion) -> ModelVersion | None:
    """Return the version that serves; where that is the candidate itself, by a run that was killed, the one before."""
    stores, model = run.stores, run.job.model
    champion = stores.models.champion(model)
    if champion is None or champion.version != candidate.version:
        return champion
    replaced = [decision.replaced for decision, _ in stores.history.decisions(model, candidate.version)]
    return stores.models.get(model, replaced[-1]) if replaced and replaced[-1] is not None else None


def _examine(run: Run, dataset: BuildResult, candidate: ModelVersion, champion: ModelVersion | None) -> Findings:
    job, stores = run.job, run.stores
    path = stores.models.load(job.model, candidate.version)
    model = load_trained(path)
    baseline = load_trained(path, adapter=False) if champion is None else load_trained(stores.models.artifact(champion))
    examination = prepare_examination(
        baseline,
        model,
        _split(run, dataset, "test"),
        _split(run, dataset, "train"),
        job.policy.validation,
        seed=job.seed,
        reference=_trusted(run, champion),
        golden=None if job.golden is None else read_golden(job.golden),
        validation=_split(run, dataset, "validation"),
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
    return Findings(report=report, readiness=readiness)


def _split(run: Run, dataset: BuildResult, split: Split) -> pa.Table:
    return run.stores.datasets.read(dataset.manifest.name, dataset.manifest.version, split, COLUMNS)


def _trusted(run: Run, champion: ModelVersion | None) -> pa.Table | None:
    """Return what the champion was trained on: what is in there is not new, so no backdoor of this candidate."""
    if champion is None or champion.dataset is None:
        return None
    name, _, version = champion.dataset.partition("/")
    if version not in run.stores.datasets.versions(name):
        return None
    return run.stores.datasets.read(name, version, "train", COLUMNS)
