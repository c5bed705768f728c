"""Examples that are erased from a dataset version: the text goes, the digests stay, and the version verifies."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.datasets import DatasetStore, content_digest, file_digest
from registry.erasure.plan import Keys, event_key, holding, is_theirs, text_key
from registry.erasure.tombstones import ERASED, take_out
from registry.errors import IntegrityError
from registry.home import Home
from registry.records import SPLITS, DatasetManifest, SplitFile
from registry.trust.signing import Keyring

ROWS = {"train": ["ann", "zoe", "bob", "zoe"], "validation": ["ann"], "test": ["zoe"]}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").create()


@pytest.fixture
def store(home):
    made = DatasetStore(home.datasets)
    with made.writing("d") as staging:
        files = [write(staging, split, ROWS[split]) for split in SPLITS]
        manifest = DatasetManifest(
            name="d", version="1.0.0", digest=content_digest(files, {}), splits={s: len(ROWS[s]) for s in SPLITS},
            source_digest="s", code_version="0", files=files,
        )  # fmt: skip
        made.commit(staging, manifest)
    return made


def write(folder, split, people):
    names = [f"{split}-{place}" for place in range(len(people))]
    keys = {"subject_key": people, "session_key": names, "trace_key": names}
    columns = {name: pa.array([text_key(text) for text in texts], pa.uint64()) for name, texts in keys.items()}
    columns["event_key"] = pa.array([event_key("/agent", name) for name in names], pa.uint64())
    messages = [json.dumps([{"role": "user", "content": f"I am {person}"}]) for person in people]
    pq.write_table(pa.table({"example_id": names, "messages": messages, **columns}), folder / f"{split}.parquet")
    digest = file_digest(folder / f"{split}.parquet")
    return SplitFile(path=f"{split}.parquet", split=split, rows=len(people), sha256=digest)


def of(person):
    return Keys(frozenset({text_key(person)}), frozenset(), frozenset(), frozenset())


def erase(home, store, person="zoe"):
    keys = of(person)
    return take_out(
        store.path("d", "1.0.0"), store.manifest("d"), lambda schema: is_theirs(schema, keys), Keyring(home.keys).own(),
        store.trust,
    )  # fmt: skip


def test_keys_are_those_that_making_a_dataset_writes():
    from tasks.extraction.keys import event_keys, text_keys

    assert text_keys(["zoë", "7"]).tolist() == [text_key("zoë"), text_key("7")]
    assert event_keys(["/a", "/b"], ["e1", "e2"]).tolist() == [event_key("/a", "e1"), event_key("/b", "e2")]


def test_a_person_is_counted_by_version_and_split(store):
    (held,) = holding(store, of("zoe"))
    assert (held.name, held.rows) == ("d/1.0.0", {"train": 2, "test": 1})
    assert holding(store, of("nobody")) == []


def test_the_rows_go_and_the_version_still_verifies_with_its_digest(home, store):
    digest = store.manifest("d").digest
    assert erase(home, store) == 3
    assert store.load("d").digest == digest
    assert store.read("d", None, "train")["example_id"].to_pylist() == ["train-0", "train-2"]
    assert store.read("d", None, "test").num_rows == 0
    assert holding(store, of("zoe")) == []


def test_a_tombstone_keeps_digests_and_nothing_else(home, store):
    erase(home, store)
    left = store.erased(store.manifest("d"))
    assert [(each.example_id, each.split) for each in left.tombstones] == [
        ("test-0", "test"), ("train-1", "train"), ("train-3", "train"),
    ]  # fmt: skip
    keys = [event_key("/agent", name) for name in ("test-0", "train-1", "train-3")]
    assert [each.event_key for each in left.tombstones] == keys
    texts = [path.read_bytes() for path in store.path("d", "1.0.0").iterdir() if path.suffix != ".parquet"]
    assert not any(b"I am zoe" in text for text in texts)


def test_several_erasures_add_up(home, store):
    assert (erase(home, store, "zoe"), erase(home, store, "bob"), erase(home, store, "bob")) == (3, 1, 0)
    assert store.read("d", None, "train")["example_id"].to_pylist() == ["train-0"]
    assert len(store.erased(store.manifest("d")).tombstones) == 4
    assert store.load("d").version == "1.0.0"


def test_a_version_that_nothing_was_erased_from_has_no_record(home, store):
    assert erase(home, store, "nobody") == 0
    assert not (store.path("d", "1.0.0") / ERASED).exists()
    assert store.erased(store.manifest("d")) is None


@pytest.mark.parametrize("file", ["train.parquet", "test.parquet"])
def test_changed_bytes_are_found_after_an_erasure_as_before(file, home, store):
    erase(home, store)
    path = store.path("d", "1.0.0") / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match="E7912"):
        store.load("d")


def test_an_erasure_that_nobody_here_signed_is_refused(home, store, tmp_path):
    erase(home, store)
    folder = store.path("d", "1.0.0")
    known, keys = (folder / ERASED).read_text(), of("ann")
    stranger = Keyring(tmp_path / "elsewhere")
    (folder / ERASED).unlink()
    with pytest.raises(IntegrityError, match="E7912"):  # the files without the record are changed files
        store.load("d")
    (folder / ERASED).write_text(known)
    take_out(
        folder, store.manifest("d"), lambda schema: is_theirs(schema, keys), stranger.own(),
        lambda: type(stranger.trust())([*stranger.trust().keys.values(), *store.trust().keys.values()]),
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="E7942"):
        store.load("d")


def test_the_record_of_another_version_is_refused(home, store):
    erase(home, store)
    manifest = store.manifest("d")
    with store.writing("d") as staging:
        for file in manifest.files:
            shutil.copyfile(store.path("d", "1.0.0") / file.path, staging / file.path)
        shutil.copyfile(store.path("d", "1.0.0") / ERASED, staging / ERASED)
        store.commit(staging, manifest.model_copy(update={"version": "1.0.1", "parent": "1.0.0"}))
    with pytest.raises(IntegrityError, match=r"E7980.*about d/1\.0\.0"):
        store.load("d", "1.0.1")


def test_a_crash_between_record_and_files_is_put_right_by_the_next_erasure(home, store):
    folder = store.path("d", "1.0.0")
    before = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    erase(home, store)
    for name, data in before.items():  # as if the files had not been put in their places yet
        (folder / name).rename(folder / f"{name}.erasing")
        (folder / name).write_bytes(data)
    (folder / "train.parquet.erasing").rename(folder / "train.parquet")
    assert erase(home, store) == 0
    assert store.load("d").version == "1.0.0"
    assert not list(folder.glob("*.erasing"))


def test_files_that_no_record_names_are_thrown_away(home, store):
    folder = store.path("d", "1.0.0")
    (folder / "train.parquet.erasing").write_bytes(b"of a process that was killed before it wrote the record")
    assert erase(home, store, "bob") == 1
    assert not list(folder.glob("*.erasing"))
    assert holding(store, of("zoe"))[0].rows["train"] == 2
