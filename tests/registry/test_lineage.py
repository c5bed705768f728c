import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import lineage
from registry.datasets import DatasetStore, content_digest, file_digest
from registry.records import SPLITS, DatasetManifest, ModelVersion, SplitFile


def write(store, version, parent, rows):
    """Write a dataset version with these event ids in its splits."""
    with store.writing("support") as staging:
        files = []
        for split in SPLITS:
            ids = rows.get(split, [])
            table = pa.table(
                {
                    "event_source": pa.array(["/agent" if int(i[1:]) % 2 else "/other" for i in ids], pa.string()),
                    "event_id": pa.array(ids, pa.string()),
                    "example_id": pa.array([f"example-{i}" for i in ids], pa.string()),
                }
            )
            pq.write_table(table, staging / f"{split}.parquet", row_group_size=2)
            digest = file_digest(staging / f"{split}.parquet")
            files.append(SplitFile(path=f"{split}.parquet", split=split, rows=len(ids), sha256=digest))
        made = DatasetManifest(
            name="support",
            version=version,
            digest=content_digest(files, {}),
            parent=parent,
            splits={split: len(rows.get(split, [])) for split in SPLITS},
            source_digest="s",
            code_version="0",
            files=files,
        )
        store.commit(staging, made)


def model(version, dataset, stage="archived", aliases=()):
    return ModelVersion(
        name="support", version=version, stage=stage, aliases=list(aliases), run_id="", model_id="", dataset=dataset
    )


@pytest.fixture
def store(tmp_path):
    made = DatasetStore(tmp_path)
    write(made, "1.0.0", None, {"train": ["e1", "e2"], "test": ["e3"]})
    write(made, "1.1.0", "1.0.0", {"train": ["e1", "e2", "e4", "e5"], "validation": ["e6"], "test": ["e3"]})
    return made


def test_from_a_model_to_the_events_behind_it(store):
    found = lineage.of_version(model("2", "support/1.1.0"), store)
    assert found.chain == ["support/1.1.0", "support/1.0.0"]
    assert found.events == {"train": 4, "validation": 1, "test": 1}
    events = lineage.events_of(found.version, store)
    assert events.column_names == ["split", "event_source", "event_id", "example_id"]
    assert events["event_id"].to_pylist() == ["e1", "e2", "e4", "e5", "e6", "e3"]
    trained = lineage.events_of(found.version, store, ("train",))
    assert set(trained["split"].to_pylist()) == {"train"}
    assert trained.num_rows == 4


def test_from_an_event_to_the_versions_that_saw_it(store):
    versions = [
        model("1", "support/1.0.0"),
        model("2", "support/1.1.0", "production", ["champion"]),
        model("3", None),
    ]
    old = lineage.of_event("e1", store, versions)
    assert [(s.dataset, s.split, s.example_id) for s in old.sightings] == [
        ("support/1.0.0", "train", "example-e1"),
        ("support/1.1.0", "train", "example-e1"),
    ]
    assert old.versions == versions[:2]
    new = lineage.of_event("e6", store, versions)
    assert [(s.dataset, s.split) for s in new.sightings] == [("support/1.1.0", "validation")]
    assert new.versions == versions[1:2]
    assert (new.versions[0].stage, new.versions[0].aliases) == ("production", ["champion"])


def test_the_same_id_of_another_source_is_another_event(store):
    assert lineage.of_event("e1", store, [], source="/agent").sightings
    assert not lineage.of_event("e1", store, [], source="/other").sightings


def test_what_nobody_saw_has_no_lineage(store, tmp_path):
    assert lineage.of_event("e9", store, [model("1", "support/1.0.0")]) == lineage.EventLineage("e9", [], [])
    assert lineage.of_event("e1", DatasetStore(tmp_path / "empty"), []).sightings == []
    for unknown in (None, "support/9.0.0", "other/1.0.0"):
        found = lineage.of_version(model("1", unknown), store)
        assert found.events == {}
        assert lineage.events_of(found.version, store).num_rows == 0
