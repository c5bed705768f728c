"""The register of sources and the barrier before the event log, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import threading

import pytest
import sqlalchemy as sa

from registry import database
from registry.errors import CurationError
from registry.events import EventLog
from registry.sources import NewLine, Sources


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def sources(url):
    return Sources(url)


@pytest.fixture
def log(url):
    made = EventLog(url)
    yield made
    made.close()


def line(source, state, by="dana", **body):
    return NewLine(source, state, {"action": "set", **body}, by)


def put(sources, key, *lines):
    return sources.update(key, lambda _: lines)


def event(number, source):
    data = {"trace_id": f"t{number}"}
    return {"specversion": "1.0", "id": f"e{number}", "source": source, "type": "execution.completed", "data": data}


def audited(sources):
    table = database.audit
    return database.read(database.connect(sources._engine.url.render_as_string(False)), sa.select(table))


def test_the_newest_line_of_a_source_holds_and_older_ones_stay(sources):
    put(sources, "a", line("x", "trial"), line("y", "trial"))
    put(sources, "b", line("x", "blocked", reason="planted"))
    assert {name: found.state for name, found in sources.current().items()} == {"x": "blocked", "y": "trial"}
    assert [found.state for found in sources.of("x")] == ["trial", "blocked"]
    assert sources.of("x")[-1].body["reason"] == "planted"


def test_what_is_written_again_under_its_key_is_there_once(sources):
    assert len(put(sources, "run:1", line("x", "trial"), line("y", "trial"))) == 2
    assert put(sources, "run:1", line("x", "trusted"), line("y", "trusted")) == []
    assert sources.current()["x"].state == "trial"


def test_each_line_has_its_record_in_the_audit_chain(sources):
    put(sources, "a", line("x", "trial"), line("y", "blocked", by="emil"))
    first, second = audited(sources)
    assert (first["by"], second["by"]) == ("dana", "emil")
    assert second["previous"] == first["hash"]
    assert json.loads(second["body"])["source"] == "y"


def test_writers_at_once_lose_no_change(url):
    def add(number):
        def lines(current):
            known = current.get("x")
            return [line("x", "trial", total=1 + (known.body["total"] if known else 0))]

        Sources(url).update(f"w:{number}", lines)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Sources(url).current()["x"].body["total"] == 12


def test_a_source_that_nobody_knows_is_told(sources):
    with pytest.raises(CurationError, match="E7237: no source 'nobody' is known"):
        sources.of("nobody")


def test_fences_count_how_often_a_source_was_blocked_or_let_in_again(sources):
    assert sources.fences() == []
    put(sources, "1", line("x", "trial"), line("y", "trusted"))
    assert sources.fences() == []
    put(sources, "2", line("x", "blocked"))
    put(sources, "3", line("x", "blocked"))
    assert sources.fences() == [("x", 1)]
    put(sources, "4", line("x", "trusted"))
    assert sources.fences() == [("x", 2)]


def test_attempts_add_up_and_leave_state_and_evidence_as_they_are(sources):
    put(sources, "1", line("x", "blocked", score=0.1, evidence={"harm": 3.0}, why="planted"))
    sources.attempted("run:1", {"x": 5, "not on the list": 2}, {"via": "learn"})
    sources.attempted("run:1", {"x": 5}, {"via": "learn"})
    sources.attempted("run:2", {"x": 4}, {"via": "learn"})
    found = sources.current()
    assert (found["x"].state, found["x"].body["attempts"]) == ("blocked", 9)
    assert (found["x"].body["score"], found["x"].body["evidence"], found["x"].body["why"]) == (
        0.1, {"harm": 3.0}, "planted",
    )  # fmt: skip
    assert found["not on the list"].state == "trial"


def test_events_of_a_blocked_source_do_not_reach_the_log(log, sources):
    assert log.append([event(1, "a"), event(2, "b")]).appended == 2
    put(sources, "1", line("b", "blocked"))
    done = log.append([event(3, "a"), "nonsense", event(4, "b"), event(5, "a"), event(6, "b")])
    assert (done.appended, done.duplicate, done.head) == (2, 0, 4)
    assert [(each.position, each.code) for each in done.rejected] == [(1, "E7021"), (2, "E7235"), (4, "E7235")]
    assert [each.event["id"] for each in log.query()] == ["e1", "e2", "e3", "e5"]


def test_a_source_that_is_let_in_again_is_heard_again(log, sources):
    put(sources, "1", line("b", "blocked"))
    assert log.append([event(1, "b")]).appended == 0
    put(sources, "2", line("b", "trusted"))
    assert log.append([event(1, "b")]).appended == 1


def test_attempts_are_recorded_at_once_and_a_flood_of_them_is_no_flood_of_lines(url, sources):
    log = EventLog(url)
    put(sources, "1", line("b", "blocked"))
    log.append([event(0, "b")])
    assert sources.current()["b"].body["attempts"] == 1
    for number in range(1, 30):
        log.append([event(number, "b")])
    assert len(sources.of("b")) == 2
    log.close()
    assert sources.current()["b"].body["attempts"] == 30
    assert len(sources.of("b")) == 3
    assert sources.current()["b"].state == "blocked"


def test_the_register_has_one_name_for_all_spellings_of_a_source(sources):
    put(sources, "1", line("HTTPS://Acme.Example/us%2D1/", "blocked"))
    sources.attempted("2", {"https://acme.example/us-1?x": 2, "https://acme.example/us-1/eu": 3}, {"via": "learn"})
    (found,) = sources.current().values()
    assert (found.source, found.state, found.body["attempts"]) == ("https://acme.example/us-1", "blocked", 5)
    assert len(sources.of("https://ACME.example/us-1#a")) == 2


def test_an_older_line_in_another_spelling_is_lifted_by_a_person_only(sources):
    row = {"sequence": 1, "key": "1:0", "time": "2026-01-01", "source": "/x/", "state": "blocked", "by": "dana"}
    with sources._engine.begin() as connection:
        connection.execute(sa.insert(database.sources), row | {"body": '{"action":"set"}'})
    put(sources, "2", NewLine("/x", "trial", {"action": "judged"}))
    assert {name: found.state for name, found in sources.current().items()} == {"/x": "blocked"}
    put(sources, "3", line("/x", "trusted"))
    assert sources.current()["/x"].state == "trusted"


def test_no_spelling_and_nothing_below_a_blocked_source_reaches_the_log(sources, log):
    put(sources, "1", line("https://acme.example/us", "blocked"))
    names = (
        "https://acme.example/us",
        "HTTPS://ACME.example/us/",
        "https://acme.example/%75s/eu?x=1",
        "\u200bhttps://acme.example/us",
    )
    done = log.append([event(number, name) for number, name in enumerate((*names, "https://acme.example/usa"))])
    assert (done.appended, [each.code for each in done.rejected]) == (1, ["E7235"] * 4)
    log.close()
    assert sources.current()["https://acme.example/us"].body["attempts"] == 4
