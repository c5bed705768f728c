"""Bad and hostile input at the command line: one line with its code where a run cannot go on, a reject where it can.

What is told before anything starts is tried with a Prefect server that nobody can reach: a run that went on would tell
that instead.
"""

from __future__ import annotations

import errno
import gzip
import http.server
import json
import os
import random
import re
import resource
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.options import as_ratchet_error
from flows.dataset import build_dataset
from flows.policy import Policy
from flows.templates import template
from registry.datasets import DatasetStore
from registry.errors import TrainingError
from registry.home import Home
from tasks.extraction.inputs import find_inputs

UNREACHABLE = "http://127.0.0.1:9/api"
ONE_LINE = re.compile(r"E7\d{3}: [^\n]+; [^\n]+\n")
WORDS = [a + b for a in "bdfgklmnprst" for b in ("ala", "ero", "imu", "osa", "une", "eki", "abo", "ori")]

Told = Callable[..., str]


def good(number: int, **changes: Any) -> dict[str, Any]:
    """Return an event that is accepted; `data` changes keys of its data."""
    generator, told = random.Random(number), changes.pop("data", {})
    data = {
        "trace_id": f"t{number}", "agent": "a", "status": "success", "quality_score": 90.0, "confidence": 0.9,
        "task": {"type": "t", "domain": "travel", "instruction": " ".join(generator.choices(WORDS, k=12))},
        "steps": [], "output": " ".join(generator.choices(WORDS, k=20)),
    }  # fmt: skip
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "execution.completed",
        "time": "2026-01-05T00:00:00Z", "subject": f"s{number}",
        "data": data | told if isinstance(told, dict) else told, **changes,
    }  # fmt: skip


def lines(*events: dict[str, Any] | bytes) -> bytes:
    return b"".join((e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n" for e in events)


def many(count: int) -> list[dict[str, Any]]:
    return [good(number) for number in range(count)]


def kept(home: Path) -> list[Path]:
    """Return what a run leaves that learned something."""
    return [path for folder in ("datasets", "mlflow/artifacts", "reports") for path in (home / folder).rglob("*")]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    """Return a function that runs a command which cannot go on, and returns the one line that it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, api: str = UNREACHABLE, stdin: bytes | None = None) -> str:
        monkeypatch.setenv("PREFECT_API_URL", api)
        done = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)
        assert done.exit_code == 1
        assert isinstance(done.exception, SystemExit)
        assert done.stdout == ""
        said = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("dataset: "))  # progress
        assert ONE_LINE.fullmatch(said), said
        return said

    return run


# --- before anything starts ------------------------------------------------------------------------------------------


@pytest.fixture
def wrong_inputs(tmp_path: Path) -> Path:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "void").mkdir()
    (tmp_path / "void" / "notes.txt").write_text("not read")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "good.jsonl").write_bytes(lines(*many(3)))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["missing.jsonl"], "missing.jsonl does not exist"),
        (["empty.jsonl"], "empty.jsonl is empty"),
        (["void"], "void holds no file named"),
        (["*.nothing"], "*.nothing matches no file"),
        (["loop.jsonl"], "loop.jsonl cannot be opened (Too many levels of symbolic links)"),
        (["dangling.jsonl"], "dangling.jsonl does not exist"),
        (["pipe.jsonl"], "pipe.jsonl is no regular file; pipe it into -"),
        (["a\nb\x1b.jsonl"], "a\\nb\\x1b.jsonl does not exist"),
        (["-"], "- is empty"),
        (["good.jsonl", "missing.jsonl", "empty.jsonl", "void"],
         "missing.jsonl does not exist; empty.jsonl is empty; void holds no file"),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_read_are_all_told_before_anything_starts(told, wrong_inputs, given, says):
    said = told("learn", *given, "--home", "home")
    assert said.startswith("E7001: events cannot be read: ")
    assert says in said
    assert kept(wrong_inputs / "home") == []
    assert not list((wrong_inputs / "home" / "scratch").iterdir())


@pytest.mark.parametrize("command", [["learn", "good.jsonl"], ["stats"], ["show", "agent"], ["history", "agent"]])
@pytest.mark.parametrize(
    ("home", "code"), [("good.jsonl", "E7820"), ("good.jsonl/below", "E7820"), ("/proc/ratchet", "E7821")]
)
def test_a_home_that_cannot_be_written_to_is_told(told, wrong_inputs, command, home, code):
    if home == "/proc/ratchet" and command[0] != "learn":
        code = "E7825"  # who only reads does not try to make one
    assert told(*command, "--home", home).startswith(f"{code}: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"filtering: {quality_threshold: 700, qualty: 1}\ncuration: {train_share: 0.9}\n",
         ["filtering.quality_threshold should be less than or equal to 100", "filtering.qualty is no setting",
          "curation contradicts itself: train_share + validation_share + test_share is 1.1"]),
        (b"filtering: {quality_weight: 0.5}\n",
         ["filtering contradicts itself: the four weights must sum to 1, not 0.9"]),
        (b"a: &a [x, x]\nb: [*a, *a]\n", ["aliases (*name) are not allowed"]),
        (b"\x7fELF\x02\x01\x00\x00\xff\xfe", ["policy.yaml"]),
        (b"a: " + b"[" * 5000, ["nested too deeply"]),
        (None, ["cannot be read (Is a directory)"]),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_used_is_told_with_all_its_problems(told, wrong_inputs, content, says):
    path = wrong_inputs / "policy.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    for command in (["learn", "good.jsonl", "--home", "home", "--policy", path], ["policy", path]):
        said = told(*command)
        assert said.startswith("E7801: ")
        assert all(each in said for each in says), said
    assert kept(wrong_inputs / "home") == []


def test_an_input_that_is_named_twice_is_read_once(tmp_path):
    from flows.job import prepare
    from flows.settings import Settings

    (tmp_path / "a.jsonl").write_bytes(lines(*many(3)))
    (tmp_path / "same.jsonl").symlink_to(tmp_path / "a.jsonl")
    given = [str(tmp_path / "a.jsonl"), str(tmp_path / "same.jsonl"), f"{tmp_path}/*.jsonl", str(tmp_path)]
    job = prepare(Settings(home=tmp_path / "home"), events=given)
    assert [item.name for item in job.inputs] == [str(tmp_path / "a.jsonl")]


# --- once the events are read ----------------------------------------------------------------------------------------


def rejects(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in home.glob("runs/*/rejects.jsonl") for line in path.open(encoding="utf-8")]


@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("all.jsonl", lines(b"broken", b'{"id": 1}', b"[]", b"\xff", b"\x00"), "E7011"),
        ("six.jsonl", lines(*many(94), *[b"{"] * 6), "E7010"),
        ("blank.jsonl", b" \n\r\n\n", "E7012"),
        ("utf16.jsonl", lines(*many(3)).decode().encode("utf-16"), "E7011"),
        ("cut.jsonl.gz", gzip.compress(lines(*many(200)))[:-40], "E7002"),
        ("cut.jsonl.zst", pa.compress(lines(*many(200)), "zstd", asbytes=True)[:-40], "E7002"),
        ("no.jsonl.gz", b"no archive at all", "E7002"),
        ("failed.jsonl", lines(*[good(n, data={"status": "failure"}) for n in range(20)]), "E7102"),
        ("other.jsonl", lines(*[good(n, type="order.placed") for n in range(20)]), "E7101"),
        ("unscored.jsonl", lines(*[good(n, data={"quality_score": None}) for n in range(20)]), "E7103"),
    ],
)
def test_events_that_nothing_can_be_learned_from_stop_the_run(told, tmp_path, prefect_api, name, content, code):
    (tmp_path / name).write_bytes(content)
    said = told("learn", name, "--home", "home", "--json", api=prefect_api)
    assert said.startswith(f"{code}: "), said
    assert kept(tmp_path / "home") == []
    assert not list((tmp_path / "home" / "scratch").iterdir())
    if code in {"E7010", "E7011"}:
        broken = {"all.jsonl": 5, "six.jsonl": 6}.get(name, len(content.split(b"\n")))
        assert len(rejects(tmp_path / "home")) == broken
    assert not (tmp_path / "home" / "runs").exists() or not list((tmp_path / "home").glob("runs/*/adapter"))


TEXT = '"output": "'
CALL = '{"type": "tool_call", "tool": "t", "arguments": {"n": 1e999}}'
SPOILED: list[tuple[str, Callable[[str], str | bytes]]] = [
    ("E7020", lambda e: e.encode().replace(b'"output": "', b'"output": "\xff')),
    ("E7021", lambda e: "not JSON"),
    ("E7021", lambda e: e[: len(e) // 2]),
    ("E7022", lambda e: f"[{e}]"),
    ("E7023", lambda e: '{"name": "value"}'),
    ("E7023", lambda e: e.replace('"id": ', '"idea": ')),
    ("E7024", lambda e: e.replace('"1.0"', '"0.3"')),
    ("E7025", lambda e: e.replace('"1.0"', "1.0")),
    ("E7026", lambda e: e.replace("90.0", "NaN")),
    ("E7027", lambda e: e.replace('"steps": []', '"steps": ' + "[" * 10_000 + "]" * 10_000)),
    ("E7028", lambda e: e.replace(TEXT, TEXT + "x" * 300_000)),
    ("E7029", lambda e: e.replace(TEXT, TEXT + r"\ud800")),
    ("E7030", lambda e: e.replace(TEXT, TEXT + "\x00")),
    ("E7031", lambda e: e.replace("2026-01-05T00:00:00Z", "yesterday")),
    ("E7032", lambda e: e.replace('"steps": []', f'"steps": [{CALL}]')),
]  # fmt: skip
WRONG: list[dict[str, Any]] = [
    *({key: wrong} for key in ("id", "source", "type", "time", "subject", "data") for wrong in (7, [], True)),
    *(
        {"data": {key: wrong}}
        for key in ("trace_id", "agent", "task", "steps", "status", "quality_score", "confidence", "feedback")
        for wrong in ("?" if key in {"task", "steps", "quality_score", "confidence", "feedback"} else [], True)
    ),
]
LEGAL: list[dict[str, Any]] = [
    *({"time": time} for time in ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00")),
    {"data": {"quality_score": 170}}, {"data": {"output": 42}}, {"data": {"ground_truth": "secret truth"}},
]  # fmt: skip


@pytest.mark.server
def test_hostile_lines_among_good_ones_are_rejects_with_their_reason_and_the_run_goes_on(ratchet, tmp_path):
    spoiled = [(code, spoil(json.dumps(good(1000 + n)))) for n, (code, spoil) in enumerate(SPOILED)]
    wrong = [json.dumps(good(2000 + n, **change)) for n, change in enumerate(WRONG)]
    legal = [good(3000 + n, **change) for n, change in enumerate(LEGAL)]
    twins = [good(5), good(6, data={"output": "another output under the same id"})]
    text = lines(
        *many(600), *legal, *twins, good(4000, type="order.placed", data="anything"),
        *[line if isinstance(line, bytes) else line.encode() for _, line in spoiled],
        *[line.encode() for line in wrong],
    ).replace(b'"e7"', b'"e7" ').replace(b"\n", b"\r\n", 100)  # fmt: skip
    policy = tmp_path / "policy.yaml"
    policy.write_text("extraction: {max_reject_share: 0.2}\n")
    home = tmp_path / "home"
    stream = b"\xef\xbb\xbf" + text
    done = ratchet("learn", "-", "--home", home, "--policy", policy, "--json", stdin=stream)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    summary = json.loads(done.out)  # one document, and nothing else
    events, examples = summary["events"], summary["examples"]
    assert events["read"] == text.count(b"\n")
    assert events["rejected"] == len(spoiled) + len(wrong)
    assert (events["duplicate"], events["ignored"]) == (2, 1)
    assert events["read"] == examples["extracted"] + events["rejected"] + events["duplicate"] + events["ignored"]
    assert events["by_reason"]["duplicate_conflicting"] == 1
    assert events["by_reason"]["time_without_zone"] == 1
    assert examples["extracted"] == 600 + len(legal)
    found = rejects(home)
    assert [reject["code"] for reject in found] == [code for code, _ in spoiled] + ["E7025"] * len(wrong)
    assert [reject["line"] for reject in found] == list(range(610, 610 + len(found)))
    assert all(reject["reason"] for reject in found)
    assert [r["raw"] for r in found[len(spoiled) :]] == wrong
    assert "secret truth" not in "".join(
        path.read_bytes().decode("latin-1") for path in Path(summary["dataset"]["path"]).iterdir()
    )


# --- when what is around fails ---------------------------------------------------------------------------------------


@pytest.fixture
def dataset_home(tmp_path: Path) -> Path:
    """Return a home that holds a dataset of 40 examples, `agent/1.0.0`, and no model."""
    home = Home(tmp_path / "home").create()
    source = tmp_path / "e.jsonl"
    source.write_bytes(lines(*many(40)))
    build_dataset(
        find_inputs([str(source)]), Policy(), DatasetStore(home.datasets), "agent", seed=0, scratch=home.scratch,
        out=home.runs / "r",
    )  # fmt: skip
    source.unlink()
    return home.root


@pytest.fixture
def forbidding() -> Iterator[str]:
    """Return the address of an MLflow server that lets nobody in."""

    class Forbidden(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        do_POST = do_PUT = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidden) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.server
def test_an_mlflow_server_that_refuses_is_told_and_nothing_is_trained(
    told, forbidding, monkeypatch, tmp_path, prefect_api
):
    (tmp_path / "e.jsonl").write_bytes(lines(*many(40)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", forbidding)
    said = told("learn", "e.jsonl", "--home", "home", "--json", api=prefect_api)
    assert said.startswith("E783")
    assert "403" in said
    assert not list((tmp_path / "home").glob("runs/*/adapter"))


@pytest.mark.server
def test_an_mlflow_database_that_is_read_only_is_told_and_nothing_is_trained(told, monkeypatch, tmp_path, prefect_api):
    (tmp_path / "e.jsonl").write_bytes(lines(*many(40)))
    database = tmp_path / "mlflow.db"
    sqlite3.connect(database).close()
    if template("mlflow").exists():
        shutil.copyfile(template("mlflow"), database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{database}?mode=ro&uri=true")
    said = told("learn", "e.jsonl", "--home", "home", "--json", api=prefect_api)
    assert said.startswith("E7831")
    assert "readonly database" in said
    assert not list((tmp_path / "home").glob("runs/*/adapter"))


@pytest.mark.server
def test_a_disk_that_is_full_at_any_size_is_told_and_the_same_command_completes_when_there_is_room(
    told, tmp_path, prefect_api
):
    (tmp_path / "e.jsonl").write_bytes(lines(*many(40)))
    command = ["learn", "e.jsonl", "--home", "home", "--json"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (2_000, 100_000, 600_000):  # no file can grow beyond it: the probe, the ledger, MLflow's database
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            assert re.match("E782[012]|E7840|E7831", told(*command, api=prefect_api))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list((tmp_path / "home").glob("runs/*/adapter"))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["model"]["version"] == "1"
    assert summary["dataset"]["version"] == "1.0.0"


@pytest.mark.parametrize("target", ["full", "gone/train.jsonl", "."])
def test_an_export_that_cannot_be_written_is_told_and_leaves_what_was_there(told, dataset_home, target):
    Path("full").symlink_to("/dev/full")
    said = told("export", "agent", "--home", dataset_home, "--out", target)
    assert said.startswith(f"E7271: {target} cannot be written: ")
    assert {path.name for path in Path().iterdir()} == {"home", "full"}
    assert Path("full").is_char_device()


def test_an_export_is_whole_or_not_there(told, dataset_home):
    out = Path("train.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        assert "File too large" in told("export", "agent", "--home", dataset_home, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in Path().iterdir()] == ["home"]
    done = CliRunner().invoke(
        app, ["export", "agent", "--home", str(dataset_home), "--split", "all", "--out", str(out)]
    )
    assert done.stderr == "40 rows written to train.jsonl\n"
    assert len(out.read_text().splitlines()) == 40
    Path("link.jsonl").symlink_to(out)
    linked = CliRunner().invoke(app, ["export", "agent", "--home", str(dataset_home), "--out", "link.jsonl", "--json"])
    assert json.loads(linked.stdout)["rows"] == len(out.read_text().splitlines()) == 32
    assert Path("link.jsonl").is_symlink()


def test_what_libraries_raise_is_told_with_a_code_and_what_to_do():
    full = OSError(errno.ENOSPC, "No space left on device", "/disk/file")
    wrapped = RuntimeError("a pool's own words")
    wrapped.__cause__ = full
    assert str(as_ratchet_error(wrapped)).startswith("E7822: the disk is full at /disk/file; ")
    assert str(as_ratchet_error(OSError(errno.ENAMETOOLONG, "File name too long", "x"))).startswith(
        "E7802: x cannot be used: File name too long; "
    )
    ours = TrainingError("E7301", "what", "todo")
    wrapped.__cause__ = ours
    assert as_ratchet_error(wrapped) is ours
    assert str(as_ratchet_error(KeyError("k\n\nk"))) == (
        "E7899: unexpected KeyError: 'k\\n\\nk'; run it again with --debug to see where, and report it"
    )
