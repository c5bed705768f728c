"""Training jobs as MLflow runs: params, states with their times, the dataset as input, metrics in batches, artifacts.

Every call names the run, none relies on an active one; every call can be repeated after a crash.
"""

from __future__ import annotations

import json
import time as clock
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.connection import Connection
from registry.home import now
from registry.records import DatasetManifest, EpochMetrics, JobState, Metric

PARAMS_A_BATCH = 100
METRICS_A_BATCH = 1000
LONGEST_PARAM = 6000
LONGEST_TAG = 5000
LONGEST_DIGEST = 36
"""MLflow's limit: its dataset digest is the beginning of ours; the whole one is in the run's tags."""
_ENDED: dict[JobState, str] = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as flat parameters: `{"train": {"rank": 16}}` → `{"train.rank": "16"}`."""
    flat: dict[str, str] = {}
    for name, item in value.items():
        path = f"{prefix}{name}"
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{path}.")
        else:
            text = item if isinstance(item, str) else json.dumps(item, default=str)
            flat[path] = text[:LONGEST_PARAM]
    return flat


class Tracking:
    """The training jobs of one MLflow."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def start_run(
        self,
        model: str,
        run_id: str,
        work: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str | None] | None = None,
        flow_run_id: str | None = None,
        code_version: str | None = None,
    ) -> str:
        """Start the MLflow run of a training job and return its id.

        Where a run of the same model and work was left running, by a process that was killed, that one goes on.
        Hold the model's lock, so that it is not a live one.

        Args:
            model: Name of the registered model.
            run_id: Ratchet's run id; also the run's name.
            work: Digest of what the job works on (events and policy).
            params: Settings, nested or flat; recorded flat.
            tags: Further tags; those that are None are left out.
            flow_run_id: Prefect's flow run.
            code_version: Version of the code that runs.

        Raises:
            SettingsError: E783x MLflow cannot be used.
        """
        with self.connection.explained() as client:
            found = self._unfinished(client, model, work)
            ours = {
                "model": model,
                "work": work,
                "ratchet_run_id": run_id,
                "flow_run_id": flow_run_id,
                "code_version": code_version,
                **(tags or {}),
            }
            mlflow_run_id = (
                found
                or client.create_run(
                    self.connection.experiment_id, run_name=run_id, tags={"model": model, "work": work}
                ).info.run_id
            )
        self.log_params(mlflow_run_id, params or {}, tags=ours)
        if found is None:
            self.set_state(mlflow_run_id, "PENDING")
        return str(mlflow_run_id)

    def _unfinished(self, client: Any, model: str, work: str) -> str | None:
        runs = client.search_runs(
            [self.connection.experiment_id],
            filter_string=f"tags.model = '{model}' and tags.work = '{work}' and attributes.status = 'RUNNING'",
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def log_params(
        self, mlflow_run_id: str, params: Mapping[str, Any], tags: Mapping[str, str | None] | None = None
    ) -> None:
        """Record settings, nested or flat, and tags. Parameters that are recorded already stay as they are."""
        from mlflow.entities import Param, RunTag

        with self.connection.explained() as client:
            known = client.get_run(mlflow_run_id).data.params
            new = [Param(key, value) for key, value in flatten(params).items() if key not in known]
            marks = [RunTag(key, value[:LONGEST_TAG]) for key, value in (tags or {}).items() if value is not None]
            client.log_batch(mlflow_run_id, params=new[:PARAMS_A_BATCH], tags=marks)
            for start in range(PARAMS_A_BATCH, len(new), PARAMS_A_BATCH):
                client.log_batch(mlflow_run_id, params=new[start : start + PARAMS_A_BATCH])

    def set_state(self, mlflow_run_id: str, state: JobState, reason: str = "") -> None:
        """Record that the job entered a state: tags `state` and `state.STATE` (the time); the last ones end the run."""
        from mlflow.entities import RunTag

        tags = [RunTag("state", state), RunTag(f"state.{state}", now())]
        if reason:
            tags.append(RunTag("state_reason", reason[:LONGEST_TAG]))
        with self.connection.explained() as client:
            client.log_batch(mlflow_run_id, tags=tags)
            if state in _ENDED:
                # The store itself: the client's own call prints links to standard output.
                from mlflow.entities import RunStatus

                client._tracking_client.store.update_run_info(
                    mlflow_run_id, RunStatus.from_string(_ENDED[state]), clock.time_ns() // 1_000_000, None
                )

    def states(self, mlflow_run_id: str) -> dict[str, str]:
        """Return the states that the job went through, with their times, in order of time."""
        with self.connection.explained() as client:
            tags = client.get_run(mlflow_run_id).data.tags
        entered = {name.removeprefix("state."): time for name, time in tags.items() if name.startswith("state.")}
        return dict(sorted(entered.items(), key=lambda item: item[1]))

    def state(self, mlflow_run_id: str) -> JobState:
        """Return the state that the job is in."""
        with self.connection.explained() as client:
            state: JobState = client.get_run(mlflow_run_id).data.tags.get("state", "PENDING")
        return state

    def log_dataset(
        self, mlflow_run_id: str, manifest: DatasetManifest, source: str, context: str = "training"
    ) -> None:
        """Record a dataset version as the run's input; MLflow's UI shows it as `NAME/VERSION` with its digest.

        Args:
            mlflow_run_id: The run.
            manifest: The dataset version.
            source: Where it lies, relative to the home (`Home.relative`).
            context: What the run uses it for.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

        profile = {"num_rows": sum(manifest.splits.values()), **{f"rows_{k}": n for k, n in manifest.splits.items()}}
        dataset = Dataset(
            name=dataset_name(manifest),
            digest=manifest.digest[:LONGEST_DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", context), InputTag("digest", manifest.digest)]
        marks = [RunTag("dataset", dataset_name(manifest)), RunTag("dataset_digest", manifest.digest)]
        with self.connection.explained() as client:
            client.log_inputs(mlflow_run_id, datasets=[DatasetInput(dataset, tags=tags)])
            client.log_batch(mlflow_run_id, tags=marks)

    def log_epochs(self, mlflow_run_id: str, epochs: Sequence[EpochMetrics]) -> None:
        """Record the loss curve, a step an epoch, in as few calls as MLflow allows."""
        points = [
            (name, float(value), epoch.epoch)
            for epoch in epochs
            for name, value in epoch._asdict().items()
            if name != "epoch"
        ]
        self._log(mlflow_run_id, points)

    def log_metrics(
        self,
        mlflow_run_id: str,
        metrics: Mapping[str, Metric],
        *,
        step: int = 0,
        model_id: str | None = None,
        dataset: DatasetManifest | None = None,
    ) -> None:
        """Record numbers in one call; what is not a number is left out.

        Args:
            mlflow_run_id: The run.
            metrics: Names and values.
            step: The step that all are of.
            model_id: LoggedModel that they are about; MLflow's UI shows them with the model.
            dataset: Dataset version that they were measured on; links it to the model.
        """
        points = [(name, float(v), step) for name, v in metrics.items() if isinstance(v, int | float)]
        self._log(mlflow_run_id, points, model_id, dataset)

    def _log(
        self,
        mlflow_run_id: str,
        points: Sequence[tuple[str, float, int]],
        model_id: str | None = None,
        dataset: DatasetManifest | None = None,
    ) -> None:
        from mlflow.entities import Metric as Point

        about = {
            "model_id": model_id,
            "dataset_name": dataset_name(dataset) if dataset else None,
            "dataset_digest": dataset.digest[:LONGEST_DIGEST] if dataset else None,
        }
        at = clock.time_ns() // 1_000_000
        batch = [Point(name, value, at, step, **about) for name, value, step in points]
        with self.connection.explained() as client:
            for start in range(0, len(batch), METRICS_A_BATCH):
                client.log_batch(mlflow_run_id, metrics=batch[start : start + METRICS_A_BATCH])

    def metrics(self, mlflow_run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run."""
        with self.connection.explained() as client:
            return dict(client.get_run(mlflow_run_id).data.metrics)

    def log_artifacts(self, mlflow_run_id: str, paths: Sequence[Path], folder: str | None = None) -> None:
        """Keep files and folders with the run: the report, plots, rejects. A file of the same name is replaced."""
        with self.connection.as_default() as client:
            for path in paths:
                if path.is_dir():
                    client.log_artifacts(mlflow_run_id, str(path), artifact_path=folder)
                else:
                    client.log_artifact(mlflow_run_id, str(path), artifact_path=folder)

    def log_text(self, mlflow_run_id: str, text: str, name: str) -> None:
        """Keep a text with the run as the artifact `name`; one of the same name is replaced."""
        with self.connection.as_default() as client:
            client.log_text(mlflow_run_id, text, name)

    def artifact(self, mlflow_run_id: str, name: str) -> Path:
        """Return a local path of one of the run's artifacts; fetched into the home's cache where it is on a server."""
        import mlflow

        with self.connection.as_default() as client:
            root = client.get_run(mlflow_run_id).info.artifact_uri
            if root.startswith(("/", "file:")):
                return Path(root.removeprefix("file://")) / name
            cache = self.connection.home.cache / "runs" / mlflow_run_id
            cache.mkdir(parents=True, exist_ok=True)
            fetched = mlflow.artifacts.download_artifacts(run_id=mlflow_run_id, artifact_path=name, dst_path=str(cache))
            return Path(fetched)


def dataset_name(manifest: DatasetManifest) -> str:
    """Return how a dataset version is called everywhere: `NAME/VERSION`."""
    return f"{manifest.name}/{manifest.version}"
