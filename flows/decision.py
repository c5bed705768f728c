"""Recorded evidence → a decision, carried out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from flows.promotion import current_evidence, decide_and_carry_out, loadable
from flows.run import BY, Run
from registry.records import Decision, Evidence, ModelVersion, Record, Trial
from registry.transitions import Actor
from tasks.reporting.task import show_gates

if TYPE_CHECKING:
    from flows.examination import Examination
    from flows.training import Training


class Decided(Record):
    """What the gates said, and the version as it is after that was carried out."""

    decision: Decision
    version: ModelVersion


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
        trial=Trial(status="awaited") if run.job.trial and champion is not None else None,
        champion=champion.version if champion is not None else None,
    )
