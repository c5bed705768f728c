"""The commands as somebody meets them who knows nothing: help, wrong usage, nothing there yet, questions that miss."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from flows.show import plain, show_run, standing

COMMANDS = ("learn", "approve", "rollback", "release", "history", "show", "lineage", "predict", "datasets", "export",
            "replay", "rebuild", "stats", "policy")  # fmt: skip
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
    for command in ("learn", "approve", "rollback", "predict", "export", "replay", "rebuild"):
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
        (["learn", "x", "--by", " "], "must not be blank"),
        (["learn", "x", "--polcy", "y"], "No such option"),
        (["approve", "agent"], "Missing argument 'VERSION'"),
        (["approve", "agent", "1"], "Missing option '--by'"),
        (["approve", "agent", "1", "--by", ""], "must not be blank"),
        (["rollback", "agent", "--by", "dana"], "Missing option '--reason'"),
        (["rollback", "agent", "--by", "dana", "--reason", " "], "must not be blank"),
        (["release", "agent", "1", "--by", "dana", "--reason", ""], "must not be blank"),
        (["history"], "Missing argument 'MODEL'"),
        (["replay"], "Missing argument 'DECISION'"),
        (["rebuild"], "Missing argument 'DATASET'"),
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


READING = (
    ["history", "agent"], ["show", "agent"], ["lineage", "e1"], ["predict", "agent"], ["datasets"], ["stats"],
    ["export", "agent"], ["approve", "agent", "1", "--by", "dana"],
    ["replay", "agent/1"], ["rebuild", "agent"],
    ["release", "agent", "1", "--by", "dana", "--reason", "x"], ["rollback", "agent", "--by", "dana", "--reason", "x"],
)  # fmt: skip
"""The commands that find nothing in a home that is not there."""


@pytest.mark.parametrize("arguments", READING)
def test_a_mistyped_home_is_told_and_nothing_is_made(ask, arguments, tmp_path):
    (tmp_path / "work").mkdir()
    for home in ([], ["--home", tmp_path / "work" / ".." / "typo"]):
        done = ask(*arguments, *home)
        where = tmp_path / ("typo" if home else ".ratchet")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == f"E7825: there is no home at {where}; give --home, or run `ratchet learn` first\n"
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_a_home_beside_what_a_link_leads_to_is_found(ask, tmp_path):
    (tmp_path / "far" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "below")
    (tmp_path / "far" / "home").mkdir()  # `link/..` is `far` to the kernel, and this folder to who cuts the text
    assert ask("stats", "--home", tmp_path / "link" / ".." / "home").exit_code == 0


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
        (["replay", "agent"], "E7562: 'agent' names no decision; write MODEL/VERSION, MODEL/VERSION#N or a number"),
        (["replay", "agent/1"], "E7540: there is no decision 'agent/1': 0 were made about agent/1"),
        (["replay", "7"], "E7540: audit record 7 is no decision"),
        (["rebuild", "agent"], "E7211: there is no dataset agent"),
        (["rebuild", "agent/"], "E7270: 'agent/' names no version; write NAME or NAME/VERSION"),
        (["export", "../agent"], "E7210: '..' cannot name a dataset"),
        (["learn", "x.jsonl", "--model", "a b"], "E7850: cannot use model name 'a b'"),
    ],
)
def test_a_question_that_misses_is_answered_in_one_line_with_what_to_do(ask, arguments, code, json_, tmp_path):
    (tmp_path / ".ratchet").mkdir()
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
def test_an_empty_home_is_no_failure(ask, arguments, words, empty, tmp_path):
    (tmp_path / ".ratchet").mkdir()
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
        (["lineage", "nope"], "E7568: no dataset version holds the event nope"),
    ],
)
def test_what_a_home_does_not_have_is_told_with_what_it_has(ask, learned, arguments, code):
    done = ask(*arguments, "--home", learned.home)
    assert done.exit_code == 1
    assert LINE.fullmatch(done.stderr)
    assert done.stderr.startswith(code)


@pytest.mark.server
@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_an_approval_that_does_not_promote_says_what_stopped_it_and_fails(ask, copied, json_):
    for path in (copied.home / "mlflow" / "artifacts").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    done = ask("approve", "agent", "1", "--by", "dana", "--home", copied.home, *json_)
    assert done.exit_code == 1
    assert LINE.fullmatch(done.stderr)
    assert done.stderr.startswith(
        "E7567: agent/1 is approved but not promoted: artifact loadable FAIL, it could not be"
    )
    if json_:
        document = json.loads(done.stdout)
        assert (document["decision"], document["stage"]) == ("rejected", "staging")
    else:
        assert re.search(r"artifact loadable +FAIL", done.stdout)


@pytest.mark.server
def test_what_was_learned_before_is_told_in_a_box_alone(ask, learned):
    done = ask("learn", learned.events, "--home", learned.home)
    assert done.exit_code == 0
    assert done.stdout.startswith("╭")
    assert "Verdict: unchanged" in done.stdout
    assert "agent/1 is in staging (@staging)" in done.stdout
    assert "ratchet approve agent 1 --by YOU" in done.stdout
    assert "Gates" not in done.stdout


@pytest.mark.server
def test_no_word_is_broken_on_a_terminal_of_80_columns(ask, copied, monkeypatch):
    by = "somebody.with.a.long.name@support.example.com"
    assert ask("approve", "agent", "1", "--by", by, "--home", copied.home).exit_code == 0
    monkeypatch.setenv("COLUMNS", "80")
    event = json.loads(ask("show", "agent/1", "--home", copied.home, "--json").stdout)["events"][0]["id"]
    for arguments, words in (
        (["history", "agent"], {"development", "staging", "production", "validate", "promote", by}),
        (["show", "agent"], {"production", "champion", "agent/1.0.0", "recommendation", "readiness"}),
        (["show", "agent/1"], {"production", "champion", copied.summary["dataset"]["digest"], by}),
        (["lineage", event], {"agent/1", "(production)", "agent/1.0.0"}),
        (["datasets"], {"agent/1.0.0", copied.summary["dataset"]["digest"][:12]}),
    ):
        assert words <= set(ask(*arguments, "--home", copied.home).stdout.split()), arguments


def summary_of(events: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    nothing = dict.fromkeys(("dataset", "training", "validation", "readiness", "model", "report"))
    return {"events": events, "examples": examples, "gates": [], "decision": "rejected", "home": ".ratchet", **nothing}


def test_the_funnel_accounts_for_every_line_that_was_read(capsys):
    reasons = {"duplicate": 3, "joined_feedback": 40}
    events = {"read": 100, "rejected": 2, "duplicate": 3, "ignored": 5, "by_reason": reasons}
    show_run(summary_of(events, {"extracted": 50, "accepted": 50, "review": 0, "rejected": 0}))
    # 2 + 3 + 5 + 40 + 50 = 100
    assert "2 rejected, 3 duplicate, 5 ignored, 40 joined to a trace" in " ".join(capsys.readouterr().out.split())


def test_an_archived_version_is_archived_and_any_other_is_in_its_stage():
    assert [standing(stage) for stage in ("archived", "production")] == ["archived", "in production"]


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
    reasons = {line.decode(): answer.get("reason") for line, answer in zip(filter(None, lines), answers, strict=True)
               if line.isascii()}  # fmt: skip
    assert reasons['{"messages": []}'] == "the list of messages is empty"
    assert reasons["{}"] == "the line has neither a prompt nor a list of messages"
    assert reasons[wrong[10]] == "message 2 of the list is not one with a known role and a text"
