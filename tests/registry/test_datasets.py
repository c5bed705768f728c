"""A dataset version is there whole or not at all, never changes, and says so when somebody changed it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.datasets import Change, DatasetStore, content_digest, file_digest, next_version
from registry.errors import CurationError, IntegrityError, SettingsError
from registry.records import SPLITS, DatasetManifest, SplitFile


def _write(store: DatasetStore, name: str = "d", version: str = "1.0.0", parent: str | None = None) -> Path:
    with store.writing(name) as staging:
        return store.commit(staging, _files(staging, name, version, parent))


def _files(staging: Path, name: str, version: str, parent: str | None) -> DatasetManifest:
    files = []
    for rows, split in enumerate(SPLITS, start=1):
        path = staging / f"{split}.parquet"
        pq.write_table(pa.table({"example_id": [f"{split}{row}" for row in range(rows)], "x": [1.0] * rows}), path)
        files.append(SplitFile(path=path.name, split=split, rows=rows, sha256=file_digest(path)))
    return DatasetManifest(
        name=name, version=version, parent=parent, digest=content_digest(files, {}), source_digest="0",
        splits={"train": 1, "validation": 2, "test": 3}, code_version="0", files=files,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets")


@pytest.mark.parametrize(
    ("parent", "change", "expected"),
    [
        (None, Change(policy=False, added=3, removed=0), "1.0.0"),
        ("1.2.3", Change(policy=True, added=3, removed=1), "2.0.0"),
        ("1.2.3", Change(policy=False, added=3, removed=1), "1.3.0"),
        ("1.2.3", Change(policy=False, added=0, removed=1), "1.2.4"),
        ("1.2.3", Change(policy=False, added=0, removed=0), None),
    ],
)
def test_the_version_says_what_changed(parent: str | None, change: Change, expected: str | None) -> None:
    assert next_version(parent, change) == expected


def test_what_was_written_is_read_back(store: DatasetStore) -> None:
    path = _write(store)
    assert path == store.path("d", "1.0.0")
    assert sorted(each.name for each in path.iterdir()) == [
        "dataset.json", "test.parquet", "train.parquet", "validation.parquet",
    ]  # fmt: skip
    assert store.load("d").version == "1.0.0"
    assert store.read("d", None, "test", ["example_id"]).to_pydict() == {"example_id": ["test0", "test1", "test2"]}
    assert store.names() == ["d"]
    assert store.holds(store.manifest("d"))


def test_versions_are_ordered_as_numbers(store: DatasetStore) -> None:
    parent = None
    for version in ("1.0.0", "1.2.0", "1.10.0", "2.0.0"):
        _write(store, version=version, parent=parent)
        parent = version
    assert store.versions("d") == ["1.0.0", "1.2.0", "1.10.0", "2.0.0"]
    assert store.latest("d") == "2.0.0"


def test_nothing_is_there_before_the_commit_and_nothing_stays_of_a_failure(store: DatasetStore) -> None:
    with contextlib.suppress(RuntimeError), store.writing("d") as staging:
        _files(staging, "d", "1.0.0", None)
        assert store.versions("d") == []
        raise RuntimeError
    assert store.names() == []
    assert not list((store.root / "d").glob(".staging-*"))


def test_what_a_dead_writer_left_is_removed_and_a_living_ones_is_not(store: DatasetStore) -> None:
    dead = store.root / "d" / ".staging-dead"
    dead.mkdir(parents=True)
    (dead / "train.parquet").write_bytes(b"half")
    with store.writing("d") as living, store.writing("d") as other:
        assert living.is_dir()
        assert other.is_dir()
        assert not dead.exists()


def test_a_lost_writer_lock_of_a_killed_process_is_no_hindrance(store: DatasetStore) -> None:
    child = os.fork()
    if child == 0:
        writing = store.writing("d")
        writing.__enter__()
        os._exit(0)  # as if killed: nothing is cleaned up
    os.waitpid(child, 0)
    assert len(list((store.root / "d").glob(".staging-*"))) == 1
    _write(store)
    assert not list((store.root / "d").glob(".staging-*"))


def test_of_two_writers_one_wins_and_the_other_is_told(store: DatasetStore) -> None:
    with store.writing("d") as slow:
        manifest = _files(slow, "d", "1.0.0", None)
        _write(store)
        with pytest.raises(CurationError, match=r"E7212.*run again"):
            store.commit(slow, manifest)
    assert store.versions("d") == ["1.0.0"]
    store.load("d")


def test_a_version_from_an_outdated_parent_is_refused_whatever_its_number(store: DatasetStore) -> None:
    _write(store)
    with store.writing("d") as slow:
        manifest = _files(slow, "d", "2.0.0", "1.0.0")
        _write(store, version="1.1.0", parent="1.0.0")
        with pytest.raises(CurationError, match="E7212"):
            store.commit(slow, manifest)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_changed_file_is_noticed_before_it_is_used(store: DatasetStore, damage: str) -> None:
    path = _write(store) / "test.parquet"
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncate" else content[:9] + bytes([content[9] ^ 1]) + content[10:])
    with pytest.raises(IntegrityError, match=r"E7912.*test.parquet"):
        store.load("d")
    with pytest.raises(IntegrityError, match="E7912"):
        store.read("d", "1.0.0", "test")
    assert store.read("d", "1.0.0", "train").num_rows == 1


def test_a_changed_manifest_is_noticed(store: DatasetStore) -> None:
    path = _write(store) / "dataset.json"
    text = path.read_text()
    path.write_text(
        text.replace('"rows": 3', '"rows": 2') if '"rows": 3' in text else text.replace('"rows":3', '"rows":2')
    )
    with pytest.raises(IntegrityError, match="E7911"):
        store.manifest("d")
    path.write_text(text[: len(text) // 2])
    with pytest.raises(IntegrityError, match="E7910"):
        store.manifest("d")


def test_unknown_datasets_and_versions_say_what_there_is(store: DatasetStore) -> None:
    with pytest.raises(CurationError, match=r"E7211.*no dataset d.*run `ratchet learn`"):
        store.load("d")
    _write(store)
    with pytest.raises(CurationError, match=r"E7211.*versions are 1\.0\.0"):
        store.load("d", "9.0.0")
    with pytest.raises(CurationError, match="E7211"):
        store.load("d", "../../etc")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 101, "a\0b", "ä"])
def test_a_name_that_could_leave_the_folder_is_refused(store: DatasetStore, name: str) -> None:
    with pytest.raises(CurationError, match="E7210"):
        store.versions(name)


def test_a_full_disk_is_said_plainly(store: DatasetStore) -> None:
    with pytest.raises(SettingsError, match=r"E7822.*full"), store.writing("d"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_where_the_folder_should_be_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("")
    with pytest.raises(SettingsError, match="E782"), DatasetStore(tmp_path / "datasets").writing("d"):
        pass
