"""Somebody in the event log, on SQLite and on PostgreSQL: found, and gone from every byte of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from registry import event_zones
from registry.erasure.events import Person, bodies, erase, find, overwrite_free_space
from registry.events import EventLog

SECRET = "the violet heron sleeps under our pier"


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path / 'log.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres").fresh()
    )
    made = EventLog(url)
    yield made
    made.close()


def event(number, subject=None, type_="execution.completed", **data):
    made = {
        "specversion": "1.0", "id": f"e{number}", "source": "/agent", "type": type_, "time": "2026-11-20T10:00:00Z",
        "data": {"trace_id": f"t{number}", "agent": "support", "status": "success", "output": SECRET, **data},
    }  # fmt: skip
    return made | ({"subject": subject} if subject else {})


def said(number, trace, user, **data):
    about = {"trace_id": trace, "kind": "thumbs", "value": True, "user": user, "output": None, **data}
    return event(number, type_="feedback.recorded", **about)


def offsets(log, kind, value):
    return find(log.engine, Person(kind, value)).offsets


def forget_zoe(log):
    found = find(log.engine, Person("subject", "zoe"))
    return erase(log.engine, found.offsets, found.names)


def test_a_subject_owns_their_events_and_all_that_is_said_about_their_traces(log):
    log.append([event(1, "zoë"), event(2, "zoë2"), said(3, "t1", "dana"), event(4, "ann", note="zoë was here")])
    found = find(log.engine, Person("subject", "zoë"))
    assert found.offsets == [1, 3]
    assert (found.traces, found.events) == (["t1"], [("/agent", "e1"), ("/agent", "e3")])


def test_a_user_is_the_subject_of_who_logged_it_so(log):
    log.append([event(1, "zoe"), event(2), said(3, "t2", "zoe")])
    assert offsets(log, "user", "zoe") == [1, 3]


def test_a_name_is_found_however_its_json_was_written(log):
    plain = json.dumps(event(1, 'Zoë / "7"'), ensure_ascii=False)
    log.append([plain, json.dumps(event(2, 'Zoë / "7"')), plain.replace("e1", "e3").replace("/", "\\/")])
    assert offsets(log, "subject", 'Zoë / "7"') == [1, 2, 3]


def test_a_user_owns_what_they_said_of_a_trace_and_not_the_trace(log):
    log.append([event(1, "ann"), said(2, "t1", "zoe"), event(3, user="zoe", session_id="s9"), said(4, "t3", "ann")])
    assert offsets(log, "user", "zoe") == [2, 3, 4]
    assert find(log.engine, Person("user", "zoe")).names == ["s9", "t3", "zoe"]
    assert offsets(log, "user", "s9") == [3, 4]


def test_feedback_inside_of_an_event_names_its_user(log):
    log.append([event(1, feedback=[{"kind": "stars", "value": 4, "user": "zoe"}]), event(2)])
    assert offsets(log, "user", "zoe") == [1]


def test_a_trace_is_every_event_that_names_it(log):
    log.append([event(1), event(2), said(3, "t1", "dana"), event(4, trace_id="t1")])
    assert offsets(log, "trace", "t1") == [1, 3, 4]


def test_nobody_is_found_by_a_part_of_a_name(log):
    log.append([event(1, "customer-10", user="zoe", session_id="s-10")])
    for kind in ("subject", "user", "trace"):
        assert not offsets(log, kind, "customer-1")
        assert not offsets(log, kind, "zo")


def test_what_was_erased_is_in_no_body_and_no_column(log):
    log.append([event(1, "zoe", user="zoe-u", unit="zoe-n", feedback={"kind": "free", "value": SECRET}), event(2)])
    found = find(log.engine, Person("subject", "zoe"))
    assert erase(log.engine, found.offsets, found.names) == 1
    overwrite_free_space(log.engine)
    with log.engine.connect() as connection:
        row = str(connection.execute(sa.text("SELECT * FROM events WHERE sequence = 1")).one())
    assert not any(text in row for text in (SECRET, "zoe", "t1", "violet"))
    assert [each.event["type"] for each in log.query()] == ["ratchet.erased", "execution.completed"]
    assert not offsets(log, "subject", "zoe")
    assert not list(bodies(log.engine, [1]))
    assert erase(log.engine, found.offsets, found.names) == 0


def test_figures_stay_what_they_were(log):
    log.append([event(1, "zoe", quality_score=80.0, latency_ms=5.0), said(2, "t1", "ann", value=False), event(3)])
    columns = ["offset", "time", "agent", "quality", "negative", "latency_ms", "failed"]
    before, days = log.traces(columns=columns), log.statistics()
    forget_zoe(log)
    assert log.traces(columns=columns) == before
    assert log.statistics() == days


def test_an_erased_event_that_comes_again_is_a_duplicate(log):
    log.append([event(1, "zoe")])
    forget_zoe(log)
    assert log.append([event(1, "zoe")])[:2] == (0, 1)


def test_an_id_that_holds_the_name_goes_as_well(log):
    log.append([event(1, "zoe") | {"id": "zoe-1"}])
    forget_zoe(log)
    with log.engine.connect() as connection:
        row = connection.execute(sa.text("SELECT key, body FROM events")).one()
    assert b"zoe" not in bytes(row.key)
    assert "zoe" not in row.body


def test_blocks_are_made_again_without_the_names(log, monkeypatch):
    for module in ("event_zones", "erasure.events"):
        monkeypatch.setattr(f"registry.{module}.ROWS", 4)
    log.append([event(number, "zoe" if number == 2 else None, unit=f"unit-{number}") for number in range(1, 10)])
    log.make_blocks()
    assert "unit-2" in log.traces()["unit"].to_pylist()
    forget_zoe(log)
    units = log.traces()["unit"].to_pylist()
    assert "unit-2" not in units
    assert len(units) == 9
    assert event_zones.ROWS == 4


def test_the_log_still_only_grows_for_everybody_else(log):
    log.append([event(1, "zoe"), event(2)])
    forget_zoe(log)
    with pytest.raises(sa.exc.DatabaseError, match="only grows"), log.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM events"))


def test_no_byte_of_the_files_holds_the_text(tmp_path):
    log = EventLog(f"sqlite:///{tmp_path / 'log.db'}")
    filler = [event(number, output="x" * 3000) for number in range(2, 400)]
    log.append([event(1, "zoe", long=SECRET * 400), *filler])
    reader = sqlite3.connect(tmp_path / "log.db")  # its WAL may not be thrown away behind it
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (399,)
    reader.close()
    found = find(log.engine, Person("subject", "zoe"))
    erase(log.engine, found.offsets, found.names)
    overwrite_free_space(log.engine)
    held = [path.name for path in Path(tmp_path).iterdir() if b"violet heron" in path.read_bytes()]
    assert held == []
    assert log.head() == 399
    log.close()
