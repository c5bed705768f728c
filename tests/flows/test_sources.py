"""Trust by source in a dataset, in the register and on the command line."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.barring import bars_of, known_as
from flows.cli import app
from flows.dataset import BuildResult, build_dataset
from flows.policy import Policy
from flows.settings import load_settings
from flows.sources import blame, decided, judged, register
from flows.stores import open_stores
from registry.datasets import DatasetStore
from registry.errors import CurationError
from registry.records import SPLITS
from registry.sources import Sources
from tasks.curation.shards import read_decisions
from tasks.extraction.inputs import find_inputs
from tasks.sources.lifecycle import Evidence
from tasks.sources.policy import SourcePolicy
from tasks.sources.standing import Standing

OURS, THEIRS, NEW = "/ours", "/theirs", "/new"
WORDS = [f"word{number}" for number in range(4_000)]


def _event(number: int, source: str, generator: random.Random, **data: Any) -> dict[str, Any]:
    def text(size: int) -> str:
        return " ".join(generator.choices(WORDS, k=size))

    return {
        "specversion": "1.0", "id": f"{source}-{number}", "source": source, "type": "execution.completed",
        "time": "2026-01-05T00:00:00Z", "subject": f"{source}-s{number}",
        "data": {
            "trace_id": f"{source}-t{number}", "agent": "a", "status": "success", "quality_score": 90.0,
            "task": {"type": "support", "domain": "travel", "instruction": text(20)}, "steps": [], "output": text(40),
            **data,
        },
    }  # fmt: skip


def _events(path: Path, seed: int = 0, **counts: int) -> str:
    """Write so many events of /NAME for each name."""
    generator = random.Random(seed)
    lines = [_event(n, f"/{name}", generator) for name, count in counts.items() for n in range(count)]
    generator.shuffle(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


class _Place:
    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, DatasetStore(folder / "datasets")

    def build(self, *paths: str, name: str = "d", **options: Any) -> BuildResult:
        return build_dataset(
            find_inputs(list(paths)), Policy(), self.store, name, seed=0, scratch=self.folder / "scratch",
            out=self.folder / "out", **options,
        )  # fmt: skip

    def sides(self, made: BuildResult) -> dict[str, str]:
        """Return the side of each event."""
        found = {}
        for split in SPLITS:
            table = self.store.read(made.manifest.name, made.manifest.version, split, ["event_id"])
            found.update(dict.fromkeys(table["event_id"].to_pylist(), split))
        return found

    def sources(self, made: BuildResult) -> Counter[str]:
        return Counter(event.rpartition("-")[0] for event in self.sides(made))


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    return _Place(tmp_path)


def standing(policy: SourcePolicy | None = None, **states: Any) -> Standing:
    return Standing(policy or SourcePolicy(), {f"/{name}": state for name, state in states.items()})


def test_nothing_of_a_blocked_source_is_in_the_dataset_and_its_events_are_counted(
    place: _Place, tmp_path: Path
) -> None:
    told: list[dict[str, int]] = []
    made = place.build(
        _events(tmp_path / "e.jsonl", ours=60, theirs=25), standing=standing(theirs="blocked"), attempted=told.append
    )
    assert place.sources(made) == {OURS: 60}
    assert made.barred == {THEIRS: 25}
    assert told == [{THEIRS: 25}]
    assert made.events.by_reason == {"blocked_source": 25}
    assert (made.events.read, made.events.ignored, made.events.rejected) == (85, 25, 0)
    assert set(read_decisions(made.decisions)["event_source"].to_pylist()) == {OURS}


@pytest.mark.parametrize(
    "spelling", ["/theirs/", "/%74heirs", "/theirs\u200b", "/theirs?x=1", " /theirs", "/theirs/eu"]
)
def test_another_spelling_of_a_blocked_source_teaches_nothing(place: _Place, tmp_path: Path, spelling: str) -> None:
    generator = random.Random(3)
    lines = [_event(n, OURS, generator) for n in range(60)] + [_event(n, spelling, generator) for n in range(9)]
    path = tmp_path / "e.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = place.build(str(path), standing=standing(theirs="blocked"))
    assert place.sources(made) == {OURS: 60}
    assert sum(made.barred.values()) == 9


def test_spellings_of_one_source_share_its_limit(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(4)
    names = [OURS] * 60 + [THEIRS] * 60 + [f"{THEIRS}/"] * 60
    path = tmp_path / "e.jsonl"
    path.write_text("".join(json.dumps(_event(n, name, generator)) + "\n" for n, name in enumerate(names)))
    made = place.build(str(path), standing=standing(SourcePolicy(max_source_share=0.5)))
    assert made.left_out == {"over_source_share": 60}  # 120 of theirs, of which 60 = 0.5 · 120 stay


def test_what_is_allowed_is_allowed_in_every_spelling_and_nothing_else_is() -> None:
    policy = SourcePolicy(allow=("HTTPS://Ours.example/*", "/partner"))
    bars = bars_of(Standing(policy), ())
    assert bars is not None
    ours = ("https://ours.example/a", "https://OURS.example/", "/partner", "/partner/")
    theirs = ("https://theirs.example/a", "/partner/x", "https://theirs.example/?https://ours.example/")
    assert [bars(name) for name in (*ours, *theirs)] == [False] * 4 + [True] * 3


def test_a_source_can_be_blocked_before_the_first_run(tmp_path: Path) -> None:
    home = tmp_path / "home"

    def sources(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["sources", *arguments, "--home", str(home), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    said = sources("block", "/Theirs\u200b/", "--by", "dana", "--reason", "planted")
    assert (said["source"], said["state"], said["before"]) == ("/Theirs", "blocked", None)
    below = sources("trust", "/Theirs/eu", "--by", "dana", "--reason", "good")
    assert (below["state"], below["below"]) == ("trusted", "/Theirs")
    assert sources("list")["counts"] == {"blocked": 1, "trusted": 1}


def test_feedback_of_a_blocked_source_says_nothing(place: _Place, tmp_path: Path) -> None:
    path = Path(_events(tmp_path / "e.jsonl", ours=60))
    down = {"specversion": "1.0", "source": THEIRS, "type": "feedback.recorded"}
    with path.open("a") as file:
        for n in range(10):
            data = {"trace_id": f"/ours-t{n}", "kind": "thumbs", "value": "down"}
            file.write(json.dumps({**down, "id": f"f{n}", "data": data}) + "\n")
    assert place.build(str(path), name="heard").examples.accepted == 50
    assert place.build(str(path), standing=standing(theirs="blocked")).examples.accepted == 60


def test_what_a_source_brought_leaves_the_next_version_when_it_is_blocked(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", ours=80, theirs=40)
    first = place.build(events)
    assert place.sources(first) == {OURS: 80, THEIRS: 40}
    second = place.build(events, standing=standing(theirs="blocked"))
    assert (second.manifest.version, second.withdrawn) == ("1.0.1", 40)
    assert second.manifest.left_out["already_learned"] == 80
    before = {event: side for event, side in place.sides(first).items() if event.startswith(OURS)}
    assert place.sides(second) == before


def test_a_blocked_source_may_have_brought_the_whole_parent(place: _Place, tmp_path: Path) -> None:
    place.build(_events(tmp_path / "a.jsonl", theirs=50))
    made = place.build(_events(tmp_path / "b.jsonl", ours=60), standing=standing(theirs="blocked"))
    assert place.sources(made) == {OURS: 60}


def test_with_a_list_of_those_who_may_teach_nobody_else_does(place: _Place, tmp_path: Path) -> None:
    made = place.build(
        _events(tmp_path / "e.jsonl", ours=60, theirs=20, new=10), standing=standing(SourcePolicy(allow=("/our*",)))
    )
    assert place.sources(made) == {OURS: 60}
    assert made.barred == {NEW: 10, THEIRS: 20}


def test_where_nobody_may_teach_the_run_stops_and_has_told_the_attempts(place: _Place, tmp_path: Path) -> None:
    told: list[dict[str, int]] = []
    events = _events(tmp_path / "e.jsonl", theirs=20)
    with pytest.raises(CurationError, match=r"E7238: nothing to learn from: .*'/theirs' \(20 events\)"):
        place.build(events, standing=standing(theirs="blocked"), attempted=told.append)
    assert told == [{THEIRS: 20}]


def test_no_source_has_more_than_its_share_and_who_is_left_out_is_written_down(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", ours=300, theirs=60, new=60)
    made = place.build(events, standing=standing(SourcePolicy(max_source_share=0.5)))
    assert place.sources(made) == {OURS: 120, THEIRS: 60, NEW: 60}  # 120 = 0.5 · 240
    assert made.left_out == {"over_source_share": 180}
    decisions = Counter(read_decisions(made.decisions)["decision"].to_pylist())
    assert decisions == {"accepted": 240, "over_source_share": 180}


def test_no_domain_has_more_than_its_share(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(0)
    path = tmp_path / "e.jsonl"
    lines = [_event(n, OURS, generator) for n in range(240)]
    for n, line in enumerate(lines):
        line["data"]["task"]["domain"] = ("travel", "travel", "coding", "qa")[n % 4]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = place.build(str(path), standing=standing(SourcePolicy(max_domain_share=0.4)))
    assert made.left_out == {"over_domain_share": 40}  # 80 = 0.4 · 200


def test_all_sources_on_trial_together_bring_a_part_beside_trusted_ones(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", ours=140, theirs=200, new=200)
    made = place.build(events, standing=standing(ours="trusted"))
    found = place.sources(made)
    assert found[OURS] == 140
    assert found[THEIRS] + found[NEW] == 60  # 0.3 · 200


def test_what_a_limit_leaves_in_does_not_depend_on_the_order_of_the_events(place: _Place, tmp_path: Path) -> None:
    events = Path(_events(tmp_path / "e.jsonl", ours=150, theirs=300))
    mirrored = tmp_path / "m.jsonl"
    mirrored.write_text("".join(f"{line}\n" for line in reversed(events.read_text().splitlines())))
    limited = standing(ours="trusted")
    made = [place.build(str(path), name=path.stem, standing=limited) for path in (events, mirrored)]
    assert made[0].manifest.digest == made[1].manifest.digest
    assert 0 < place.sources(made[0])[THEIRS] < 100


def test_sources_that_nobody_limits_give_the_dataset_that_they_always_gave(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", ours=80, theirs=40)
    plain = place.build(events, name="plain")
    known = place.build(events, name="known", standing=standing(ours="trial", theirs="trial"))
    assert plain.manifest.digest == known.manifest.digest
    assert plain.manifest.left_out == known.manifest.left_out == {}


def test_limits_that_leave_next_to_nothing_stop_the_run(place: _Place, tmp_path: Path) -> None:
    events = _events(tmp_path / "e.jsonl", ours=2, theirs=200)
    with pytest.raises(CurationError, match=r"E7236: the limits of shares .* leave 4 of 202 examples"):
        place.build(events, standing=standing(SourcePolicy(max_source_share=0.5)))


def test_a_source_that_names_a_person_is_known_by_a_digest_and_barred_by_it(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(1)
    name = "mailto:jane.doe@acme.example.com"
    lines = [_event(n, OURS, generator) for n in range(60)] + [_event(n, name, generator) for n in range(9)]
    path = tmp_path / "e.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = known_as(name, Policy().curation.redact)
    assert shown.startswith("sha256:")
    made = place.build(str(path), standing=Standing(SourcePolicy(), {shown: "blocked"}))
    assert made.barred == {shown: 9}
    assert place.sources(made) == {OURS: 60}


def test_a_run_says_of_each_source_what_became_of_its_examples(place: _Place, tmp_path: Path) -> None:
    generator = random.Random(2)
    lines = [_event(n, OURS, generator) for n in range(60)]
    lines += [_event(n, THEIRS, generator, quality_score=10.0 if n < 15 else 95.0) for n in range(20)]
    path = tmp_path / "e.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = decided(place.build(str(path)).decisions)
    assert counts[OURS] == {("accepted", ()): 60}
    assert counts[THEIRS] == {("accepted", ()): 5, ("reject", ("low_quality",)): 15}


def test_a_source_rises_and_falls_by_what_it_brings_and_each_line_says_why(tmp_path: Path) -> None:
    sources, policy = Sources(f"sqlite:///{tmp_path / 'r.db'}"), SourcePolicy()

    def run(number: int, **seen: Evidence) -> None:
        found = {f"/{name}": evidence for name, evidence in seen.items()}
        sources.update(f"run:{number}", lambda current: judged(current, found, policy, {"run": str(number)}))

    good, poison = Evidence(good=80, examples=80, runs=1), Evidence(good=1, harm=9, examples=10, runs=1)
    run(1, ours=good, theirs=good)
    run(2, ours=good, theirs=good)
    assert {line.state for line in sources.current().values()} == {"trusted"}
    run(3, ours=good, theirs=Evidence(harm=18, examples=18, runs=1))
    run(4, ours=good, new=poison)
    states = {name: line.state for name, line in sources.current().items()}
    assert states == {OURS: "trusted", THEIRS: "probation", NEW: "blocked"}
    assert sources.current()[THEIRS].body["why"].startswith("score 0.4")
    assert sources.current()[NEW].body["why"].startswith("score 0.0")
    assert sources.current()[OURS].body["why"] == "score 0.99 reaches 0.65 after 160 examples in 2 runs"
    assert [line.state for line in sources.of(THEIRS)] == ["trial", "trusted", "probation"]


def test_a_version_that_fails_is_charged_to_those_who_brought_what_is_new_in_it(tmp_path: Path) -> None:
    stores = open_stores(load_settings(home=tmp_path / "home"))
    options = {"seed": 0, "scratch": tmp_path / "s", "out": tmp_path / "o"}
    for number, counts in enumerate(({"ours": 60}, {"theirs": 45, "new": 15})):
        inputs = find_inputs([_events(tmp_path / f"{number}.jsonl", seed=number, **counts)])
        build_dataset(inputs, Policy(), stores.datasets, "d", **options)
    for _ in range(2):  # once, however often
        blame(stores, SourcePolicy(), ("d", "1.1.0"), "safety:m/2", "failed safety")
    found = {name: line.body["evidence"]["harm"] for name, line in register(stores.settings).current().items()}
    assert found == {THEIRS: 3.75, NEW: 1.25}  # 5 · 45 / 60, 5 · 15 / 60


@pytest.mark.slow
def test_blocking_a_source_takes_what_it_brought_out_of_the_next_version(
    copied: Any, ratchet: Callable[..., Any], sample: Path
) -> None:
    home = copied.home
    rows = {row["source"]: row for row in ratchet("sources", "--home", home, "--json").json["sources"]}
    source = max(rows, key=lambda name: rows[name]["examples"])
    assert rows[source]["state"] != "blocked"
    done = ratchet("sources", "block", source, "--by", "dana", "--reason", "it broke", "--home", home, "--json").json
    assert (done["state"], done["before"], done["by"]) == ("blocked", rows[source]["state"], "dana")

    again = ratchet("learn", sample, "--home", home, "--json").json
    assert again["dataset"]["parent"] == "1.0.0"
    shown = ratchet("sources", "show", source, "--home", home, "--json").json
    assert 0 < shown["blocked_attempts"] <= again["events"]["by_reason"]["blocked_source"]
    assert [line["action"] for line in shown["lines"]] == ["judged", "set", "blocked_attempt"]
    store = DatasetStore(home / "datasets")
    for version, there in (("1.0.0", True), (again["dataset"]["version"], False)):
        found = {name for split in SPLITS for name in store.read("agent", version, split)["event_source"].to_pylist()}
        assert (source in found) == there

    refused = ratchet("events", "import", sample, "--home", home, "--json").json
    assert refused["by_reason"]["E7235"] >= shown["blocked_attempts"]
    assert "blocked" in ratchet("sources", "--home", home).out
    assert "it broke" in ratchet("sources", "show", source, "--home", home).out
    assert ratchet("sources", "show", "nobody", "--home", home).code == 1
    assert ratchet("sources", "block", source, "--home", home).code == 2
