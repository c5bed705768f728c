"""A person is erased: afterwards no file of the home and no artifact holds what they said, however it is looked for."""

from __future__ import annotations

import base64
import gzip
import importlib
import io
import json
import random
import shutil
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import flows.erase
from flows.audit import verify_audit
from flows.cli import app
from flows.erase import erase
from flows.queries import predict_lines
from flows.settings import load_settings
from flows.stores import open_stores
from flows.whereabouts import where_is
from registry.erasure.events import Person
from registry.erasure.plan import ErasurePolicy, ModelPlan, Plan, forgotten, new_plan, open_plans, records, tainted
from registry.erasure.tombstones import ERASED
from registry.errors import IntegrityError, SettingsError
from tests.flows import toy_home

WORDS = (
    "amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "harbor", "iris", "jasper", "kelp", "lagoon",
)  # fmt: skip
ZOE, USER = "customer-zoe-77", "zoe.quibble"
NAME = "Zoë Quibblethorpe"
SUBJECT = Person("subject", ZOE)
WARN = ErasurePolicy()


class Home:
    """A home that learned of Zoë, and every sentence that she said or was told."""

    def __init__(self, root: Path, said: list[str]) -> None:
        self.root, self.said = root, said
        self.settings = load_settings(home=root)
        self.stores = open_stores(self.settings)

    @property
    def needles(self) -> list[str]:
        return [*self.said, NAME, ZOE, USER]


def zoes(said: list[str]) -> list[bytes]:
    """Return events of Zoë: good ones and bad ones, a broken line, feedback; what she says goes to `said`."""
    draw = random.Random(3)

    def say(tag: str) -> str:
        said.append(" ".join([*draw.sample(WORDS, 9), tag]))
        return said[-1]

    lines = []
    for n in range(18):
        ask, answer, seen = say(f"zq-ask-{n}"), say(f"zq-answer-{n}"), say(f"zq-seen-{n}")
        steps = [
            {"type": "user_message", "observation": f"I am {NAME}. {ask}"},
            {"type": "tool_call", "tool": "lookup", "arguments": {"q": ask}, "observation": seen},
            {"type": "assistant_message", "observation": answer},
        ]
        data = {
            "trace_id": f"zoe-trace-{n}", "session_id": f"{ZOE}/{n // 3}", "agent": "support-qa", "user": USER,
            "task": {"type": "qa", "domain": "qa", "instruction": "You answer questions.", "input": ask},
            "steps": steps, "output": answer, "status": "failure" if n == 17 else "success", "confidence": 0.9,
            "quality_score": 95 if n < 12 else 40, "latency_ms": 900, "private": say(f"zq-private-{n}"),
        }  # fmt: skip
        lines.append(event(f"zoe-{n}", "execution.completed", data, ascii_only=n % 2 == 0))
        if n % 6 == 0:
            said_of = {
                "trace_id": f"zoe-trace-{n}",
                "kind": "stars",
                "value": 5,
                "user": USER,
                "why": say(f"zq-why-{n}"),
            }
            lines.append(event(f"zoe-says-{n}", "feedback.recorded", said_of))
    return [*lines, lines[3][:-30]]


def event(identity: str, kind: str, data: dict[str, object], *, ascii_only: bool = False) -> bytes:
    made = {
        "specversion": "1.0", "id": identity, "source": "https://agents.example.com/support/us-1", "type": kind,
        "time": "2026-02-05T10:00:00Z", "subject": ZOE, "data": data,
    }  # fmt: skip
    return json.dumps(made, ensure_ascii=ascii_only).encode()


@pytest.fixture(scope="module")
def knowing(tmp_path_factory, make_sample, ratchet):
    """A home that learned, logged and served what Zoë said."""
    folder = tmp_path_factory.mktemp("zoe")
    said: list[str] = []
    sample = make_sample(folder / "sample.jsonl", "--clean", "--events", 600, "--seed", 5)
    lines = sample.read_bytes().splitlines()
    for line in zoes(said):
        lines.insert(random.Random(len(line)).randrange(len(lines)), line)
    events = folder / "events.jsonl"
    events.write_bytes(b"\n".join(lines) + b"\n")
    for arguments in (["learn", events, "--by", "erin", "--approve-as", "dana"], ["events", "import", events]):
        done = ratchet(*arguments, "--home", folder / "home", "--json")
        assert done.code == 0, done.err[-2000:]
    assert done.json["appended"] > 500
    _scatter(Home(folder / "home", said))
    return folder / "home", said


def _scatter(home: Home) -> None:
    """Put what Zoë said wherever a run may leave it: a case of a report, a reason, a log, a cache, a tag."""
    stores, text = home.stores, home.said[1]
    run = stores.models.get("agent", "1").run_id
    case = {"stages": [{"failing": [{"context": f"user: I am {NAME}. {home.said[0]}"[:60] + "…", "candidate": text}]}]}
    stores.models.tracking.log_text(run, json.dumps(case, indent=1), "more.json")
    page = f'<!doctype html><p>kept &amp; whole</p><td>{text}</td><td title="{text}">x</td>'
    stores.models.tracking.log_text(run, page, "more.html")
    (home.root / "reports" / "more.html").write_text(page)
    (home.root / "logs" / "more.jsonl").write_text(json.dumps({"message": f"one answer, {text!r}"}) + "\n{torn")
    (home.root / "logs" / "old.log.gz").write_bytes(gzip.compress(f"before\n{text}\nafter\n".encode()))
    (home.root / "scratch" / "left").mkdir()
    pq.write_table(pa.table({"messages": [text]}), home.root / "scratch" / "left" / "rows.parquet")
    with stores.models.connection.explained() as client:
        client.set_tag(run, "state_reason", f"collapsed to {text}")
    stores.history.record_run("w" * 64, "r1", "agent", "failed", {"error": f"says {text}"})
    stores.history.note("settings", "agent", {"reason": f"one answer, {text}"})


@pytest.fixture
def home(knowing, tmp_path):
    shutil.copytree(knowing[0], tmp_path / "home")
    return Home(tmp_path / "home", knowing[1])


def holding(root: Path, needles: list[str]) -> dict[str, str]:
    """Return every file in which one of the needles can be read, by what way whatever."""
    forms = {form: text for text in needles for form in _forms(text)}
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        said = b"\n".join(_readings(path)).lower()
        for form, text in forms.items():
            if form in said:
                found[str(path.relative_to(root))] = text
    return found


def _forms(text: str) -> set[bytes]:
    return {
        text.lower().encode(),
        json.dumps(text)[1:-1].lower().encode(),
        base64.b64encode(text.encode())[:-4].lower(),
    }


def _readings(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        return [data, json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()]
    if data[:2] == b"\x1f\x8b":
        return [gzip.decompress(data)]
    if data[:15] != b"SQLite format 3":
        return [data]
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [value for table in tables for row in database.execute(f'SELECT * FROM "{table}"') for value in row]
    database.close()
    arrow = [value for value in rows if isinstance(value, bytes) and value[:6] == b"ARROW1"]
    unpacked = [str(pa.ipc.open_file(pa.py_buffer(block)).read_all().to_pylist()).encode() for block in arrow]
    return [data, *unpacked, *(value.encode() if isinstance(value, str) else str(value).encode() for value in rows)]


def test_the_search_finds_her_everywhere_before(home):
    found = holding(home.root, home.needles)
    kinds = {Path(name).parts[0] for name in found}
    assert {"cache", "datasets", "logs", "mlflow", "ratchet.db", "reports", "runs", "scratch"} <= kinds
    assert any(name.endswith("turns.parquet") and name.startswith("mlflow") for name in found)


def test_afterwards_no_file_and_no_artifact_holds_her_text(home, ratchet):
    copies = ["--home", home.root, "--json"]
    done = ratchet("erase", "--subject", ZOE, "--by", "dana", "--reason", "request 12", "--yes", *copies)
    assert done.code == 0, done.err[-2000:]
    assert holding(home.root, home.needles) == {}
    assert done.json["events"] == 21
    assert [each["dataset"] for each in done.json["datasets"]] == ["agent/1.0.0"]
    assert done.json["tainted"][0]["name"] == "agent"
    assert done.json["tainted"][0]["turns"] >= 12

    manifest = home.stores.datasets.load("agent")
    assert len(home.stores.datasets.erased(manifest).tombstones) == sum(done.json["datasets"][0]["rows"].values())
    said = home.stores.models.tracking.artifact(home.stores.models.get("agent", "1").run_id, "more.html").read_text()
    assert "kept &amp; whole" in said
    (answer,) = predict_lines(home.settings, "agent@champion", io.BytesIO(b'{"prompt": "Where is my order?"}'))
    assert answer["version"] == "1"
    assert verify_audit(home.settings)["ok"]
    with pytest.raises(IntegrityError, match="E7983: this subject was erased on 2"):
        where_is(home.settings, SUBJECT)

    retrained = ratchet("learn", "log:", "--strategy", "full_retrain", *copies)
    assert retrained.code == 0, retrained.err[-2000:]
    assert retrained.json["dataset"]["version"] != "1.0.0"
    assert holding(home.root, home.needles) == {}


def test_asking_changes_nothing_and_names_what_saw_her(home):
    before = {path: path.read_bytes() for path in home.root.rglob("*.parquet")}
    found = where_is(home.settings, Person("user", USER))
    assert (found["events"], found["traces"]) == (21, 18)
    (held,) = found["datasets"]
    assert held["dataset"] == "agent/1.0.0"
    assert sum(held["rows"].values()) == 12
    assert [(each["name"], each["version"], each["aliases"]) for each in found["models"]] == [
        ("agent", "1", ["champion"])
    ]
    assert {path: path.read_bytes() for path in home.root.rglob("*.parquet")} == before


def test_a_trace_goes_alone(home):
    done = erase(home.settings, Person("trace", "zoe-trace-1"), reason="r", by="dana", policy=WARN)
    assert done["events"] == 1
    gone = [text for text in home.said if text.endswith("-1")]
    assert len(gone) == 4
    assert holding(home.root, gone) == {}
    assert where_is(home.settings, SUBJECT)["events"] == 20


def test_the_record_is_signed_and_names_nobody(home):
    done = erase(home.settings, SUBJECT, reason="request 12", by="dana", policy=WARN)
    (plan,) = records(home.stores.history, home.stores.keyring.trust())
    assert (plan.plan, plan.reason, plan.by) == (done["erasure"], "request 12", "dana")
    assert len(plan.event_keys) == 21
    assert ZOE not in plan.model_dump_json()
    assert not open_plans(home.root / "erasures")
    version = home.stores.models.get("agent", "1")
    assert forgotten(home.stores.history, home.stores.keyring.trust()) == plan.event_keys
    assert done["erasure"] in tainted(home.stores.models.connection, version)
    assert home.stores.bundles.attested(version)
    assert [note.version for note in home.stores.history.notes("erase", "agent")] == ["1"]


@pytest.mark.parametrize(
    "step",
    [
        "flows.forgetting.forget", "flows.forgetting._replace", "registry.erasure.tombstones.take_out",
        "registry.erasure.tombstones.finish", "registry.erasure.events.erase", "flows.erase.remaining",
    ],
)  # fmt: skip
def test_the_same_command_goes_on_where_a_crash_ended_it(step, home, monkeypatch):
    class Killed(BaseException):
        pass

    module, _, name = step.rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def killed(folder: object, *arguments: object) -> object:
        if name == "finish" and not (folder / ERASED).exists():
            return real(folder, *arguments)  # what is of interest is the moment after the record was written
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(step, killed)
        with pytest.raises(Killed):
            erase(home.settings, SUBJECT, reason="request 12", by="dana", policy=WARN)
    assert len(open_plans(home.root / "erasures")) == 1
    assert ZOE not in next((home.root / "erasures").glob("*.json")).read_text()
    done = erase(home.settings, SUBJECT, reason="request 12", by="dana", policy=WARN)
    assert holding(home.root, home.needles) == {}
    assert (done["events"], [each["dataset"] for each in done["datasets"]]) == (21, ["agent/1.0.0"])
    assert done["tainted"][0]["turns"] >= 12
    assert home.stores.bundles.attested(home.stores.models.get("agent", "1"))
    assert len(records(home.stores.history, home.stores.keyring.trust())) == 1
    assert not any((home.root / "erasures").iterdir())


def test_who_learns_keeps_an_erasure_out(home, monkeypatch):
    monkeypatch.setattr(flows.erase, "LOCK_SECONDS", 0.1)
    with home.stores.home.lock("learn-agent", "ratchet learn"), pytest.raises(SettingsError, match="E7823"):
        erase(home.settings, SUBJECT, reason="r", by="dana", policy=WARN)


def test_what_is_on_its_way_into_the_log_is_erased_as_well(home):
    dead = home.root / "spool" / "dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    late = event("zoe-late", "execution.completed", {"trace_id": "late", "output": "a late violet heron of hers"})
    (dead / "000000001.jsonl").write_bytes(late + b"\n")
    assert erase(home.settings, SUBJECT, reason="r", by="dana", policy=WARN)["events"] == 22
    assert holding(home.root, [*home.needles, "a late violet heron"]) == {}


def test_a_changed_artifact_is_not_signed_anew_by_an_erasure(home):
    turns = next((home.root / "mlflow").rglob("turns.parquet"))
    pq.write_table(pq.read_table(turns).slice(1), turns)
    with pytest.raises(IntegrityError, match="E7925"):
        erase(home.settings, SUBJECT, reason="r", by="dana", policy=WARN)


@pytest.mark.parametrize(("kind", "value"), [("subject", "customer-zoe-7"), ("user", "zoe"), ("trace", "zoe-trace")])
def test_nobody_is_erased_by_half_a_name(kind, value, home):
    with pytest.raises(IntegrityError, match=f"E7983: no event and no example has this {kind}"):
        erase(home.settings, Person(kind, value), reason="r", by="dana", policy=WARN)


def test_a_reason_that_names_the_person_is_refused(home):
    with pytest.raises(IntegrityError, match="E7984"):
        erase(home.settings, SUBJECT, reason=f"{ZOE} asked for it", by="dana", policy=WARN)


def test_a_tainted_champion_yields_to_an_earlier_one_that_is_not(tmp_path):
    stores = open_stores(load_settings(home=tmp_path / "home"))
    for number, champion in (("1", None), ("2", "1")):
        version = toy_home.registered(stores, f"work-{number}")
        found = toy_home.evidence(version, champion, trial=None)
        toy_home.decide_and_carry_out(stores, found, toy_home.POLICY, toy_home.ANN)
        toy_home.approve_and_promote(stores.settings, toy_home.MODEL, number, "dana", "")
    assert stores.models.champion(toy_home.MODEL).version == "2"

    def plan(*versions: str) -> Plan:
        tainted = [ModelPlan(model=toy_home.MODEL, version=number, dataset="support/1.0.0") for number in versions]
        return new_plan(SUBJECT, "dana", "r", "2026-11-21").model_copy(update={"models": tainted})

    assert flows.erase.roll_back(stores, plan("1", "2"), "dana") == []
    (done,) = flows.erase.roll_back(stores, plan("2"), "dana")
    assert done == {"model": toy_home.MODEL, "from": "2", "to": "1"}
    assert stores.models.champion(toy_home.MODEL).version == "1"
    assert flows.erase.roll_back(stores, plan("2"), "dana") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["erase", "--by", "dana", "--reason", "r", "--yes"],
        ["erase", "--by", "dana", "--reason", "r", "--yes", "--subject", "a", "--user", "b"],
        ["erase", "--by", "dana", "--reason", "r", "--subject", "a", "--json"],
        ["erase", "--by", "dana", "--subject", "a", "--yes"],
        ["lineage"],
        ["lineage", "e1", "--subject", "a"],
        ["lineage", "--subject", " "],
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(arguments, tmp_path):
    done = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
