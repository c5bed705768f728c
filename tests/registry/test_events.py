"""The event log, on SQLite and on PostgreSQL: the same questions and the same answers."""

from __future__ import annotations

import gc
import json
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
import sqlalchemy as sa

from registry import event_zones
from registry.errors import ExtractionError
from registry.event_queries import literal, select
from registry.events import EventLog, Query


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.db'}"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def log(url):
    made = EventLog(url)
    yield made
    made.close()


def event(number=1, kind="execution.completed", time="2026-11-20T10:00:00Z", source="test", **data):
    data = {"trace_id": f"t{number}", "agent": "support", "model_version": "1", "status": "success", **data}
    return {"specversion": "1.0", "id": f"{kind}-{number}", "source": source, "type": kind, "time": time, "data": data}


def feedback(trace, value, number=0, kind="thumbs", time="2026-11-20T12:00:00Z"):
    return {
        "specversion": "1.0", "id": f"feedback-{trace}-{number}", "source": "test", "type": "feedback.recorded",
        "time": time, "data": {"trace_id": trace, "kind": kind, "value": value, "user": "dana"},
    }  # fmt: skip


def offsets(found):
    return [each.offset for each in found]


def test_events_get_offsets_from_one_in_the_order_in_which_they_came(log):
    done = log.append([event(1), json.dumps(event(2)), json.dumps(event(3)).encode()])
    assert done == (3, 0, [], 3)
    assert [(each.offset, each.event["id"]) for each in log.query()] == [
        (1, "execution.completed-1"), (2, "execution.completed-2"), (3, "execution.completed-3"),
    ]  # fmt: skip
    assert log.head() == 3


def test_the_same_source_and_id_is_one_event_and_the_first_one_stays(log):
    log.append([event(1, output="first"), event(1, output="in the same batch")])
    done = log.append([event(1, output="later"), event(2), event(1, source="another")])
    assert (done.appended, done.duplicate, done.head) == (2, 1, 3)
    assert [each.event["data"].get("output") for each in log.query()] == ["first", None, None]


def test_what_is_no_event_is_told_with_its_place_and_the_others_are_kept(log):
    done = log.append([b"nope", event(1), b"[1]", b'{"specversion": "1.0"}', '{"id": "\ud800"}', event(2)])
    assert (done.appended, done.head) == (2, 2)
    assert [(each.position, each.code) for each in done.rejected] == [
        (0, "E7021"), (2, "E7022"), (3, "E7023"), (4, "E7029"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        '{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"agent":"\\u0000x","trace_id":"\\ud800"}}',
        '{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"latency_ms":1e999,"cost":-1,"quality_score":101}}',
        '{"specversion":"1.0","id":"i","source":"s","type":"t","time":7,"data":{"tokens_in":' + "9" * 5000 + "}}",
        '{"specversion":"1.0","id":"i","source":"s","type":"t","data":[1],"time":"yesterday"}',
        '\ufeff{"specversion":"1.0",\n"id":"i","source":"s",\r\n"type":"t","data":{"task":"x","feedback":"y"}}',
    ],
)
def test_an_event_with_strange_data_is_kept_without_the_columns_that_it_spoils(log, body):
    assert log.append([body.encode("utf-8", "surrogatepass")]).appended == 1
    (batch,) = log.arrow()
    row = batch.to_pylist()[0]
    assert all(row[name] is None for name in ("agent", "trace_id", "latency_ms", "cost", "quality", "tokens_in"))
    assert "\n" not in row["body"]
    assert log.query()[0].event["id"] == "i"


def test_several_writers_at_once_leave_no_gap_and_lose_nothing(url):
    logs = [EventLog(url) for _ in range(4)]
    seen, stop = [], threading.Event()

    def write(writer):
        for number in range(20):
            logs[writer].append([event(number, source=f"w{writer}"), event(number, source="shared")])

    def watch():  # a reader never sees an offset appear below one that it has seen
        while not stop.is_set():
            seen.append(offsets(EventLog(url).query()))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert all(found == list(range(1, len(found) + 1)) for found in seen)
    assert offsets(logs[0].query()) == list(range(1, 101))  # 4 × 20 of their own, 20 shared


def test_nobody_can_change_or_delete_an_event(log):
    log.append([event(1)])
    for statement in ("UPDATE events SET agent = 'x'", "DELETE FROM events"):
        with pytest.raises(sa.exc.DatabaseError, match="events only grows"), log.engine.begin() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture
def story(log):
    """Eight events whose answers are known: see the numbers in the tests."""
    log.append(
        [
            event(1, quality_score=90, task={"domain": "billing"}, output="Yes"),
            event(2, quality_score=20, task={"domain": "orders"}, model_version="2", time="2026-11-21T10:00:00Z"),
            event(3, agent="coder", status="error", feedback={"kind": "thumbs", "value": False}),
            feedback("t1", False, time="2026-11-20T11:00:00Z"),
            feedback("t1", True, 1, time="2026-11-20T12:00:00Z"),
            event(4, shadow=True, experiment="e1", arm="challenger", unit="u1"),
            {"specversion": "1.0", "id": "o", "source": "test", "type": "something.else"},
            feedback("t3", 5, kind="stars", time="2026-11-20T13:00:00Z"),
        ]
    )
    return log


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Query(shadow=None), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Query(), [1, 2, 3, 4, 5, 7, 8]),
        (Query(types=["feedback.recorded"]), [4, 5, 8]),
        (Query(since="2026-11-20T12:00:00Z", until="2026-11-20T13:00:00+00:00"), [5]),
        (Query(model_versions=["2", "9"]), [2]),
        (Query(agent="coder"), [3, 8]),
        (Query(agent="support"), [1, 2, 4, 5]),
        (Query(domains=["orders", "billing"]), [1, 2]),
        (Query(trace_ids=["t1"]), [1, 4, 5]),
        (Query(quality=(80, None)), [1, 5, 8]),
        (Query(quality=(10, 30)), [2]),
        (Query(feedback="negative"), []),
        (Query(feedback="positive"), [1, 3, 4, 5, 8]),
        (Query(feedback="any", types=["execution.completed"]), [1, 3]),
        (Query(experiment="e1", shadow=True), [6]),
        (Query(after=2, upto=5), [3, 4, 5]),
    ],
)
def test_every_question_finds_the_events_that_it_asks_for(story, where, expected):
    assert offsets(story.query(where)) == expected
    assert [row for batch in story.arrow(where, ["offset"]) for row in batch.column(0).to_pylist()] == expected


def test_a_query_can_begin_with_the_newest_and_stop(story):
    assert offsets(story.query(limit=2)) == [1, 2]
    assert offsets(story.query(limit=2, newest_first=True)) == [8, 7]


def test_a_time_that_is_none_is_one_clear_line(log):
    with pytest.raises(ExtractionError, match=r"E7033: 'soon' is no time; give ISO 8601"):
        log.query(Query(since="soon"))
    with pytest.raises(ExtractionError, match="E7033"):
        log.statistics(Query(until="2026-13-01"))


def test_a_trace_has_its_own_score_or_the_mean_of_its_feedback_and_the_last_judgement(story):
    rows = {row["offset"]: row for row in story.traces().to_pylist()}
    assert sorted(rows) == [1, 2, 3]
    assert (rows[1]["quality"], rows[1]["negative"], rows[1]["failed"]) == (90.0, False, False)  # down, then up
    assert (rows[2]["quality"], rows[2]["negative"]) == (20.0, None)
    assert (rows[3]["quality"], rows[3]["negative"], rows[3]["failed"]) == (50.0, False, True)  # (0 + 100) / 2
    assert rows[2]["domain"] == "orders"


def test_traces_are_asked_for_like_events(story):
    def found(**where):
        return story.traces(Query(**where))["offset"].to_pylist()

    assert found(agent="coder") == [3]
    assert found(model_versions=["2"]) == [2]
    assert found(domains=["billing"]) == [1]
    assert found(trace_ids=["t2", "t3"]) == [2, 3]
    assert found(quality=(40, 60)) == [3]
    assert found(feedback="any") == [1, 3]
    assert found(feedback="negative", upto=4) == [1, 3]
    assert found(experiment="e1", shadow=None) == [4 + 2]
    assert found(since="2026-11-21") == [2]
    assert found(after=1) == [2, 3]


def test_a_trace_that_comes_twice_counts_once_as_it_came_last(log):
    log.append(
        [event(1, status="error"), event(1, source="retry", status="success"), event(1, source="x", shadow=True)]
    )
    log.append([{**event(2), "data": {"agent": "no trace id"}}, {**event(3), "data": {"agent": "no trace id"}}])
    rows = log.traces().to_pylist()
    assert [(row["offset"], row["failed"]) for row in rows] == [(2, False), (4, False), (5, False)]


def test_statistics_are_per_version_and_day(log):
    times = [f"2026-11-2{day}T0{hour}:00:00Z" for day in (0, 1) for hour in range(5)]
    log.append(
        [
            event(n, time=time, latency_ms=10.0 * n, tokens_in=5, status="error" if n == 9 else "success",
                  quality_score=None if n < 5 else 10 * n)
            for n, time in enumerate(times)
        ]
        + [feedback("t9", False), feedback("t8", True)]
    )  # fmt: skip
    first, second = log.statistics()
    assert (first.agent, first.model_version, first.day, first.traces) == ("support", "1", "2026-11-20", 5)
    assert (first.quality, first.scored, first.negative_rate) == (None, 0, None)
    assert (second.day, second.quality, second.scored) == ("2026-11-21", 70.0, 5)  # (50 + 60 + 70 + 80 + 90) / 5
    assert (second.failed, second.error_rate) == (1, 0.2)
    assert (second.feedback, second.negative, second.negative_rate) == (2, 1, 0.5)
    assert (second.latency_p50, second.tokens_in, second.cost) == (70.0, 25.0, 0.0)
    assert second.latency_p95 == pytest.approx(np.percentile([50, 60, 70, 80, 90], 95))
    assert EventLog(log.url).statistics(Query(agent="nobody")) == []


def test_columns_in_blocks_say_what_rows_say(url, monkeypatch):
    monkeypatch.setattr(event_zones, "ROWS", 16)
    log = EventLog(url)
    made = [event(n, unit=f"u{n % 3}", latency_ms=n, time=f"2026-11-{1 + n % 28:02d}T00:00:00Z") for n in range(50)]
    log.append(made + [feedback(f"t{n}", n % 2 == 0, time=f"2026-11-{1 + n % 28:02d}T01:00:00Z") for n in range(50)])
    first = log.traces()
    assert first["offset"].to_pylist() == list(range(1, 51))
    assert first["negative"].to_pylist() == [n % 2 == 1 for n in range(50)]
    assert first["unit"].to_pylist() == [f"u{n % 3}" for n in range(50)]
    with log.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM event_blocks").scalar() == 100 // 16
    assert log.traces().equals(first)
    window = Query(after=20, upto=90, since="2026-11-25")
    assert log.traces(window)["offset"].to_pylist() == [n + 1 for n in range(20, 50) if n % 28 >= 24]
    assert sum(day.traces for day in log.statistics(window)) == sum(n % 28 >= 24 for n in range(20, 50))


def test_the_log_is_read_as_arrow_in_batches_whose_first_rows_may_say_nothing(log):
    log.append([{"specversion": "1.0", "id": f"{n}", "source": "s", "type": "t"} for n in range(1000)])
    log.append([event(1, latency_ms=3, quality_score=50, feedback={"kind": "stars", "value": 4})])
    batches = list(log.arrow(batch_rows=300))
    assert sum(batch.num_rows for batch in batches) == 1001
    assert max(batch.num_rows for batch in batches) <= 300
    last = batches[-1].to_pylist()[-1]
    assert (last["offset"], last["latency_ms"], last["quality"], last["score"]) == (1001, 3.0, 50.0, 75.0)
    assert (last["feedback_kind"], last["failed"], last["agent"]) == ("stars", False, "support")


def test_traces_that_say_the_same_are_found_and_the_first_of_them_is_named(log):
    said = [("Yes, it does.", "a"), ("no", "b"), (" yes,  it DOES.", "a"), ("Yes, it does.", "other"), ("no", "b")]
    log.append([event(n, output=text, task={"instruction": asked}) for n, (text, asked) in enumerate(said)])
    assert log.deduplicate() == [(1, [3]), (2, [5])]
    assert log.deduplicate(Query(after=1)) == [(2, [5])]


def test_a_log_keeps_its_identity_and_two_logs_differ(url, log, tmp_path):
    assert EventLog(url).log_id == log.log_id
    assert EventLog(f"sqlite:///{tmp_path / 'other.db'}").log_id != log.log_id


# --- reading beside writing ----------------------------------------------------------------------------------------


COUNT = """if True:
    import sqlite3, sys
    print(sqlite3.connect(sys.argv[1]).execute("SELECT max(sequence) FROM events").fetchone()[0])
"""


def test_nothing_is_lost_while_the_process_that_appends_also_reads(tmp_path, monkeypatch):
    """A reader with a SQLite of its own in this process would take away the writer's locks, and its journal."""
    monkeypatch.setattr(event_zones, "ROWS", 64)
    path = tmp_path / "log.db"
    log, failed, stop = EventLog(f"sqlite:///{path}"), [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                list(log.arrow(Query(), ["offset", "body"]))
                list(log.arrow(batch_rows=100))
                log.traces()
                log.query(limit=10)
            except Exception as error:
                failed.append(error)
                raise

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(150):
        head = log.append([event(number * 10 + n) for n in range(10)]).head
        if number % 15 == 0:  # as another process sees it: one that comes and goes, as a command does
            seen = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
            assert int(seen.stdout) == head
    stop.set()
    reader.join()
    assert failed == []
    with sqlite3.connect(path) as fresh:
        assert fresh.execute("SELECT count(*), max(sequence) FROM events").fetchone() == (1500, 1500)


def test_arrow_says_the_same_from_blocks_and_from_rows(url, monkeypatch):
    monkeypatch.setattr(event_zones, "ROWS", 16)
    log = EventLog(url)
    log.append(
        [
            event(n, agent=f"a{n % 3}", output=f"é {n}", latency_ms=n if n % 2 else None, shadow=n % 7 == 0,
                  time=f"2026-11-{1 + n // 10:02d}T00:00:00Z")
            for n in range(100)
        ]
    )  # fmt: skip
    columns = ["body", "agent", "offset", "time", "latency_ms", "trace_id", "failed"]
    wheres = [
        Query(), Query(shadow=None), Query(agent="a1"), Query(after=20, upto=70), Query(agent="nobody"),
        Query(since="2026-11-03", until="2026-11-05T12:00:00Z"), Query(since="2026-11-10"), Query(until="2026-11-02"),
        Query(since="2027-01-01"), Query(upto=16), Query(after=16, upto=33),
    ]  # fmt: skip

    def rows(where, names):
        batches = list(log.arrow(where, names, batch_rows=10))
        assert all(batch.num_rows <= 10 for batch in batches)
        return [row for batch in batches for row in batch.to_pylist()]

    def answers():
        return [(rows(where, columns), rows(where, None), offsets(log.query(where))) for where in wheres]

    before = answers()
    log.make_blocks()
    assert answers() == before
    log.append([event(n, time="2026-11-04T00:00:00Z") for n in range(200, 203)])  # late: their time is of a block
    late = log.query(Query(since="2026-11-04", until="2026-11-05"))
    assert offsets(late)[-3:] == [101, 102, 103]
    log.append([event(n) for n in range(300, 350)])
    with log.engine.begin() as connection:  # as if its maker had been killed in the middle
        connection.exec_driver_sql("DELETE FROM event_blocks WHERE first = 33")
    assert [(rows(where, columns)) for where in wheres[3:6]] == [each[0] for each in before[3:5]] + [
        [*before[5][0], *rows(Query(after=100, upto=103), columns)]
    ]
    log.make_blocks()
    with log.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM event_blocks").scalar() == 153 // 16


def test_the_garbage_collector_is_on_again_after_a_batch_whatever_happened(log):
    class Broken(str):
        def encode(self):
            raise RuntimeError("in the middle")

    assert gc.isenabled()
    log.append([event(n) for n in range(1000)])
    assert gc.isenabled()
    with pytest.raises(RuntimeError, match="in the middle"):
        log.append([*(event(n) for n in range(1000)), Broken()])
    assert gc.isenabled()
    gc.disable()
    try:
        log.append([event(n) for n in range(1000)])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_ids_of_any_length_are_told_apart(log):
    ids = ["x" * length for length in (1, 47, 48, 49, 60, 500, 5000)] + ["é" * 30, "y" * 5000]
    made = [{"specversion": "1.0", "id": each, "source": "s", "type": "t"} for each in ids]
    assert log.append(made).appended == len(ids)
    assert log.append(made).duplicate == len(ids)
    assert log.append([{**each, "source": "another"} for each in made]).appended == len(ids)


def test_texts_that_differ_only_in_how_json_writes_them_are_the_same(log):
    bodies = [
        r'"caf\u00e9\tau lait"', '"Café au lait"', r'"a\nb"', '"a b"', '{"x": [1, "\\u0041"]}', '{"x":[1,"a"]}', "null",
    ]  # fmt: skip
    log.append(
        [
            f'{{"specversion":"1.0","id":"{n}","source":"s","type":"execution.completed","data":{{"output":{body}}}}}'
            for n, body in enumerate(bodies)
        ]
    )
    assert log.deduplicate() == [(1, [2]), (3, [4]), (5, [6])]


def test_nobody_judges_an_answer_that_was_never_served(log):
    log.append(
        [
            event(1), event(2, shadow=True, trace_id="t1-shadow"), event(3, shadow=True, trace_id="t1"),
            feedback("t1", True), feedback("t1-shadow", False),
        ]
    )  # fmt: skip
    rows = log.traces(Query(shadow=None)).to_pylist()
    assert [(row["offset"], row["quality"], row["negative"]) for row in rows] == [
        (1, 100.0, False), (2, None, None), (3, None, None),
    ]  # fmt: skip
    assert offsets(log.query(Query(feedback="any", shadow=None, types=["execution.completed"]))) == [1]


def test_the_events_of_an_experiment_and_of_a_trace_are_found_by_an_index(tmp_path):
    log = EventLog(f"sqlite:///{tmp_path / 'log.db'}")
    with log.engine.connect() as connection:
        for where in (Query(experiment="e1"), Query(trace_ids=["t1"]), Query(after=1000)):
            statement = literal(log.engine, select(("sequence", "body"), where))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            assert "SEARCH events USING" in plan[0][3], plan
