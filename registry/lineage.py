"""Lineage, both ways: from a model version to the events behind it, and from an event to the versions that saw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from registry.datasets import DatasetStore
from registry.records import SPLITS, DatasetManifest, ModelVersion, Split
from registry.tracking import dataset_name

_COLUMNS = ["event_source", "event_id", "example_id"]


class ModelLineage(NamedTuple):
    """Where a model version comes from."""

    version: ModelVersion
    chain: list[str]
    """The dataset version that it was trained on, its parent, and so on: `NAME/VERSION`."""
    events: dict[Split, int]
    """How many events are behind each split: trained on, watched during training, examined with."""


class Sighting(NamedTuple):
    """A dataset version that an event is in."""

    dataset: str
    """`NAME/VERSION`."""
    split: Split
    event_source: str
    example_id: str


class EventLineage(NamedTuple):
    """Where an event went."""

    event_id: str
    sightings: list[Sighting]
    versions: list[ModelVersion]
    """The model versions that were made from these datasets, with their stages and aliases."""


def of_version(version: ModelVersion, datasets: DatasetStore) -> ModelLineage:
    """Return the datasets and the number of events behind a model version. Reads no rows."""
    manifest = _manifest(version, datasets)
    if manifest is None:
        return ModelLineage(version, [version.dataset] if version.dataset else [], {})
    events: dict[Split, int] = {
        split: sum(file.rows for file in datasets.present(manifest) if file.split == split) for split in SPLITS
    }
    return ModelLineage(version, list(_ancestors(datasets, manifest)), events)


def events_of(version: ModelVersion, datasets: DatasetStore, splits: Sequence[Split] = SPLITS) -> pa.Table:
    """Return the events behind a model version: columns split, event_source, event_id, example_id, in dataset order.

    A version whose dataset is not in this home gives an empty table.

    Raises:
        IntegrityError: E7912 the dataset's files are missing or changed.
    """
    manifest = _manifest(version, datasets)
    if manifest is None:
        return pa.table({name: pa.array([], pa.string()) for name in ["split", *_COLUMNS]})
    parts = []
    for split in splits:
        rows = datasets.read(manifest.name, manifest.version, split, _COLUMNS)
        parts.append(rows.add_column(0, "split", pa.array([split] * rows.num_rows, pa.string())))
    return pa.concat_tables(parts, promote_options="permissive")


def of_event(
    event_id: str, datasets: DatasetStore, versions: Sequence[ModelVersion], source: str | None = None
) -> EventLineage:
    """Return the dataset versions that hold an event, and the model versions made from them.

    Only the id columns are read, only row groups whose range holds the id, and a file that several dataset versions
    share only once.

    Args:
        event_id: The event's `id`.
        datasets: The dataset versions.
        versions: The model versions to look among, such as `ModelRegistry.versions()`.
        source: The event's `source`; None for any.
    """
    seen: dict[str, list[tuple[str, str]]] = {}
    sightings = []
    for manifest in _manifests(datasets):
        folder = datasets.path(manifest.name, manifest.version)
        for file in manifest.files:
            if file.sha256 not in seen:
                seen[file.sha256] = _find(folder / file.path, event_id, source)
            sightings += [Sighting(dataset_name(manifest), file.split, *found) for found in seen[file.sha256]]
    holding = {sighting.dataset for sighting in sightings}
    return EventLineage(event_id, sightings, [version for version in versions if version.dataset in holding])


def _find(file: Path, event_id: str, source: str | None) -> list[tuple[str, str]]:
    wanted = pc.field("event_id") == event_id
    if source is not None:
        wanted &= pc.field("event_source") == source
    rows = pads.dataset(file, format="parquet").to_table(columns=["event_source", "example_id"], filter=wanted)
    return list(zip(rows["event_source"].to_pylist(), rows["example_id"].to_pylist(), strict=True))


def _manifests(datasets: DatasetStore) -> Iterator[DatasetManifest]:
    for name in datasets.names():
        for number in datasets.versions(name):
            yield datasets.manifest(name, number)


def _manifest(version: ModelVersion, datasets: DatasetStore) -> DatasetManifest | None:
    """Return the manifest of the dataset that a version was trained on, None where it is not in this home."""
    name, _, number = (version.dataset or "").partition("/")
    return datasets.manifest(name, number) if name and number in datasets.versions(name) else None


def _ancestors(datasets: DatasetStore, manifest: DatasetManifest) -> Iterator[str]:
    """Yield `NAME/VERSION` of a dataset version, its parent, and so on."""
    following: DatasetManifest | None = manifest
    while following is not None:
        yield dataset_name(following)
        parent = following.parent
        known = parent is not None and parent in datasets.versions(following.name)
        following = datasets.manifest(following.name, parent) if known else None
