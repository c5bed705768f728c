"""Adapters without what somebody said: rewritten, put in the place of the old ones, and attested anew."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from registry.artifacts import folder_digest, local_model, present
from registry.erasure import plan as erasure
from registry.erasure.plan import Keys, ModelPlan, Plan
from registry.errors import IntegrityError
from registry.files import flush, write_whole
from registry.records import ModelVersion, assistant_turns
from tasks.training.forget import forget

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.stores import Stores


def forget_models(stores: Stores, plan: Plan, folder: Path, keys: Keys) -> Plan:
    """Take what somebody said out of the adapters of a plan, mark their versions as tainted, and return the plan.

    Of each the new files are made aside and their digest is kept in the plan, before they take the place of the old
    ones: so that a crash in between is known from a change by somebody else.

    Args:
        stores: The stores.
        plan: What goes on; its models that are not done.
        folder: Where plans are kept.
        keys: By what the person's rows in datasets are known.
    """
    said: dict[str, Counter[str]] = {}
    for place, model in enumerate(plan.models):
        if model.done:
            continue
        version = stores.models.get(model.model, model.version)
        aside = folder / plan.plan / f"{model.model}-{model.version}"
        if model.after is None:
            turns = said.setdefault(model.dataset, _said(stores, model.dataset, keys))
            model = _prepared(stores, version, model, turns, aside)
            plan = erasure.keep(folder, _with(plan, place, model))
        if model.after is not None:
            _replace(stores, version, aside, model, plan)
        _taint(stores, model, plan)
        plan = erasure.keep(folder, _with(plan, place, model.model_copy(update={"done": True})))
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(folder / plan.plan, ignore_errors=True)
    return plan


def _with(plan: Plan, place: int, model: ModelPlan) -> Plan:
    models = list(plan.models)
    models[place] = model
    return plan.model_copy(update={"models": models})


def rows_of(stores: Stores, dataset: str, keys: Keys, columns: list[str]) -> pa.Table:
    """Return the rows of a person in a dataset version, `NAME/VERSION`: the columns, `event_key` and `split`."""
    import pyarrow as pa
    import pyarrow.dataset as pads

    name, _, number = dataset.partition("/")
    manifest = stores.datasets.manifest(name, number)
    parts = []
    for path, file in zip(stores.datasets.files(manifest), stores.datasets.present(manifest), strict=True):
        rows = pads.dataset(path, format="parquet")
        own = rows.to_table(columns=[*columns, "event_key"], filter=erasure.is_theirs(rows.schema, keys))
        parts.append(own.append_column("split", pa.array([file.split] * own.num_rows, pa.string())))
    return pa.concat_tables(parts)


def _said(stores: Stores, dataset: str, keys: Keys) -> Counter[str]:
    """Return the assistant turns of a person's rows in the train split, and how often each is there."""
    rows = rows_of(stores, dataset, keys, ["messages"])
    return Counter(
        turn.text
        for split, messages in zip(rows["split"].to_pylist(), rows["messages"].to_pylist(), strict=True)
        if split == "train"
        for turn in assistant_turns(json.loads(messages))
    )


def _prepared(stores: Stores, version: ModelVersion, model: ModelPlan, said: Counter[str], aside: Path) -> ModelPlan:
    """Write the new artifact aside and return the plan with its digest, or as it is where nothing changes."""
    artifact = stores.models.artifact(version)
    shutil.rmtree(aside, ignore_errors=True)
    turns = forget(artifact, said, aside)
    if not turns:
        return model
    for file in aside.iterdir():
        flush(file)
    digests = {"before": folder_digest(artifact), "after": folder_digest(aside), "turns": turns}
    return model.model_copy(update=digests)


def _replace(stores: Stores, version: ModelVersion, aside: Path, model: ModelPlan, plan: Plan) -> None:
    """Put the new files in the place of the old ones, on the server as well, and sign them."""
    connection = stores.models.connection
    stored = local_model(connection, version.name, version.version, version.model_id)
    artifact = present(version, stored)
    if folder_digest(artifact) != model.after:
        if folder_digest(aside) != model.after:
            raise IntegrityError(
                "E7982",
                f"the new files of {version.name}/{version.version} are not those that were planned",
                f"remove {aside.parent.with_suffix('.json')}, and erase again by the same name",
            )
        for file in sorted(aside.iterdir()):
            write_whole(artifact / file.name, file.read_bytes())
        for part in artifact.glob(".*.part"):  # of a process that was killed
            part.unlink()
    if stored.is_relative_to(stores.home.cache):
        with connection.as_default() as client:
            client.log_model_artifacts(version.model_id, str(stored))
        shutil.rmtree(stored)
    stores.bundles.reattest(version, f"somebody's text was erased (erasure {plan.plan})", plan.by)


def _taint(stores: Stores, model: ModelPlan, plan: Plan) -> None:
    """Mark a version in MLflow, and in the history of its model."""
    what = f"{model.turns} known turns changed" if model.turns else "it was examined with what is gone"
    said = f"erasure {plan.plan} of {plan.time[:10]}: {what}; train it again"
    with stores.models.connection.explained() as client:
        client.set_model_version_tag(model.model, model.version, erasure.TAG, said)
    body = {"reason": said, "plan": plan.plan, "dataset": model.dataset, "before": model.before, "after": model.after}
    key = f"{erasure.NOTE}:{plan.plan}:{model.model}:{model.version}"
    stores.history.note(erasure.NOTE, model.model, body, version=model.version, by=plan.by, key=key)
