"""Lineage, both ways: from a model version to the events behind it, and from an event to the versions that saw it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from registry.records import SPLITS, ModelVersion, Split

_COLUMNS = ["event_source", "event_id", "example_id"]


class Datasets(Protocol):
    """What lineage needs of `registry.datasets.DatasetStore`."""

    @property
    def root(self) -> Path:
        """The folder with a folder for each dataset."""
        ...

    def versions(self, name: str) -> list[str]:
        """Return a dataset's versions, oldest first."""
        ...

    def path(self, name: str, version: str) -> Path:
        """Return the folder of a dataset version."""
        ...


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


def of_version(version: ModelVersion, datasets: Datasets) -> ModelLineage:
    """Return the datasets and the number of events behind a model version. Reads no rows."""
    if version.dataset is None or not _folder(datasets, version.dataset).is_dir():
        return ModelLineage(version, [version.dataset] if version.dataset else [], {})
    chain = list(_ancestors(datasets, version.dataset))
    folder = _folder(datasets, version.dataset)
    events: dict[Split, int] = {
        split: sum(pq.read_metadata(file).num_rows for file in _files(folder, split)) for split in SPLITS
    }
    return ModelLineage(version, chain, events)


def events_of(version: ModelVersion, datasets: Datasets, splits: Sequence[Split] = SPLITS) -> pa.Table:
    """Return the events behind a model version: columns split, event_source, event_id, example_id, in dataset order.

    A version whose dataset is not in this home gives an empty table.
    """
    parts = []
    folder = _folder(datasets, version.dataset) if version.dataset else None
    for split in splits:
        for file in _files(folder, split) if folder else ():
            rows = pq.read_table(file, columns=_COLUMNS)
            parts.append(rows.add_column(0, "split", pa.array([split] * rows.num_rows, pa.string())))
    if not parts:
        return pa.table({name: pa.array([], pa.string()) for name in ["split", *_COLUMNS]})
    return pa.concat_tables(parts)


def of_event(
    event_id: str, datasets: Datasets, versions: Sequence[ModelVersion], source: str | None = None
) -> EventLineage:
    """Return the dataset versions that hold an event, and the model versions made from them.

    Only the id column is read, only row groups whose range holds the id, and a file that several dataset versions
    share only once.

    Args:
        event_id: The event's `id`.
        datasets: The dataset versions.
        versions: The model versions to look among, such as `ModelRegistry.versions()`.
        source: The event's `source`; None for any.
    """
    seen: dict[str, list[tuple[str, str]]] = {}
    sightings = []
    for name in _dataset_names(datasets):
        for number in datasets.versions(name):
            folder = datasets.path(name, number)
            digests = {item["path"]: item["sha256"] for item in _manifest(folder).get("files", [])}
            for split in SPLITS:
                for file in _files(folder, split):
                    key = digests.get(file.name, str(file))
                    if key not in seen:
                        seen[key] = _find(file, event_id, source)
                    sightings += [Sighting(f"{name}/{number}", split, *found) for found in seen[key]]
    holding = {sighting.dataset for sighting in sightings}
    return EventLineage(event_id, sightings, [version for version in versions if version.dataset in holding])


def _find(file: Path, event_id: str, source: str | None) -> list[tuple[str, str]]:
    wanted = pc.field("event_id") == event_id
    if source is not None:
        wanted &= pc.field("event_source") == source
    rows = pads.dataset(file, format="parquet").to_table(columns=["event_source", "example_id"], filter=wanted)
    return list(zip(rows["event_source"].to_pylist(), rows["example_id"].to_pylist(), strict=True))


def _ancestors(datasets: Datasets, dataset: str) -> Iterator[str]:
    """Yield `NAME/VERSION` of a dataset version, its parent, and so on."""
    known: set[str] = set()
    following: str | None = dataset
    while following is not None and following not in known:
        known.add(following)
        yield following
        parent = _manifest(_folder(datasets, following)).get("parent")
        name = following.split("/")[0]
        following = None if parent is None else parent if "/" in parent else f"{name}/{parent}"


def _manifest(folder: Path) -> dict[str, Any]:
    """Return `dataset.json` as it is; lineage trusts it, who reads the rows to learn from them verifies it."""
    file = folder / "dataset.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _folder(datasets: Datasets, dataset: str) -> Path:
    name, _, number = dataset.partition("/")
    return datasets.path(name, number)


def _files(folder: Path, split: Split) -> list[Path]:
    return sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])


def _dataset_names(datasets: Datasets) -> list[str]:
    if not datasets.root.is_dir():
        return []
    return sorted(folder.name for folder in datasets.root.iterdir() if folder.is_dir() and folder.name[0] != ".")
