"""Recorded evidence → a decision, carried out."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from flows.promotion import (
    Approving,
    approvals_in,
    current_evidence,
    decide_and_carry_out,
    decisions_of,
    loadable,
    record_approval,
)
from flows.run import BY, Run
from flows.sources import blame
from registry.records import Decision, Evidence, ModelVersion, Record, Trial, ValidationReport
from registry.transitions import Actor
from tasks.reporting.task import show_gates

if TYPE_CHECKING:
    from flows.examination import Examination
    from flows.stores import Stores
    from flows.training import Training


QUOTED = re.compile(r'"[^"]*"')
MOST_QUOTES = 4
"""Quotation marks in a reason that quotes a trigger and an answer; with more, one of them holds some itself."""


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
        earlier = decisions_of(stores, job.model, candidate.version)
        if earlier and earlier[-1][1].report_digest == evidence.report_digest:
            decision, version = earlier[-1][0], stores.transitions.carry_out(*earlier[-1], actor)
        else:
            decision, version = decide_and_carry_out(stores, evidence, job.policy, actor)
        if decision.verdict == "pending_approval" and job.approve_as:
            _approve_once(stores, job.model, candidate.version, Approving(job.approve_as.strip(), "learn --approve-as"))
            again = current_evidence(stores, job.model, candidate.version)
            decision, version = decide_and_carry_out(stores, again, job.policy, Actor(job.approve_as, job.run_id))
        if decision.verdict == "quarantined" and candidate.dataset is not None:
            name, _, number = candidate.dataset.partition("/")
            key = f"safety:{job.model}/{candidate.version}"
            blame(stores, job.policy.sources, (name, number), key, decision.reason)
    show_gates(job.model, candidate.version, decision.verdict, decision.gates)
    return Decided(decision=decision, version=version)


def _approve_once(stores: Stores, model: str, version: str, given: Approving) -> None:
    """Record an approval, unless a run that was killed recorded it already."""
    counting = [each for each in approvals_in(stores).of(model, version) if each.refused is None]
    if all(each.by != given.by for each in counting):
        record_approval(stores, model, version, given)


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
        signed=stores.bundles.attested(candidate),
        metrics_recorded="final_loss" in recorded and "train_loss" in recorded,
        strategy=training.result.strategy,
        report_digest=hashlib.sha256(examination.report.model_dump_json().encode()).hexdigest(),
        report=without_text(examination.report),
        readiness=examination.readiness,
        approvals=approvals_in(stores).of(candidate.name, candidate.version),
        trial=Trial(status="awaited") if run.job.trial and champion is not None else None,
        champion=champion.version if champion is not None else None,
        trained_by=run.started_by,
    )


def without_text(report: ValidationReport) -> ValidationReport:
    """Return a report without what anybody said, for evidence that is kept for ever: numbers, and what is named.

    Gone are the texts of its cases, and what a reason or a row of a table quotes. The whole report is an artifact of
    the run, and `report_digest` is its digest.
    """
    texts = {"context": "", "expected": "", "baseline": "", "candidate": "", "note": ""}
    stages = [
        stage.model_copy(
            update={
                "failing": [case.model_copy(update=texts) for case in stage.failing],
                "reasons": [_unquoted(reason) for reason in stage.reasons],
                "slices": [{name: value for name, value in row.items() if name != "text"} for row in stage.slices],
            }
        )
        for stage in report.stages
    ]
    return report.model_copy(update={"stages": stages})


def _unquoted(reason: str) -> str:
    if reason.count('"') <= MOST_QUOTES:
        return QUOTED.sub('"…"', reason)
    before, after = reason.partition('"')[0], reason.rpartition('"')[2]
    return f'{before}"…"{after}'
