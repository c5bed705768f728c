"""Events → a dataset version, in partitions that are mapped tasks."""

from __future__ import annotations

from functools import partial
from typing import Any

from flows.assets import publish
from flows.dataset import BuildResult, build_dataset
from flows.job import overtaken_by
from flows.mapping import mapper
from flows.memory import remembered
from flows.rebuild import note_inputs
from flows.run import Run
from flows.sources import learn_of_sources, note_standing, record_attempts, standing
from registry.erasure.plan import forgotten
from registry.records import canonical_digest
from tasks.reporting.task import show_funnel


def make_dataset(run: Run) -> BuildResult:
    """Make the next version of the model's dataset from its events."""
    job, store = run.job, run.stores.datasets
    now = standing(run.stores, job.policy.sources)

    def build() -> BuildResult:
        made = build_dataset(
            job.inputs, job.policy, store, job.model, seed=job.seed, scratch=job.scratch, out=job.folder,
            run=mapper(job.settings, run.progress), partition_bytes=job.settings.partition_bytes,
            log=job.log, standing=now, attempted=partial(record_attempts, run),
            forgotten=forgotten(run.stores.history, run.stores.keyring.trust()),
        )  # fmt: skip
        note_standing(run, made, now)
        return made

    def still(known: BuildResult) -> bool:
        return store.holds(known.manifest) and store.latest(job.model) == known.manifest.version

    with run.progress.step("dataset"):
        made = remembered(run.stores.keyring, job.folder, "dataset", BuildResult, build, still)
        note_inputs(run, made)
        learn_of_sources(run, made)
        publish("dataset", job.model, made.manifest.version, "events")
    show_funnel(job.model, made.events, made.examples, made.manifest)
    return made


def learned_before(run: Run, dataset: BuildResult) -> dict[str, Any] | None:
    """Return the summary of an earlier run that trained on this very dataset in this very way, if there is one."""
    if not dataset.unchanged:
        return None
    for entry in reversed(run.stores.history.ledger()):
        if entry.event == "completed" and entry.model == run.job.model and entry.body:
            same_data = (entry.body.get("dataset") or {}).get("digest") == dataset.manifest.digest
            if same_data and entry.body.get("recipe") == recipe(run):
                return dict(entry.body) if overtaken_by(entry.body, run.stores.history) is None else None
    return None


def recipe(run: Run) -> str:
    """Return a digest of how this run trains and examines: the policy without its data part, seed and strategy."""
    policy = run.job.policy.model_dump(mode="json")
    parts = {name: policy[name] for name in ("training", "validation", "promotion")}
    return canonical_digest([parts, run.job.seed, run.job.strategy, run.job.settings.mlflow_uri])
