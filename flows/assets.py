"""What Prefect's UI is shown of a run beside its tables: assets as lineage (events → dataset → model), and a bar."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.assets import Asset, materialize

from tasks.reporting.task import artifact_key

STEPS = 6
"""Of the main job: dataset, training, registering, validation, decision, report."""


def publish(kind: str, model: str, version: str, behind: str) -> None:
    """Say in Prefect that an asset has a new version, and what it was made of.

    Args:
        kind: dataset or model.
        model: Name of the model, which is its dataset's as well.
        version: The new version.
        behind: Kind of asset that it was made of: events or dataset.
    """
    announce = materialize(
        Asset(key=_key(kind, model)),
        asset_deps=[_key(behind, model)],
        name=f"publish {kind}",
        task_run_name=f"publish {kind} {version}",
    )
    announce(lambda: version)()


def _key(kind: str, model: str) -> str:
    return f"ratchet://{kind}{'' if kind == 'events' else 's'}/{model}"


class ProgressArtifact:
    """A bar in Prefect's UI: how much of a run of the main job is done. Nothing outside a flow run."""

    def __init__(self, model: str) -> None:
        self.key = artifact_key(f"progress-{model}")
        self.artifact: UUID | None = None
        self.steps = 0
        self.current = ""

    def step(self, name: str, total: float | None) -> None:
        """Make the bar at the first step, and name the step."""
        self.current = name
        if self.artifact is None and runtime.flow_run.id is not None:
            self.artifact = cast("UUID", create_progress_artifact(0.0, self.key, name))

    def expect(self, more: float) -> None:
        """Ignore it: one call to the server a step is enough."""

    def advance(self, done: float) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Move the bar by a step."""
        self.steps += 1
        if self.artifact is not None:
            update_progress_artifact(self.artifact, 100.0 * min(1.0, self.steps / STEPS), self.current)
