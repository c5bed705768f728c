"""Everything → one page, in MLflow and linked from Prefect; the run is recorded as completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows import summary
from flows.addresses import mlflow_of
from flows.run import Run
from tasks.reporting.task import show_report, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from flows.dataset import BuildResult
    from flows.decision import Decided
    from flows.examination import Examination
    from flows.training import Training
    from registry.records import ModelVersion


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
        show_report(job.model, _address(run, training.mlflow_run_id, page), decided.decision)
    run.complete(result)
    return result


def _address(run: Run, mlflow_run_id: str, page: Path) -> str:
    """Return where people find the page: in MLflow where it has a server, as no web page may link to a file."""
    server = mlflow_of(run.job.home, run.job.settings.mlflow_uri)
    if server is None:
        return page.resolve().as_uri()
    experiment = run.stores.models.connection.experiment_id
    return f"{server}/#/experiments/{experiment}/runs/{mlflow_run_id}/artifacts/{page.name}"
