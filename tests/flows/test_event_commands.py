"""`ratchet events` and `ratchet feedback`, as the command line runs them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app


def event(number: int, **data: object) -> str:
    data = {"trace_id": f"t{number}", "agent": "support", "model_version": "1", "output": "Yes", **data}
    kind = "execution.completed"
    made = {"specversion": "1.0", "id": f"e{number}", "source": "/test", "type": kind, "data": data}
    return json.dumps({**made, "time": f"2026-11-20T10:00:{number:02d}Z"})


@pytest.fixture
def run(tmp_path: Path):
    def command(*arguments: object) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--home", str(tmp_path / "home")])

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(
        "\n".join([event(1, quality_score=90), "", "nope", event(2, quality_score=10, agent="coder")]) + "\n"
    )
    return path


def said(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_files_are_imported_once_and_what_is_no_event_is_told_with_its_line(run, file, tmp_path):
    packed = tmp_path / "more.jsonl.gz"
    packed.write_bytes(gzip.compress("\n".join(event(n) for n in range(3, 6)).encode()))
    first = said(run("events", "import", file, packed, "--json"))
    assert {name: first[name] for name in ("read", "appended", "duplicate", "rejected", "head")} == {
        "read": 6, "appended": 5, "duplicate": 0, "rejected": 1, "head": 5,
    }  # fmt: skip
    assert [(each["line"], each["code"]) for each in first["rejects"]] == [(3, "E7021")]
    again = run("events", "import", tmp_path)
    assert again.exit_code == 0
    assert "0 events appended, 5 there already, 1 rejected (1 E7021)" in again.stdout
    assert "line 3: E7021" in again.stdout


def test_a_file_without_any_event_is_one_clear_line(run, tmp_path):
    (tmp_path / "table.jsonl").write_text("a,b\n1,2\n")
    result = run("events", "import", tmp_path / "table.jsonl")
    assert result.exit_code == 1
    assert result.stderr.startswith("E7036: none of 2 lines is an event: ")


def test_stats_and_queries_answer_for_people_and_for_programs(run, file):
    run("events", "import", file)
    days = said(run("events", "stats", "--json"))["days"]
    assert [(day["agent"], day["traces"], day["quality"]) for day in days] == [("coder", 1, 10.0), ("support", 1, 90.0)]
    assert "2026-11-20" in run("events", "stats", "--agent", "coder").stdout
    found = said(run("events", "query", "--min-quality", 50, "--json"))["events"]
    assert [(each["offset"], each["event"]["id"]) for each in found] == [(1, "e1")]
    assert "e2" not in run("events", "query", "--agent", "support", "--newest", "--limit", 1).stdout
    assert run("events", "query", "--domain", "none").stdout == "no event is like that\n"


def test_what_a_query_finds_is_written_as_it_came(run, file, tmp_path):
    run("events", "import", file)
    out = tmp_path / "out.jsonl"
    assert run("events", "query", "--out", out).exit_code == 0
    assert out.read_text().splitlines() == [event(1, quality_score=90), event(2, quality_score=10, agent="coder")]


def test_traces_that_say_the_same_can_be_left_out(run, tmp_path):
    lines = [event(1), event(2, output="yes "), event(3, output="No")]
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    run("events", "import", tmp_path / "e.jsonl")
    found = said(run("events", "query", "--unique", "--json"))["events"]
    assert [each["offset"] for each in found] == [1, 3]


def test_feedback_is_joined_to_its_trace_and_may_come_before_it(run, file):
    early = run("feedback", "t1", "--kind", "stars", "--value", 1, "--user", "dana")
    assert "recorded for t1: stars, quality 0 of 100" in early.stdout
    assert "no trace t1 is in the log yet" in early.stdout
    run("events", "import", file)
    assert said(run("feedback", "t1", "--kind", "thumbs", "--value", "down", "--user", "eve", "--json"))["trace_known"]
    days = {day["agent"]: day for day in said(run("events", "stats", "--json"))["days"]}
    assert (days["support"]["feedback"], days["support"]["negative"]) == (1, 1)


@pytest.mark.parametrize(("kind", "value"), [("mood", "3"), ("stars", "9"), ("thumbs", "perhaps")])
def test_feedback_that_says_nothing_is_refused(run, kind, value):
    result = run("feedback", "t1", "--kind", kind, "--value", value, "--user", "dana")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"E7037: feedback {kind!r} of {value!r} says nothing about quality; kinds are ")


def test_a_time_that_is_none_is_refused(run, file):
    run("events", "import", file)
    result = run("events", "query", "--since", "soon")
    assert (result.exit_code, result.stderr.split(":")[0]) == (1, "E7033")
