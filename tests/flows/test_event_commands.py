"""`ratchet events` and `ratchet feedback`, as the command line runs them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.event_log import over_days


def event(number: int, **data: object) -> str:
    data = {"trace_id": f"t{number}", "agent": "support", "model_version": "1", "output": "Yes", **data}
    kind = "execution.completed"
    made = {"specversion": "1.0", "id": f"e{number}", "source": "/test", "type": kind, "data": data}
    return json.dumps({**made, "time": f"2026-11-20T10:00:{number:02d}Z"})


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "home").mkdir()

    def command(*arguments: object) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--home", str(tmp_path / "home")], env={"COLUMNS": "80"})

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
    assert "0 events appended, 5 there already or given twice, 1 rejected (1 E7021)" in again.stdout
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
    assert "from 2026-11-20 to 2026-11-20" in run("events", "stats", "--agent", "coder").stdout
    found = said(run("events", "query", "--min-quality", 50, "--json"))["events"]
    assert [(each["offset"], each["event"]["id"]) for each in found] == [(1, "e1")]
    assert "e2" not in run("events", "query", "--agent", "support", "--newest", "--limit", 1).stdout
    assert run("events", "query", "--domain", "none").stdout == "no event is like that\n"


def test_what_a_query_finds_is_written_as_it_came(run, file, tmp_path):
    run("events", "import", file)
    out = tmp_path / "out.jsonl"
    assert run("events", "query", "--out", out).exit_code == 0
    assert out.read_text().splitlines() == [event(1, quality_score=90), event(2, quality_score=10, agent="coder")]


def test_names_of_any_length_leave_the_figures_readable_on_a_narrow_terminal(run, tmp_path):
    names = {"agent": "tool-calling-agent-of-support", "model_version": "gpt-4o-mini-2024-07-18-fine-tuned"}
    lines = [event(1, quality_score=90, **names), event(2, quality_score=10, latency_ms=1234.0, **names)]
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    run("events", "import", tmp_path / "e.jsonl")
    for more, figures in (([], ["2", "50.0", "0.0%", "1,234"]), (["--by-day"], ["2026-11-20", "2", "50.0", "1,234"])):
        shown = run("events", "stats", *more).stdout.splitlines()
        assert len(shown) < 10
        assert all(len(line) <= 80 for line in shown)
        assert all(figure in shown[1].split() for figure in figures)
        assert "".join(line.split()[0] for line in shown[1:-2]) == "/".join(names.values())


def test_days_are_added_up_by_the_traces_that_each_figure_is_of():
    none = dict.fromkeys(("tokens_in", "tokens_out", "cost"), 0.0)
    day = {"agent": "a", "model_version": None, "feedback": 0, "negative": 0, "latency_p95": None, **none}
    full = {"traces": 30, "scored": 30, "quality": 90.0, "failed": 3, "feedback": 4, "negative": 1, "latency_p95": 7.0}
    days = [
        {**day, "day": "2026-11-20", "traces": 10, "scored": 0, "quality": None, "failed": 1},
        {**day, "day": "2026-11-21", **full},
        {**day, "day": "2026-11-22", "traces": 10, "scored": 10, "quality": 50.0, "failed": 0},
    ]
    (found,) = over_days(days)
    assert (found["traces"], found["quality"], found["error_rate"], found["negative_rate"]) == (50, 80.0, 0.08, 0.25)
    assert (found["first_day"], found["last_day"], found["worst_latency_p95"]) == ("2026-11-20", "2026-11-22", 7.0)
    assert over_days([]) == []


def test_a_query_that_cannot_be_answered_leaves_the_file_as_it_was(run, file, tmp_path):
    run("events", "import", file)
    out = tmp_path / "out.jsonl"
    out.write_text("what was there")
    assert run("events", "query", "--since", "soon", "--out", out).exit_code == 1
    refused = run("events", "query", "--limit", 1, "--out", out)
    assert (refused.exit_code, "leave out --limit" in refused.stderr) == (2, True)
    assert out.read_text() == "what was there"
    assert said(run("events", "query", "--out", out, "--json")) == {"rows": 2, "path": str(out)}


def test_standard_output_gets_the_same_bytes_as_a_file_in_any_locale(run, tmp_path):
    (tmp_path / "e.jsonl").write_text(json.dumps(json.loads(event(1, output="größer")), ensure_ascii=False))
    run("events", "import", tmp_path / "e.jsonl")
    command = [sys.executable, "-m", "flows.cli", "events", "query", "--out", "-", "--home", str(tmp_path / "home")]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=plain, check=True)
    assert json.loads(done.stdout)["data"]["output"] == "größer"


def test_numbers_larger_than_the_database_has_are_no_failure(run, file):
    run("events", "import", file)
    assert run("events", "query", "--after", 10**20).stdout == "no event is like that\n"
    assert len(said(run("events", "query", "--limit", 10**20, "--json"))["events"]) == 2


def test_a_home_that_is_not_there_takes_no_feedback(tmp_path):
    given = ["feedback", "t1", "--kind", "stars", "--value", "4", "--user", "dana", "--home", str(tmp_path / "hme")]
    result = CliRunner().invoke(app, given)
    assert (result.exit_code, result.stderr.split(":")[0]) == (1, "E7825")
    assert not (tmp_path / "hme").exists()


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


@pytest.mark.parametrize(
    ("kind", "value", "todo"),
    [
        ("mood", "3", "give --kind thumbs, resolved, "),
        ("stars", "9", "stars takes a number from 1 to 5"),
        ("thumbs", "perhaps", "thumbs takes true or false, "),
    ],
)
def test_feedback_that_says_nothing_is_refused(run, kind, value, todo):
    result = run("feedback", "t1", "--kind", kind, "--value", value, "--user", "dana")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"E7037: feedback {kind!r} of {value!r} says nothing about quality; {todo}")


def test_a_time_that_is_none_is_refused(run, file):
    run("events", "import", file)
    result = run("events", "query", "--since", "soon")
    assert (result.exit_code, result.stderr.split(":")[0]) == (1, "E7033")
