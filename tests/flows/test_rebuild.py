"""A dataset version is made again from its events, or it is told what became of them."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.dataset import BuildResult, build_dataset
from flows.job import prepare
from flows.log_input import discard_log
from flows.progress import Progress
from flows.queries import list_datasets
from flows.rebuild import NOTE, check_same, note_inputs, rebuild_dataset
from flows.run import Run
from flows.settings import Settings
from flows.show import show_datasets
from flows.sources import standing
from flows.stores import Stores, open_stores
from registry.errors import CurationError, ExtractionError, IntegrityError

WORDS = [a + b for a in "bdfgklmnprst" for b in ("ala", "ero", "imu", "osa", "une", "eki", "abo", "ori")]


def execution(number: int, **data: Any) -> dict[str, Any]:
    generator = random.Random(number)
    said = [" ".join(generator.choices(WORDS, k=size)) for size in (20, 40)]
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "execution.completed",
        "time": "2026-11-20T00:00:00Z",
        "data": {
            "trace_id": f"t{number}", "agent": "support", "status": "success", "quality_score": 90.0, "confidence": 0.9,
            "task": {"type": "chat", "domain": "travel", "instruction": said[0]}, "steps": [], "output": said[1],
            **data,
        },
    }  # fmt: skip


def feedback(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": f"f{number}", "source": "/test", "type": "feedback.recorded",
        "time": "2026-11-20T01:00:00Z", "data": {"trace_id": f"t{number}", "kind": "thumbs", "value": True},
    }  # fmt: skip


def lines(events: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def learned(stores: Stores, *events: str, seed: int = 0, policy: Path | None = None) -> BuildResult:
    """Make the next version as `learn` does, with what it notes."""
    job = prepare(stores.settings, events=list(events), seed=seed, by="bob", policy=policy)
    made = build_dataset(
        job.inputs, job.policy, stores.datasets, job.model, seed=job.seed, scratch=job.scratch, out=job.folder,
        log=job.log, standing=standing(stores, job.policy.sources),
    )  # fmt: skip
    note_inputs(Run(job, stores, Progress()), made)
    shutil.rmtree(job.scratch)
    discard_log(job.inputs)
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home of three versions: of a file, of a file in the home, and of the event log."""
    folder = tmp_path_factory.mktemp("kept")
    stores = open_stores(Settings(home=folder / "home"))
    (folder / "one.jsonl").write_text(lines([execution(n) for n in range(60)]))
    assert learned(stores, str(folder / "one.jsonl"), seed=3).manifest.version == "1.0.0"
    inside = stores.home.root / "two.jsonl"
    inside.write_text(lines([execution(n) for n in range(60, 90)]))
    assert learned(stores, str(inside)).manifest.version == "1.1.0"
    stores.events.append([execution(n, quality_score=None if n < 110 else 90.0) for n in range(100, 140)])
    assert learned(stores, "log:").manifest.version == "1.2.0"
    stores.events.append([*(feedback(n) for n in range(100, 110)), *(execution(n) for n in range(140, 160))])
    assert learned(stores, "log:").manifest.version == "1.3.0"
    return folder


@pytest.fixture
def home(kept: Path, tmp_path: Path) -> Settings:
    """A copy that lies elsewhere; what lay outside the home has not moved with it."""
    shutil.copytree(kept / "home", tmp_path / "home")
    return Settings(home=tmp_path / "home")


def outcomes(rebuilt: dict[str, Any]) -> list[str]:
    return [each["outcome"] for each in rebuilt["versions"]]


def told(rebuilt: dict[str, Any]) -> str:
    assert not rebuilt["same"]
    with pytest.raises(IntegrityError, match="E7974: not all can be made again") as caught:
        check_same(rebuilt)
    return str(caught.value)


@contextmanager
def by_force(settings: Settings, table: str) -> Iterator[sqlite3.Connection]:
    """Give the database to somebody who takes its triggers away."""
    with sqlite3.connect(settings.layout.database) as database:
        for change in ("update", "delete"):
            database.execute(f"DROP TRIGGER {table}_refuses_{change}")
        yield database


def test_all_versions_are_made_again_with_the_same_digests_wherever_the_home_lies_now(home):
    rebuilt = rebuild_dataset(home, "agent", [])
    assert [each["version"] for each in rebuilt["versions"]] == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    assert outcomes(rebuilt) == ["the same"] * 4
    assert all(each["rebuilt"] == each["digest"] for each in rebuilt["versions"])
    check_same(rebuilt)
    assert rebuild_dataset(home, "agent/1.1.0", [])["versions"] == rebuilt["versions"][:2]
    assert list(home.layout.scratch.iterdir()) == []
    assert open_stores(home).datasets.versions("agent") == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]


def test_what_was_noted_says_where_the_inputs_lay_and_who_began(kept, home):
    notes = open_stores(home).history.notes(NOTE, "agent")
    assert [(note.version, note.by) for note in notes] == [
        ("1.0.0", "bob"), ("1.1.0", "bob"), ("1.2.0", "bob"), ("1.3.0", "bob"),
    ]  # fmt: skip
    paths = [note.body["inputs"][0]["path"] for note in notes]
    assert paths == [str(kept / "one.jsonl"), "two.jsonl", None, None]
    assert [note.body["seed"] for note in notes] == [3, 0, 0, 0]
    assert notes[2].body["inputs"][0]["name"] == "log:@0-40"


def test_inputs_that_are_gone_are_told_and_found_where_they_lie_now(home):
    inside = home.layout.root / "two.jsonl"
    elsewhere = home.layout.root.parent / "archive" / "renamed.jsonl"
    elsewhere.parent.mkdir()
    inside.rename(elsewhere)
    rebuilt = rebuild_dataset(home, "agent/1.1.0", [])
    assert outcomes(rebuilt)[0] == "the same"
    assert "two.jsonl is gone" in told(rebuilt)
    assert rebuild_dataset(home, "agent/1.1.0", [str(elsewhere.parent)])["same"]
    other = elsewhere.with_name("two.jsonl")
    other.write_text(elsewhere.read_text() + lines([execution(1_000)]))
    wrong = rebuild_dataset(home, "agent/1.1.0", [str(other)])
    assert "two.jsonl is gone (its digest was" in told(wrong)
    assert "and none of the 1 files that were named is what it was" in told(wrong)


def test_a_file_that_was_named_and_is_no_input_is_told_where_the_inputs_are_still_there(home):
    other = home.layout.root.parent / "two.jsonl"
    other.write_text((home.layout.root / "two.jsonl").read_text() + lines([execution(1_000)]))
    rebuilt = rebuild_dataset(home, "agent/1.1.0", [str(other)])
    assert rebuilt["same"]
    assert rebuilt["unused"] == [str(other)]
    assert rebuild_dataset(home, "agent/1.1.0", [str(home.layout.root / "two.jsonl")])["unused"] == []


def test_a_stored_version_that_is_damaged_is_told_although_its_events_make_the_same(home):
    store = open_stores(home).datasets
    with next(store.path("agent", "1.1.0").glob("train*.parquet")).open("ab") as file:
        file.write(b"more")
    rebuilt = rebuild_dataset(home, "agent/1.1.0", [])
    assert rebuilt["versions"][1]["digest"] == rebuilt["versions"][1]["rebuilt"]
    assert "agent/1.1.0: what is stored is damaged: dataset agent/1.1.0 is not what was written" in told(rebuilt)
    assert "its events make the same" in outcomes(rebuilt)[1]


def test_a_damaged_version_is_listed_as_such_beside_the_others(home, capsys):
    file = open_stores(home).datasets.path("agent", "1.1.0") / "dataset.json"
    file.write_text(file.read_text().replace('"digest": "', '"digest": "0', 1))
    listed = list_datasets(home)
    assert [bool(each["damaged"]) for each in listed["datasets"]] == [False, True, False, False]
    show_datasets(listed)
    shown = capsys.readouterr().out
    assert "E7911" in shown
    assert shown.count("agent/1.") >= 4


def test_an_input_that_was_changed_is_told_and_the_versions_above_it_are_still_tried(home):
    inside = home.layout.root / "two.jsonl"
    inside.write_text(inside.read_text() + lines([execution(1_000)]))
    rebuilt = rebuild_dataset(home, "agent", [])
    assert outcomes(rebuilt)[0] == outcomes(rebuilt)[2] == "the same", "on top of the version that is stored"
    assert "agent/1.1.0:" in told(rebuilt)
    assert "two.jsonl was changed since" in outcomes(rebuilt)[1]


def test_another_event_in_the_log_is_told(home):
    stores = open_stores(home)
    number = stores.events.query(limit=1)[0].offset
    stores.events.engine.dispose()
    with by_force(home, "events") as database:
        changed = (
            "UPDATE events SET body = replace(body, 'travel', 'trade') WHERE sequence = ? AND body LIKE '%travel%'"
        )
        assert database.execute(changed, (number + 20,)).rowcount == 1
    assert "has other events now" in outcomes(rebuild_dataset(home, "agent/1.2.0", []))[2]


def test_a_version_whose_record_was_erased_or_never_made_says_so(home):
    stores = open_stores(home)
    (stores.home.root / "more.jsonl").write_text(lines([execution(n) for n in range(200, 220)]))
    job = prepare(home, events=[str(stores.home.root / "more.jsonl")])
    build_dataset(
        job.inputs, job.policy, stores.datasets, job.model, seed=0, scratch=job.scratch, out=job.folder,
        standing=standing(stores, job.policy.sources),
    )  # fmt: skip
    assert outcomes(rebuild_dataset(home, "agent", []))[-1] == "what it was made of was not recorded, or was erased"


def test_a_stored_version_that_is_another_one_than_its_events_make_is_found(home):
    """Somebody exchanged a version, with a manifest that fits: its record does not."""
    store = open_stores(home).datasets
    folder = store.path("agent", "1.3.0")
    manifest = json.loads((folder / "dataset.json").read_text())
    other = home.layout.root.parent / "other"
    made = learned(open_stores(Settings(home=other)), str(home.layout.root / "two.jsonl")).manifest
    changed = manifest | {name: json.loads(made.model_dump_json())[name] for name in ("digest", "files", "splits")}
    for path in (other / "datasets" / "agent" / "1.0.0").glob("*.parquet"):
        shutil.copy(path, folder / path.name)
    (folder / "dataset.json").write_text(json.dumps(changed))
    store.load("agent", "1.3.0")
    assert outcomes(rebuild_dataset(home, "agent", []))[-1] == "what it was made of was not recorded, or was erased"


def test_what_names_no_version_and_what_cannot_be_read_is_told(home):
    for which, code in (("agent/", "E7270"), ("agent/9.9.9", "E7211"), ("nobody", "E7211"), ("../agent", "E7210")):
        with pytest.raises(CurationError, match=code):
            rebuild_dataset(home, which, [])
    with pytest.raises(ExtractionError, match="E7001"):
        rebuild_dataset(home, "agent", ["nothing.jsonl"])
