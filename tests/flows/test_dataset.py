"""Events become dataset versions: on made events, and on the real ones where they are."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from flows.dataset import BuildResult, build_dataset
from flows.policy import Policy
from registry.datasets import DatasetStore
from registry.errors import CurationError, ExtractionError, FilteringError
from registry.records import SPLITS
from tasks.curation.fingerprint import compared_text
from tasks.curation.redact import DISGUISES
from tasks.curation.shards import read_decisions
from tasks.extraction.inputs import find_inputs

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "events"
WORDS = [a + b for a in "bdfgklmnprst" for b in ("ala", "ero", "imu", "osa", "une", "eki", "abo", "ori")]


def _real(*names: str) -> list[str]:
    paths = [REAL / f"{name}.jsonl" for name in names]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"the real records are not at {REAL}: nothing was tested on them")
    return [str(path) for path in paths]


def _event(number: int, generator: random.Random, **data: Any) -> dict[str, Any]:
    def text(size: int) -> str:
        return " ".join(generator.choices(WORDS, k=size))

    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "execution.completed",
        "time": "2026-01-05T00:00:00Z", "subject": f"s{number // 2}",
        "data": {
            "trace_id": f"t{number}", "agent": "a", "status": "success", "quality_score": 90.0, "confidence": 0.9,
            "task": {"type": "support", "domain": "travel", "instruction": text(20)},
            "steps": [], "output": text(40), **data,
        },
    }  # fmt: skip


def _events(path: Path, count: int = 60, seed: int = 0, **data: Any) -> str:
    generator = random.Random(seed)
    lines = [json.dumps(_event(number, generator, **data)) for number in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


class _Place:
    """A store and the folders beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DatasetStore(folder / "datasets")

    def build(self, *paths: str, name: str = "d", policy: Policy | None = None, **options: Any) -> BuildResult:
        return build_dataset(
            find_inputs(list(paths)), policy or Policy(), self.store, name, seed=options.pop("seed", 0),
            scratch=self.folder / "scratch", out=self.folder / "out", **options,
        )  # fmt: skip

    def rows(self, made: BuildResult) -> list[dict[str, Any]]:
        tables = [
            table.append_column("split", pa.array([split] * table.num_rows, pa.string()))
            for split in SPLITS
            for table in [self.store.read(made.manifest.name, made.manifest.version, split)]
        ]
        rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
        return rows

    def bytes(self, made: BuildResult) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(made.path.iterdir())}


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    return _Place(tmp_path)


def test_a_dataset_has_its_columns_counts_and_no_leftovers(place: _Place, tmp_path: Path) -> None:
    made = place.build(_events(tmp_path / "e.jsonl"))
    rows = place.rows(made)
    assert {"example_id", "messages", "domain", "task_type", "difficulty", "group", "cluster", "quality", "confidence",
            "composite", "time", "event_source", "event_id"} <= set(rows[0])  # fmt: skip
    assert made.manifest.version == "1.0.0"
    assert sum(made.manifest.splits.values()) == len(rows) == made.examples.accepted == 60
    assert made.manifest.splits == {"train": 48, "validation": 6, "test": 6}
    assert sum(stratum.train + stratum.validation + stratum.test for stratum in made.manifest.strata) == 60
    assert [row["example_id"] for row in rows if row["split"] == "train"] == sorted(
        row["example_id"] for row in rows if row["split"] == "train"
    )
    assert not list((tmp_path / "scratch").iterdir())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"rejects.jsonl", "decisions.parquet"}


def test_strata_are_domain_by_difficulty_and_are_split_by_hand(place: _Place, tmp_path: Path) -> None:
    # 2 turns and 400 to 800 bytes are easy: load 2 + 0.4 to 0.8 < 6. 2 turns and 4 to 14 kB are medium: 6 ≤ load < 16.
    # Every event is a group of its own. Wanted: 80/10/10 of each stratum, travel 60 → 48, 6, 6; coding 40 → 32, 4, 4.
    generator = random.Random(4)
    long = [" ".join(generator.choices(WORDS, k=1000)) for _ in range(40)]
    travel = [_event(2 * number, generator) for number in range(60)]
    coding = [_event(1000 + 2 * number, generator, output=text) for number, text in enumerate(long)]
    for event in coding:
        event["data"]["task"]["domain"] = "coding"
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(map(json.dumps, travel + coding)))
    strata = {
        (s.domain, s.difficulty): (s.train, s.validation, s.test, s.groups)
        for s in place.build(str(path)).manifest.strata
    }
    assert strata == {("coding", "medium"): (32, 4, 4, 40), ("travel", "easy"): (48, 6, 6, 60)}


def test_the_same_input_gives_the_same_bytes_however_it_is_cut_ordered_and_worked_on(tmp_path: Path) -> None:
    one, two = _events(tmp_path / "1.jsonl", 80, seed=1), _events(tmp_path / "2.jsonl", 70, seed=2)
    text = Path(two).read_text().replace('"source": "/test"', '"source": "/other"')
    Path(two).write_text(text)
    reference = _Place(tmp_path / "a")
    expected = reference.bytes(reference.build(one, two))
    cut = _Place(tmp_path / "b")
    assert cut.bytes(cut.build(two, one, partition_bytes=70_000)) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        parallel = _Place(tmp_path / "c")
        made = parallel.build(one, two, partition_bytes=70_000, run=lambda name, f, items, /: list(pool.map(f, items)))
        assert parallel.bytes(made) == expected


def test_the_same_events_again_make_no_new_version(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl")
    first, again = place.build(events), place.build(events)
    assert not first.unchanged
    assert again.unchanged
    assert again.manifest == first.manifest
    assert again.left_out == {"already_learned": 60}
    assert place.store.versions("d") == ["1.0.0"]


def test_another_policy_is_a_major_version_and_another_partition_size_is_none(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl")
    place.build(events)
    sized = Policy.model_validate({"extraction": {"partition_bytes": 100_000, "max_reject_share": 0.5}})
    assert place.build(events, policy=sized).unchanged
    stricter = Policy.model_validate({"filtering": {"quality_threshold": 80}})
    made = place.build(events, policy=stricter)
    assert (made.manifest.version, made.manifest.parent) == ("2.0.0", "1.0.0")


def test_the_best_of_duplicates_stays_and_every_fate_is_recorded(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(3)
    events = [_event(number, generator) for number in range(30)]
    words = events[0]["data"]["output"].split()
    near = " ".join([*words[:-1], "changed"])
    better = {**events[0]["data"], "output": near, "quality_score": 99.0, "trace_id": "n"}
    exact = {**events[1]["data"], "quality_score": 80.0, "trace_id": "x", "output": events[1]["data"]["output"].upper()}
    bad = {**events[2]["data"], "quality_score": 10.0, "trace_id": "b", "output": "nothing like it at all"}
    events += [
        {**events[0], "id": "near", "data": better}, {**events[0], "id": "exact", "data": exact},
        {**events[0], "id": "bad", "data": bad}, events[5],
    ]  # fmt: skip
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    made = place.build(str(path))
    decided = {row["event_id"]: row for row in read_decisions(made.decisions).to_pylist() if row["event_id"] != "e5"}
    assert decided["near"]["decision"] == "accepted"
    assert decided["e0"]["decision"] == "near_duplicate"
    assert decided["exact"]["decision"] == "exact_duplicate"
    assert decided["bad"]["decision"] == "reject"
    assert decided["bad"]["reasons"] == ["low_quality"]
    assert made.events.duplicate == 1
    assert made.left_out == {"exact_duplicate": 1, "near_duplicate": 1}
    assert (made.manifest.exact_duplicates, made.manifest.near_duplicates) == (1, 1)
    ids = {row["event_id"] for row in place.rows(made)}
    assert ids == {f"e{number}" for number in range(1, 30)} | {"near"}


def test_personal_data_is_in_no_file_but_the_rejects(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", output="Sure, write to jane.roe@mail.example.org or call +1 415 555 2671.")
    with Path(events).open("a") as stream:
        stream.write("not json jane.roe@mail.example.org\n")
    made = place.build(events)
    assert made.redacted == {"EMAIL": 60, "PHONE": 60}
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name not in ("e.jsonl", "rejects.jsonl"):
            assert b"jane.roe" not in path.read_bytes()
    assert all("jane" not in row["messages"] for row in place.rows(made))
    assert "jane.roe" in made.rejects.read_text()


def test_a_stricter_policy_redacts_what_was_learned_before(place: _Place, tmp_path: Path) -> None:
    # Of 60 events each says one address. The first run keeps them, the second sees the same events and the parent's
    # rows: 60 + 60 values are replaced. The third has nothing left to replace but in its 20 new events.
    none, numeric = (Policy.model_validate({"curation": {"redact": kinds}}) for kinds in ([], ["PHONE", "CARD"]))
    events = _events(tmp_path / "e.jsonl", output="Sure, write to jane.roe@mail.example.org or call +1 415 555 2671.")
    first = place.build(events, policy=none)
    before = place.rows(first)
    assert all("jane.roe@mail.example.org" in row["messages"] for row in before)
    some = place.build(events, policy=numeric)
    assert (some.manifest.version, some.manifest.redacted) == ("2.0.0", {"PHONE": 120})
    second = place.build(events)
    assert (second.manifest.version, second.manifest.redacted) == ("3.0.0", {"EMAIL": 120, "PHONE": 60})
    assert second.redacted == {"EMAIL": 60, "PHONE": 60}
    after = place.rows(second)
    assert all("write to [EMAIL] or call [PHONE]." in row["messages"] for row in after)
    assert not any(b"jane" in content for content in place.bytes(second).values())
    kept = ("example_id", "split", "event_id", "group", "quality", "composite")
    assert [[row[name] for name in kept] for row in after] == [[row[name] for name in kept] for row in before]
    more = _events(tmp_path / "more.jsonl", 80, output="Write to jane.roe@mail.example.org.")
    third = place.build(_write(tmp_path / "new.jsonl", list(_read(more).values())[60:]))
    assert (third.manifest.version, third.manifest.redacted) == ("3.1.0", {"EMAIL": 20})
    assert place.build(events).unchanged


def test_better_rules_correct_what_older_code_wrote(
    place: _Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = _events(tmp_path / "e.jsonl", output="Sure, write to jane.roe@mail.example.org.")
    with monkeypatch.context() as older:  # code of another version, which found no addresses
        older.setattr("flows.version.__version__", "0.0.0")
        older.setattr("tasks.curation.redact.SUSPECTS", ())
        older.setattr("tasks.curation.redact._PATTERNS", DISGUISES)
        assert "jane.roe" in place.rows(place.build(events))[0]["messages"]
    made = place.build(events)
    assert (made.manifest.version, made.unchanged) == ("1.0.1", False)
    assert not any("jane.roe" in row["messages"] for row in place.rows(made))
    assert place.build(events).unchanged


def test_feedback_on_what_was_learned_before_is_late_and_changes_nothing(place: _Place, tmp_path: Path) -> None:
    first = place.build(_events(tmp_path / "e.jsonl"))
    told = [
        {"specversion": "1.0", "id": f"f{trace}", "source": "/test", "type": "feedback.recorded",
         "data": {"trace_id": trace, "kind": "thumbs", "value": "down"}}
        for trace in ("t1", "t2", "elsewhere")
    ]  # fmt: skip
    generator = random.Random(5)
    made = place.build(_write(tmp_path / "more.jsonl", [*told, *(_event(1000 + n, generator) for n in range(10))]))
    assert made.events.by_reason == {"late_feedback": 2, "orphan_feedback": 1}
    before, after = ({row["example_id"]: row["quality"] for row in place.rows(each)} for each in (first, made))
    assert before.items() <= after.items()
    with pytest.raises(FilteringError, match="E7101"):
        place.build(_write(tmp_path / "alone.jsonl", told))


def test_too_many_rejects_stop_the_build_after_they_are_written(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", 20)
    Path(events).write_text(Path(events).read_text() + "broken\n" * 2 + "{}\n")
    with pytest.raises(ExtractionError, match="E7010"):
        place.build(events)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [21, 22, 23]
    assert place.store.names() == []


def test_nothing_to_learn_from_makes_no_dataset(place: _Place, tmp_path: Path) -> None:
    with pytest.raises(FilteringError, match=r"E710\d: nothing to learn from"):
        place.build(_events(tmp_path / "e.jsonl", status="failure"))
    assert place.store.names() == []
    assert not list((tmp_path / "scratch").iterdir())


def test_a_new_example_that_joins_two_sides_is_left_out(place: _Place, tmp_path: Path) -> None:
    first = place.build(_events(tmp_path / "e.jsonl"))
    rows = place.rows(first)
    prompt = {row["split"]: json.loads(row["messages"])[0]["content"] for row in rows}
    subject = {row["split"]: "s" + str(int(row["event_id"][1:]) // 2) for row in rows}
    generator = random.Random(9)
    bridge = _event(1000, generator) | {"subject": subject["train"]}
    bridge["data"]["task"]["instruction"] = prompt["test"]
    friend = _event(1001, generator) | {"subject": subject["test"]}
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps(bridge) + "\n" + json.dumps(friend) + "\n")
    second = place.build(str(path))
    assert second.manifest.version == "1.1.0"
    assert second.left_out == {"joins_two_sides": 1}
    after = {row["event_id"]: row["split"] for row in place.rows(second)}
    assert "e1000" not in after
    assert after["e1001"] == "test"


def test_three_groups_make_a_dataset(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(0)
    events = [_event(2 * number, generator) for number in range(3)]
    made = place.build(_write(tmp_path / "e.jsonl", events))
    assert made.manifest.splits == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("customers", [1, 2])
def test_a_dataset_with_an_empty_split_is_not_written_and_goes_on_with_more_events(
    place: _Place, tmp_path: Path, customers: int
) -> None:
    generator = random.Random(0)
    events = [_event(number, generator) | {"subject": f"c{min(number, customers - 1)}"} for number in range(9)]
    empty = {1: "validation and test splits", 2: "validation split"}[customers]
    with pytest.raises(CurationError) as refused:
        place.build(_write(tmp_path / "e.jsonl", events))
    assert str(refused.value).startswith(
        f"E7213: the {empty} of dataset d would be empty: {10 - customers} of 9 examples hang together in one group"
    )
    assert place.store.names() == []
    assert not list((tmp_path / "datasets").rglob("*.parquet"))
    events += [_event(1000 + 2 * number, generator) for number in range(20)]
    assert place.build(_write(tmp_path / "e.jsonl", events)).manifest.version == "1.0.0"


def test_large_versions_come_in_shards_that_read_as_one(
    place: _Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.curation.shards.SHARD_ROWS", 20)
    monkeypatch.setattr("flows.dataset.BUCKET_BYTES", 8_000)
    made = place.build(_events(tmp_path / "e.jsonl"))
    assert {file.path for file in made.manifest.files} >= {f"train-0000{n}-of-00004.parquet" for n in range(4)}
    assert sum(made.manifest.splits.values()) == 60 == len(place.rows(made))
    assert made.decisions.is_dir()
    assert read_decisions(made.decisions).num_rows == 60
    assert place.build(str(tmp_path / "e.jsonl")).unchanged


# --- the real records ------------------------------------------------------------------------------------------------


SHARES = (0.8, 0.1, 0.1)
GIVE_A_DATASET = ("tau_airline", "fireact_hotpot", "tensorzero_haiku")
ALL = (*GIVE_A_DATASET, "travelplanner_plans", "preferences")
CONTRACT = {"trace_id", "agent", "model_version", "task", "steps", "output", "plan", "status", "quality_score",
            "confidence", "feedback", "session_id"}  # fmt: skip
"""Keys of `data` that are read; every other key is to be ignored."""


def _read(*paths: str) -> dict[str, dict[str, Any]]:
    lines = itertools.chain.from_iterable(Path(path).read_text().splitlines() for path in paths)
    return {event["id"]: event for event in map(json.loads, lines)}


def _write(path: Path, events: Iterable[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, events)) + "\n")
    return str(path)


def _shingles(messages: str) -> set[tuple[str, ...]]:
    words = "".join(c.lower() if c.isalnum() or c == "_" else " " for c in compared_text(messages)).split()
    return set(zip(words, words[1:], words[2:], strict=False))


def _assert_nothing_straddles(rows: list[dict[str, Any]], events: dict[str, dict[str, Any]]) -> None:
    """Look at every pair of rows: no group, subject, prompt or near-duplicate is in two splits."""
    sides: dict[tuple[str, Any], set[str]] = {}
    for row in rows:
        user = next(m["content"] for m in json.loads(row["messages"]) if m["role"] == "user")
        for key in (
            ("group", row["group"]),
            ("cluster", row["cluster"]),
            ("subject", events[row["event_id"]].get("subject")),
            ("prompt", " ".join(user.lower().split())),
        ):
            sides.setdefault(key, set()).add(row["split"])
    assert {key: found for key, found in sides.items() if len(found) > 1} == {}
    sets = [_shingles(row["messages"]) for row in rows]
    number: dict[tuple[str, ...], int] = {}
    cells = [(i, number.setdefault(each, len(number))) for i, each_set in enumerate(sets) for each in each_set]
    row, column = np.array(cells).T
    holds = csr_matrix((np.ones(len(cells), dtype=np.int32), (row, column)), shape=(len(rows), len(number)))
    shared = (holds @ holds.T).toarray()  # (i, j): shingles that i and j share
    size = np.array([len(each) for each in sets])
    near = shared >= 0.8 * (size[:, None] + size[None, :] - shared)
    np.fill_diagonal(near, False)
    assert not near[size > 0].any()  # of near-duplicates one is kept, so that none can straddle


def _assert_shares(made: BuildResult, rows: int) -> None:
    """Hold the splits to 1 point over all, and the strata of 30 and more groups to 3."""
    assert sum(made.manifest.splits.values()) == rows
    for split, share in zip(SPLITS, SHARES, strict=True):
        assert abs(made.manifest.splits[split] / rows - share) <= 0.01
    for stratum in made.manifest.strata:
        cell = (stratum.train, stratum.validation, stratum.test)
        if stratum.groups >= 30:
            assert all(abs(n / sum(cell) - s) <= 0.03 for n, s in zip(cell, SHARES, strict=True))


@pytest.mark.parametrize("names", [*((name,) for name in GIVE_A_DATASET), ALL], ids="+".join)
def test_on_real_records_nothing_straddles_by_brute_force(place: _Place, names: tuple[str, ...]) -> None:
    paths = _real(*names)
    made = place.build(*paths)
    rows, events = place.rows(made), _read(*paths)
    _assert_shares(made, len(rows))
    _assert_nothing_straddles(rows, events)
    assert {events[row["event_id"]]["data"]["status"] for row in rows} == {"success"}
    assert {events[row["event_id"]]["data"]["quality_score"] for row in rows} == {100}
    read, kept = made.events, made.examples
    assert read.read == len(events) == kept.extracted + read.rejected + read.duplicate + read.ignored
    assert kept.extracted == kept.accepted + kept.review + kept.rejected
    assert kept.accepted == len(rows) + sum(made.left_out.values())


@pytest.mark.parametrize(("name", "code"), [("travelplanner_plans", "E7103"), ("preferences", "E7101")])
def test_real_records_without_a_quality_are_nothing_to_learn_from(place: _Place, name: str, code: str) -> None:
    with pytest.raises(FilteringError, match=f"{code}: nothing to learn from"):
        place.build(*_real(name))
    assert place.store.names() == []


@pytest.mark.parametrize("name", GIVE_A_DATASET)
def test_real_records_that_all_failed_are_nothing_to_learn_from(place: _Place, tmp_path: Path, name: str) -> None:
    failed = [event for event in _read(*_real(name)).values() if event["data"]["status"] == "failure"]
    with pytest.raises(FilteringError, match=f"E7102: nothing to learn from: all {len(failed)} traces failed"):
        place.build(_write(tmp_path / "failed.jsonl", failed))
    assert place.store.names() == []


@pytest.mark.parametrize("again", [False, True], ids=["haiku", "tau and haiku"])
def test_a_second_source_makes_a_minor_version_and_every_example_keeps_its_side(place: _Place, again: bool) -> None:
    tau, haiku = _real("tau_airline", "tensorzero_haiku")
    first = place.build(tau)
    before = {row["example_id"]: row["split"] for row in place.rows(first)}
    more = (tau, haiku) if again else (haiku,)
    second = place.build(*more)
    assert (second.manifest.version, second.manifest.parent) == ("1.1.0", "1.0.0")
    rows = place.rows(second)
    after = {row["example_id"]: row["split"] for row in rows}
    assert before.items() <= after.items()
    assert len(after) == len(before) + second.examples.accepted - sum(second.left_out.values())
    assert set(second.left_out) == ({"already_learned"} if again else set())
    _assert_shares(second, len(rows))
    _assert_nothing_straddles(rows, _read(tau, haiku))
    assert place.build(*more).unchanged


def test_what_no_key_of_the_contract_says_reaches_no_split(place: _Place, tmp_path: Path) -> None:
    """Ground truth, verdicts and other keys of real logs: with a mark in each of them the text stays the same."""
    paths = _real(*GIVE_A_DATASET)
    marked = list(_read(*paths).values())
    for event in marked:
        extra = {key: "MARKED" for key in event["data"].keys() - CONTRACT}
        event["data"] |= {"ground_truth": "MARKED", "reward": "MARKED", "score": "MARKED"} | extra
        event["data"]["task"] |= {"ground_truth": "MARKED", "answer_key": "MARKED"}
    plain, other = place.build(*paths), place.build(_write(tmp_path / "marked.jsonl", marked), name="marked")
    kept = [{row["example_id"]: row["messages"] for row in place.rows(made)} for made in (plain, other)]
    assert kept[0] == kept[1]
    assert not any("MARKED" in messages for messages in kept[1].values())


def test_what_comes_after_the_last_assistant_turn_is_in_no_split(place: _Place, tmp_path: Path) -> None:
    events = list(_read(*_real("tau_airline", "fireact_hotpot")).values())
    for event in events:  # as a judge, or the user's thanks, would stand there
        event["data"]["steps"] += [
            {"type": "observation", "tool": None, "arguments": None, "observation": "AFTERWARDS reward = 1"},
            {"type": "user_message", "tool": None, "arguments": None, "observation": "AFTERWARDS thank you"},
        ]
        event["data"]["output"] = None
    made = place.build(_write(tmp_path / "after.jsonl", events))
    rows = place.rows(made)
    assert len(rows) > 300
    assert {json.loads(row["messages"])[-1]["role"] for row in rows} == {"assistant"}
    assert not any("AFTERWARDS" in row["messages"] for row in rows)


def test_no_reward_and_no_ground_truth_is_in_any_split(place: _Place) -> None:
    made = place.build(*_real("fireact_hotpot"))
    for row in place.rows(made):
        assert "reward" not in row["messages"].lower()
        assert json.loads(row["messages"])[-1]["role"] == "assistant"


def test_parquet_files_say_nothing_of_time_or_place(place: _Place, tmp_path: Path) -> None:
    made = place.build(_events(tmp_path / "e.jsonl"))
    for path in made.path.glob("*.parquet"):
        metadata = pq.ParquetFile(path).metadata
        assert str(tmp_path).encode() not in path.read_bytes()
        assert all(metadata.row_group(i).column(0).compression == "ZSTD" for i in range(metadata.num_row_groups))
