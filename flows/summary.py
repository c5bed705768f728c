"""What a run leaves for readers: the summary of DESIGN §7, and the data of its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.screening import FILE
from registry import __version__
from registry.home import now
from tasks.extraction.rejects import CODES
from tasks.reporting.data import (
    BeforeAfter,
    Changes,
    Distributions,
    PolicyChange,
    ReportData,
    ScoreDelta,
    Suspected,
)

if TYPE_CHECKING:
    from flows.dataset import BuildResult
    from flows.decision import Decided
    from flows.examination import Examination
    from flows.run import Run
    from flows.screening import SuspectedGroup
    from flows.training import Training
    from registry.records import ModelVersion


MUCH = 2.0
"""How many times its usual share a source, user or day must have of suspected examples to be named."""


def of_run(
    run: Run, dataset: BuildResult, training: Training, examination: Examination, decided: Decided, page: Path
) -> dict[str, Any]:
    """Return the summary: one object, the contract of `ratchet learn --json`."""
    from prefect import runtime

    from flows.curation import recipe

    manifest, result, decision = dataset.manifest, training.result, decided.decision
    report, version = examination.report, decided.version
    store = run.stores.datasets
    return {
        "run_id": run.job.run_id,
        "flow_run_id": runtime.flow_run.id,
        "home": str(run.job.settings.home),
        "report": str(page),
        "events": dataset.events.model_dump(),
        "examples": dataset.examples.model_dump(),
        "dataset": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "path": str(store.path(manifest.name, manifest.version)),
            "parent": manifest.parent,
            "splits": dict(manifest.splits),
            "redacted": manifest.redacted,
            "exact_duplicates": manifest.exact_duplicates,
            "near_duplicates": manifest.near_duplicates,
            "left_out": dataset.left_out,
            "suspected": [group.model_dump(mode="json", exclude={"rows"}) for group in dataset.suspected],
        },
        "training": {
            "backend": result.backend,
            "strategy": result.strategy,
            "mlflow_run_id": training.mlflow_run_id,
            "state": "COMPLETED",
            "final_loss": result.final_loss,
            "seconds": result.seconds,
            "base_score": result.base_score,
            "score": result.score,
            "pairs": result.pairs,
            "known_turns": result.known_turns,
            "artifact_digest": result.artifact_digest,
            "curve": [epoch._asdict() for epoch in result.epochs],
        },
        "model": {
            "name": version.name,
            "version": version.version,
            "stage": version.stage,
            "aliases": version.aliases,
        },
        "validation": {
            "recommendation": report.recommendation,
            "baseline": report.baseline,
            "stages": [
                stage.model_dump(include={"name", "status", "critical", "metrics", "reasons", "more_cases_needed"})
                for stage in report.stages
            ],
        },
        "readiness": examination.readiness.model_dump() if examination.readiness else None,
        "gates": [gate.model_dump() for gate in decision.gates],
        "decision": decision.verdict,
        "reason": decision.reason,
        "recipe": recipe(run),
    }


def report_data(
    run: Run, dataset: BuildResult, training: Training, examination: Examination, decided: Decided
) -> ReportData:
    """Return everything that the report shows."""
    job = run.job
    return ReportData(
        run_id=job.run_id,
        created=now(),
        model=job.model,
        verdict=decided.decision.verdict,
        reason=decided.decision.reason,
        code_version=__version__,
        seed=job.seed,
        home=None if str(job.settings.home) == ".ratchet" else str(job.settings.home),
        inputs=[Path(item.name).name for item in job.inputs],
        events=dataset.events,
        meanings=CODES,
        examples=dataset.examples,
        distributions=_distributions(dataset),
        suspected=[_suspected(group) for group in dataset.suspected],
        evidence=f"runs/{job.run_id}/{FILE}",
        dataset=dataset.manifest,
        training=training.result,
        states=training.states,
        mlflow_run_id=training.mlflow_run_id,
        validation=examination.report,
        readiness=examination.readiness,
        readiness_required=job.policy.promotion.min_readiness,
        gates=decided.decision.gates,
        decision=decided.decision,
        version=decided.version,
        champion=examination.champion,
        changes=None if examination.champion is None else _changes(run, dataset, examination, examination.champion),
        seconds=run.progress.seconds,
        warnings=run.warnings,
    )


def _suspected(group: SuspectedGroup) -> Suspected:
    brought = [
        f"one {what}: {each['share']:.0%} of these, {each['usual']:.0%} of all"
        for what, each in group.shares.items()
        if each["share"] > 0.5 and each["share"] > MUCH * each["usual"]
    ]
    return Suspected(
        words=" … ".join(group.words.words) if group.words.pair else " ".join(group.words.words),
        answer=group.answer,
        suspicion=group.suspicion,
        examples=group.examples,
        brought="; ".join(brought) or "many",
    )


def _distributions(dataset: BuildResult) -> Distributions:
    def counted(name: str) -> BeforeAfter:
        before, after = dataset.before[name], dataset.after[name]
        labels = list(dict.fromkeys([*before, *after]))
        return BeforeAfter(
            labels=labels,
            before=[before.get(label, 0) for label in labels],
            after=[after.get(label, 0) for label in labels],
        )

    return Distributions(domain=counted("domain"), difficulty=counted("difficulty"), score=counted("score"))


def _changes(run: Run, dataset: BuildResult, examination: Examination, champion: ModelVersion) -> Changes:
    """Return what is different from the version that served when the candidate was examined."""
    before = _dataset_ids(run, champion.dataset)
    after = _dataset_ids(run, f"{dataset.manifest.name}/{dataset.manifest.version}")
    known = before is not None and after is not None
    metrics = examination.report.stage("performance").metrics
    ready = examination.readiness.score if examination.readiness else None
    mean_before, mean_after = _number(metrics, "baseline_score"), _number(metrics, "candidate_score")
    scores = [
        ScoreDelta(name="token-F1 on the test split", champion=mean_before, candidate=mean_after),
        ScoreDelta(name="readiness", champion=champion.readiness, candidate=ready),
    ]
    return Changes(
        champion=champion.version,
        dataset_before=champion.dataset,
        dataset_after=f"{dataset.manifest.name}/{dataset.manifest.version}",
        examples_added=len(after - before) if known else None,  # type: ignore[operator]
        examples_removed=len(before - after) if known else None,  # type: ignore[operator]
        scores=scores,
        policy=_policy_changes(run, champion),
    )


def _number(metrics: dict[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    return float(value) if isinstance(value, int | float) else None


def _dataset_ids(run: Run, dataset: str | None) -> set[str] | None:
    """Return the ids of a dataset version's examples; None where it is not in this home."""
    from registry.records import SPLITS

    if dataset is None:
        return None
    name, _, version = dataset.partition("/")
    store = run.stores.datasets
    if version not in store.versions(name):
        return None
    columns = (store.read(name, version, split, ["example_id"]).column("example_id") for split in SPLITS)
    return {example for column in columns for example in column.to_pylist()}


def _policy_changes(run: Run, champion: ModelVersion) -> list[PolicyChange]:
    from registry.errors import RatchetError
    from registry.tracking import flatten

    try:
        path = run.stores.models.tracking.artifact(champion.run_id, "policy.json")
        before = flatten(json.loads(path.read_text(encoding="utf-8")))
    except (RatchetError, OSError, ValueError):
        return []
    after = flatten(run.job.policy.model_dump(mode="json"))
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [PolicyChange(name=name, before=before.get(name), after=after.get(name)) for name in changed]
