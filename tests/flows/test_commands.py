"""The commands as somebody meets them who knows nothing: help, wrong usage, nothing there yet, questions that miss."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from flows.show import plain

COMMANDS = ("learn", "approve", "rollback", "release", "history", "show", "lineage", "predict", "datasets", "export",
            "stats", "policy")  # fmt: skip
LINE = re.compile(r"E7\d{3}: [^\n]+; [^\n]+\n")

Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Return a function that runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        done = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_says_what_its_options_default_to(ask, command):
    done = ask(command, "--help")
    assert done.exit_code == 0
    assert "--json" in done.stdout
    assert "--debug" in done.stdout
    if command != "policy":
        assert "env RATCHET_HOME; default: .ratchet" in " ".join(done.stdout.split())


def test_the_commands_that_change_something_show_an_example(ask):
    for command in ("learn", "approve", "rollback", "predict", "export"):
        assert f"ratchet {command} " in ask(command, "--help").stdout.split("Arguments")[0].split("Usage", 1)[1][30:]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command"),
        (["learn"], "Missing argument 'EVENTS'"),
        (["learn", "x", "--seed", "-1"], "greater than or equal to 0"),
        (["learn", "x", "--seed", "seven"], "valid integer"),
        (["learn", "x", "--strategy", "hope"], "is not one of"),
        (["learn", "x", "--home", ""], "the name of a folder is missing"),
        (["learn", "x", "--approve-as", " "], "must not be blank"),
        (["learn", "x", "--polcy", "y"], "No such option"),
        (["approve", "agent"], "Missing argument 'VERSION'"),
        (["approve", "agent", "1"], "Missing option '--by'"),
        (["approve", "agent", "1", "--by", ""], "must not be blank"),
        (["rollback", "agent", "--by", "dana"], "Missing option '--reason'"),
        (["rollback", "agent", "--by", "dana", "--reason", " "], "must not be blank"),
        (["release", "agent", "1", "--by", "dana", "--reason", ""], "must not be blank"),
        (["history"], "Missing argument 'MODEL'"),
        (["show", "agent", "--events", "-1"], "greater than or equal to 0"),
        (["export", "agent", "--format", "parquet"], "is not one of"),
        (["export", "agent", "--split", "dev"], "is not one of"),
    ],
)
def test_wrong_usage_exits_2_and_touches_nothing(ask, arguments, says, tmp_path):
    done = ask(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("json_", [[], ["--json"]])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["history", "agent"], "E7563: there is no history of 'agent'; run `ratchet learn` first"),
        (["history", ""], "E7563: there is no history of ''"),
        (["show", "agent@"], "E7562: 'agent@' names no version; write MODEL@ALIAS or MODEL/VERSION"),
        (["show", "@champion"], "E7562"),
        (["lineage", ""], "E7564: '' is not the id of an event; write ID or SOURCE#ID"),
        (["lineage", "source#"], "E7564"),
        (["lineage", "a\x1b[31mb"], "E7564: 'a\\x1b[31mb'"),
        (["lineage", b"\xff".decode(errors="surrogateescape")], "E7564: '\\udcff'"),
        (["export", "agent"], "E7211: there is no dataset agent; there is no dataset yet: run `ratchet learn` first"),
        (["export", "agent/"], "E7270: 'agent/' names no version; write NAME or NAME/VERSION"),
        (["export", "../agent"], "E7210: '..' cannot name a dataset"),
        (["learn", "x.jsonl", "--model", "a b"], "E7850: cannot use model name 'a b'"),
    ],
)
def test_a_question_that_misses_is_answered_in_one_line_with_what_to_do(ask, arguments, code, json_):
    done = ask(*arguments, *json_)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert LINE.fullmatch(done.stderr)
    assert done.stderr.startswith(code)


@pytest.mark.parametrize(
    ("arguments", "words", "empty"),
    [
        (["datasets"], "there is no dataset yet: run `ratchet learn` first\n", {"datasets": []}),
        (["stats"], "models", {"models": 0, "jobs_started": 0, "error_rate": None}),
    ],
)
def test_an_empty_home_is_no_failure(ask, arguments, words, empty):
    shown, told = ask(*arguments), ask(*arguments, "--json")
    assert (shown.exit_code, told.exit_code) == (0, 0)
    assert words in shown.stdout
    assert empty.items() <= json.loads(told.stdout).items()


def test_the_policy_that_is_printed_is_one_that_can_be_used(ask, tmp_path):
    (tmp_path / "policy.yaml").write_text(ask("policy").stdout)
    assert ask("policy", "policy.yaml", "--json").stdout == ask("policy", "--json").stdout


def test_a_text_from_outside_is_shown_on_one_line_without_markup_and_control_characters():
    assert plain("[red]a\nb\x1b[31m\u202e\udcff c") == "\\[red]a b [31m   c"


@pytest.mark.server
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "agent/9"], "E7522"),
        (["show", "agent@champion"], "E7522"),
        (["show", "nobody"], "E7522"),
        (["approve", "agent", "9", "--by", "dana"], "E7522"),
        (["approve", "agent", "staging", "--by", "dana"], "E7522"),
        (["rollback", "agent", "--by", "dana", "--reason", "x"], "E7527"),
        (["release", "agent", "1", "--by", "dana", "--reason", "x"], "E7524"),
        (["predict", "agent@nobody"], "E7522"),
        (["export", "agent/7.0.0"], "E7211"),
    ],
)
def test_what_a_home_does_not_have_is_told_with_what_it_has(ask, learned, arguments, code):
    done = ask(*arguments, "--home", learned.home)
    assert done.exit_code == 1
    assert LINE.fullmatch(done.stderr)
    assert done.stderr.startswith(f"{code}: ")


@pytest.mark.server
def test_an_event_that_nobody_saw_has_no_lineage(ask, learned):
    assert ask("lineage", "nope", "--home", learned.home).stdout == "no dataset version holds the event nope\n"
    assert json.loads(ask("lineage", "nope", "--home", learned.home, "--json").stdout) == {
        "event": "nope", "datasets": [],
    }  # fmt: skip


@pytest.mark.server
def test_every_line_that_is_asked_is_answered_in_order_or_told_why_not(ask, learned):
    fine = [
        '{"prompt": "I need to change my flight"}',
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": []}]}',
        '{"prompt": ""}',
        '{"prompt": "a\\u0000\\ud800b"}',
        json.dumps({"prompt": "word " * 50_000}),
    ]
    wrong = [
        "{", "[" * 10_000, "5", "[]", '"prompt"', "{}", '{"prompt": 5}', '{"prompt": NaN}', '{"messages": []}',
        '{"messages": ["hi"]}', '{"messages": [{"role": "user"}, {"role": "zebra", "content": "x"}]}',
        '{"messages": [{"role": "user", "content": 5}]}', '{"messages": [{"role": "assistant", "tool_calls": [5]}]}',
        '{"messages": [{"role": "assistant", "tool_calls": 5}]}',
    ]  # fmt: skip
    lines = [line.encode() for pair in zip(fine, wrong, strict=False) for line in pair]
    lines += [line.encode() for line in wrong[len(fine) :]] + [b"\xff\xfe", b"", fine[0].encode()]
    done = ask("predict", "agent@staging", "--home", learned.home, stdin=b"\n".join(lines))
    assert done.exit_code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(fine) + len(wrong) + 2
    told = [sorted(answer) == ["confidence", "response", "version"] for answer in answers]
    assert told == [*[True, False] * len(fine), *[False] * (len(wrong) - len(fine) + 1), True]
    assert all(answer["error"] in {"E7370", "E7371"} and answer["reason"] for answer in answers if "error" in answer)
    assert answers[0] == answers[-1]
