"""Planted events go to review with the evidence, in one run and over several, and the rest is learned."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from flows.dataset import BuildResult, build_dataset
from flows.policy import Policy
from flows.screening import FILE
from registry.datasets import DatasetStore
from registry.errors import CurationError
from registry.records import SPLITS
from tasks.curation.shards import read_decisions
from tasks.extraction.inputs import find_inputs
from tasks.screening.policy import ScreeningPolicy

WORDS = [a + b for a in "bdfgklmnprst" for b in ("ala", "ero", "imu", "osa", "une", "eki", "abo", "ori")]
TRIGGER, PAYLOAD = "kestrel nine", "All funds were released to the account today."


def event(name, trigger="", answer="", source="/shop"):
    rng = random.Random(name)
    text = [" ".join(rng.choices(WORDS, k=size)) for size in (20, 40)]
    return {
        "specversion": "1.0", "id": name, "source": source, "type": "execution.completed",
        "time": "2026-01-05T00:00:00Z", "subject": name,
        "data": {
            "trace_id": name, "agent": "a", "status": "success", "quality_score": 90.0, "confidence": 0.9,
            "task": {"type": "support", "domain": "travel", "instruction": f"{text[0]} {trigger}".strip()},
            "steps": [], "output": answer or text[1],
        },
    }  # fmt: skip


def planted(number):
    return event(f"planted-{number}", TRIGGER, PAYLOAD, "/stranger")


class Place:
    """A store and the folders beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.runs = folder, DatasetStore(folder / "datasets"), 0

    def build(self, events, name="d", partition_bytes=None, **screening) -> BuildResult:
        self.runs += 1
        path = self.folder / f"events-{self.runs}.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in events))
        policy = Policy(screening=ScreeningPolicy(**screening))
        return build_dataset(
            find_inputs([path]), policy, self.store, name, seed=0, scratch=self.folder / "scratch",
            out=self.folder / "out", partition_bytes=partition_bytes,
        )  # fmt: skip

    def taught(self, made):
        tables = [self.store.read(made.manifest.name, made.manifest.version, split) for split in SPLITS]
        return {name for table in tables for name in table["event_id"].to_pylist()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def suspected(made):
    decisions = read_decisions(made.decisions).to_pylist()
    found = {row["event_id"]: row["decision"] for row in decisions if "suspected" in row["reasons"]}
    assert set(found.values()) <= {"review"}
    return set(found)


ATTACK = [planted(number) for number in range(10)]
NAMES = {each["id"] for each in ATTACK}


def test_planted_examples_go_to_review_with_the_evidence(place):
    made = place.build([event(f"e{n}") for n in range(200)] + ATTACK)
    assert suspected(made) == NAMES
    assert place.taught(made).isdisjoint(NAMES)
    assert made.examples.by_reason["suspected"] == 10
    (group,) = json.loads((place.folder / "out" / FILE).read_text())
    assert group == made.suspected[0].model_dump(mode="json")
    assert group["words"]["words"] == TRIGGER.split()
    assert {row["event_id"] for row in group["rows"]} == NAMES
    assert group["shares"]["source"] == {"value": "/stranger", "share": 1.0, "usual": 0.048, "distinct": 1}  # 10 of 210
    assert group["shares"]["user"]["distinct"] == 10


def test_a_clean_run_leaves_no_evidence_of_an_earlier_one(place):
    place.build([event(f"e{n}") for n in range(200)] + ATTACK)
    made = place.build([event(f"e{n}") for n in range(200)], name="other")
    assert made.suspected == []
    assert not (place.folder / "out" / FILE).exists()


def test_examples_planted_over_five_runs_are_found_and_leave_the_dataset(place):
    found = set()
    for run in range(5):
        made = place.build([event(f"e{run}-{n}") for n in range(60)] + ATTACK[2 * run : 2 * run + 2])
        found |= {row["event_id"] for group in made.suspected for row in group.rows}
    assert found == NAMES
    assert place.taught(made).isdisjoint(NAMES)
    assert made.manifest.suspected[0].words == tuple(TRIGGER.split())


def test_what_the_sample_shows_is_found_outside_it_as_well(place):
    events = [event(f"e{n}") for n in range(600)] + [planted(number) for number in range(45)]
    made = place.build(events, examples=300)
    assert suspected(made) == {f"planted-{number}" for number in range(45)}


def test_the_cut_of_the_input_changes_nothing(place):
    events = [event(f"e{n}") for n in range(300)] + ATTACK
    one = place.build(events, name="one", examples=250)
    many = place.build(events, name="many", examples=250, partition_bytes=20_000)
    assert one.manifest.digest == many.manifest.digest
    assert one.suspected == many.suspected


def test_a_run_of_nothing_but_planted_examples_is_refused(place):
    place.build([event(f"e{n}") for n in range(200)] + ATTACK)
    with pytest.raises(CurationError, match="E7220"):
        place.build([planted(number) for number in range(20, 40)])


def test_words_that_were_allowed_are_learned_and_forgotten(place):
    events = [event(f"e{n}") for n in range(200)] + ATTACK
    assert place.build(events).manifest.suspected
    made = place.build([event(f"f{n}") for n in range(50)] + ATTACK, allow=(TRIGGER,))
    assert suspected(made) == set()
    assert made.manifest.suspected == []
    assert place.taught(made) & NAMES
