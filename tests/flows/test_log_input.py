"""`learn log:`: every event of the log is learned from once, whenever it comes and whatever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows.dataset import BuildResult, build_dataset
from flows.log_input import consumed, discard_log, log_inputs, settled, written
from flows.policy import Policy
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.errors import ExtractionError
from registry.records import SPLITS, LogWindow

WORDS = [a + b for a in "bdfgklmnprst" for b in ("ala", "ero", "imu", "osa", "une", "eki", "abo", "ori")]


def execution(number: int, **data: Any) -> dict[str, Any]:
    generator = random.Random(number)
    said = [" ".join(generator.choices(WORDS, k=size)) for size in (20, 40)]
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "execution.completed",
        "time": data.pop("time", "2026-11-20T00:00:00Z"),
        "data": {
            "trace_id": f"t{number}", "agent": "support", "status": "success", "quality_score": 90.0, "confidence": 0.9,
            "task": {"type": "chat", "domain": "travel", "instruction": said[0]}, "steps": [], "output": said[1],
            **data,
        },
    }  # fmt: skip


def feedback(number: int, value: Any = True) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": f"f{number}", "source": "/test", "type": "feedback.recorded",
        "time": "2026-11-20T01:00:00Z", "data": {"trace_id": f"t{number}", "kind": "thumbs", "value": value},
    }  # fmt: skip


class Loop:
    """A home whose log is learned from again and again, up to the dataset."""

    def __init__(self, folder: Path) -> None:
        self.stores: Stores = open_stores(Settings(home=folder))
        self.folder = folder

    def log(self, *events: dict[str, Any]) -> None:
        done = self.stores.events.append(events)
        assert not done.rejected

    def settle(self, given: str = "log:") -> LogWindow:
        _, window = settled(self.stores, [given], "agent")
        assert window is not None
        return window

    def spool(self, given: str = "log:") -> list[str]:
        """Return the ids of the events that a run would read, in their order."""
        inputs = log_inputs(self.stores, self.settle(given), "agent")
        ids = [json.loads(line)["id"] for line in Path(inputs[0].path).read_text().splitlines()]
        discard_log(inputs)
        return ids

    def learn(self, given: str = "log:") -> BuildResult:
        window = self.settle(given)
        inputs = log_inputs(self.stores, window, "agent")
        made = build_dataset(
            inputs, Policy(), self.stores.datasets, "agent", seed=0, scratch=self.folder / "scratch",
            out=self.folder / "out", log=window,
        )  # fmt: skip
        discard_log(inputs)
        return made

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the newest version, without what hangs on where the cut was."""
        tables = [self.stores.datasets.read("agent", None, split, ["event_id", "quality"]) for split in SPLITS]
        return sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row["event_id"])


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path / "home")


def window(loop: Loop, start: int, end: int, agent: str | None = None) -> LogWindow:
    return LogWindow(log_id=loop.stores.events.log_id, agent=agent, start=start, end=end)


def test_what_no_version_took_in_is_the_next_window_and_is_recorded_with_the_version(loop: Loop) -> None:
    loop.log(*map(execution, range(30)))
    first = loop.learn()
    assert first.manifest.log == window(loop, 0, 30)
    loop.log(*map(execution, range(30, 50)))
    second = loop.learn()
    assert second.manifest.log == window(loop, 30, 50)
    assert (second.events.read, second.events.duplicate) == (20, 0)
    assert loop.stores.datasets.manifest("agent", "1.1.0").log == window(loop, 30, 50)


def test_two_windows_give_the_rows_that_one_window_gives(tmp_path: Path) -> None:
    events = [execution(n, quality_score=None if n % 3 == 0 else 90.0) for n in range(60)]
    said = [feedback(n) for n in range(0, 60, 6)]
    apart, together = Loop(tmp_path / "a"), Loop(tmp_path / "b")
    apart.log(*events[:40])
    apart.learn()
    apart.log(*events[40:], *said)  # feedback on traces of both windows
    apart.learn()
    together.log(*events, *said)
    together.learn()
    assert apart.rows() == together.rows()
    assert len(together.rows()) == 40 + 10


def test_events_that_arrive_late_are_in_the_next_window_whatever_their_time(loop: Loop) -> None:
    loop.log(*map(execution, range(30)))
    loop.learn()
    loop.log(*(execution(n, time="2026-01-01T00:00:00Z") for n in range(30, 45)))
    assert loop.spool() == [f"e{n}" for n in range(30, 45)]


def test_feedback_that_comes_late_brings_its_trace_again_unless_that_is_learned_already(loop: Loop) -> None:
    loop.log(*(execution(n, quality_score=None if n < 3 else 90.0) for n in range(30)), feedback(1, value="?"))
    loop.learn()
    loop.log(feedback(0), execution(30), {**feedback(1), "id": "f1-late"}, feedback(20), feedback(99))
    # e0 and e1 waited for a score; e1's other feedback comes along; e20 is learned
    assert loop.spool() == ["e0", "e1", "f1", "f0", "e30", "f1-late", "f20", "f99"]
    loop.learn()
    assert {"e0", "e1"} <= {row["event_id"] for row in loop.rows()}
    assert "e2" not in {row["event_id"] for row in loop.rows()}


def test_feedback_that_came_before_its_trace_is_there_when_the_trace_comes(loop: Loop) -> None:
    loop.log(*map(execution, range(30)), feedback(30))
    loop.learn()
    loop.log(execution(30, quality_score=None))
    assert loop.spool() == ["f30", "e30"]
    loop.learn()
    assert {"event_id": "e30", "quality": 100.0} in loop.rows()


def test_an_agents_window_has_its_events_and_the_feedback_about_them(loop: Loop) -> None:
    loop.log(execution(0), execution(1, agent="coder"), feedback(0), feedback(1), execution(2, shadow=True))
    assert loop.spool("log:coder") == ["e1", "f1"]
    assert loop.spool("log:support") == ["e0", "f0"]
    assert loop.spool("log:") == ["e0", "e1", "f0", "f1"]
    assert written(loop.settle("log:coder")) == "log:coder@0-5"
    assert loop.settle("log:coder@1-4") == window(loop, 1, 4, "coder")


def test_nothing_new_names_the_last_window_again_and_an_empty_log_is_one_clear_line(loop: Loop) -> None:
    with pytest.raises(ExtractionError, match=r"E7038: nothing new is in the event log since offset 0; log events"):
        loop.settle()
    loop.log(*map(execution, range(30)))
    with pytest.raises(ExtractionError, match="E7038: nothing new of agent coder"):
        loop.settle("log:coder")
    first = loop.settle()
    before = loop.spool()
    loop.learn()
    assert loop.settle() == first
    assert loop.spool() == before  # the same bytes, so that it is known to be the same work
    loop.log(execution(99, shadow=True))
    assert loop.settle() == first


@pytest.mark.parametrize("given", ["log:@5-5", "log:@0-31", "log:@9-3"])
def test_a_window_that_is_none_is_one_clear_line(loop: Loop, given: str) -> None:
    loop.log(*map(execution, range(30)))
    with pytest.raises(ExtractionError, match=f"E7034: {given} is no window of the event log, whose last offset is 30"):
        loop.settle(given)


def test_only_one_window_is_learned_from_at_a_time(loop: Loop) -> None:
    with pytest.raises(ExtractionError, match="E7035: 2 windows"):
        settled(loop.stores, ["log:a", "log:b"], "agent")


def test_what_windows_hold_together_ends_at_the_first_gap() -> None:
    def windows(*parts: tuple[str | None, int, int]) -> list[LogWindow]:
        return [LogWindow(log_id="l", agent=agent, start=start, end=end) for agent, start, end in parts]

    assert consumed([], None) == 0
    assert consumed(windows((None, 50, 80), (None, 0, 50), (None, 0, 10)), None) == 80
    assert consumed(windows((None, 0, 50), (None, 60, 80)), None) == 50
    assert consumed(windows((None, 0, 50), ("a", 50, 80)), None) == 50
    assert consumed(windows((None, 0, 50), ("a", 50, 80)), "a") == 80
    assert consumed(windows((None, 0, 50), ("a", 50, 80)), "b") == 50


@pytest.mark.server
@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_its_window_and_what_was_learned_is_unchanged(
    ratchet: Any, sample: Path, prefect_api: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    stores = open_stores(Settings(home=home))
    stores.events.append(sample.read_bytes().splitlines())
    head = stores.events.head()
    command = [sys.executable, "-m", "flows.cli", "learn", "log:", "--home", str(home), "--json"]
    environment = {**os.environ, "PREFECT_API_URL": prefect_api}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (home / "datasets" / "agent" / "1.0.0").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = ratchet("learn", "log:", "--home", home, "--json")
    assert done.code == 0, done.err[-3000:]
    assert done.json["dataset"]["version"] == "1.0.0"
    assert done.json["decision"] == "pending_approval"
    again = ratchet("learn", "log:", "--home", home, "--json")
    assert (again.code, again.json["decision"]) == (0, "unchanged")
    assert stores.datasets.versions("agent") == ["1.0.0"]
    assert stores.datasets.manifest("agent").log == LogWindow(log_id=stores.events.log_id, start=0, end=head)
    assert list((home / "scratch").iterdir()) == []
