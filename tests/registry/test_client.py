"""`UsageLogger`, as an application uses it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from registry.client import UsageLogger
from registry.events import EventLog, Query
from registry.home import Home

APPLICATION = """if True:
    import os, signal, sys, time
    from registry.client import UsageLogger
    {before}
    log = UsageLogger(sys.argv[1], source=sys.argv[3])
    number = 0
    told = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
    while {goes_on}:
        log.log("a question", "an answer", "support", version="1", trace_id=f"t{{number}}")
        os.pwrite(told, b"%d" % number, 0)
        number += 1
        time.sleep(0.0005)
"""


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").create()


def run(home, tmp_path, name, *, before="", goes_on="True"):
    """Start an application and wait until it logs; return it, and where it says the last trace that it logged."""
    told = tmp_path / name
    code = APPLICATION.format(before=before, goes_on=goes_on)
    child = subprocess.Popen([sys.executable, "-c", code, str(home.root), str(told), name], stderr=subprocess.PIPE)
    while not told.exists() or not told.read_bytes():
        time.sleep(0.01)
        assert child.poll() is None, child.stderr.read()
    return child, told


def traces(home, source):
    found = EventLog(home.database_url).query(Query(types=["execution.completed"]))
    return [each.event["data"]["trace_id"] for each in found if each.event["source"] == source]


def test_an_answer_and_what_is_said_about_it_are_in_the_log(home):
    with UsageLogger(home.root, agent="support") as logger:
        trace = logger.log(
            "Where is my order?", "On its way.", version="3", domain="orders", latency_ms=412, tokens_in=9,
            tokens_out=4, user="u1", cost=0.002, session_id="s1",
        )  # fmt: skip
        logger.record_feedback(trace, "thumbs_up", True, user="dana")
        assert logger.flush()
        assert (logger.logged, logger.stored, logger.dropped, logger.recovered) == (2, 2, 0, 0)
    row = EventLog(home.database_url).traces().to_pylist()[0]
    assert (row["agent"], row["model_version"], row["domain"], row["unit"]) == ("support", "3", "orders", "u1")
    assert (row["latency_ms"], row["cost"], row["negative"], row["quality"]) == (412.0, 0.002, False, 100.0)


def test_what_the_logger_writes_is_what_the_main_job_reads(home, tmp_path):
    from tasks.extraction.decode import Decoder  # the other end of the line
    from tasks.extraction.lines import Block
    from tasks.extraction.policy import ExtractionPolicy

    with UsageLogger(home.root) as logger:
        logger.log([{"role": "user", "content": "hi"}], {"text": "hello"}, "a", tags={"x"}, quality=float("nan"))
    (batch,) = EventLog(home.database_url).arrow(columns=["body"])
    data = batch.column(0)[0].as_py().encode() + b"\n"
    decoder = Decoder(Block(0, 0, data, 0, 1), ExtractionPolicy())
    assert [event.data.task.input for _, event in decoder.events()] == [[{"role": "user", "content": "hi"}]]
    assert decoder.faults == {}


def test_logging_takes_microseconds(home):
    with UsageLogger(home.root) as logger:
        times = []
        for _ in range(2000):
            begun = time.perf_counter()
            logger.log("q" * 500, "a" * 400, "support")
            times.append(time.perf_counter() - begun)
        assert sorted(times)[1000] < 200e-6  # some 10 on an idle machine


def test_a_log_that_cannot_be_reached_is_no_failure_of_the_application(tmp_path, caplog):
    with UsageLogger("postgresql://ann:secret@127.0.0.1:1/x", spool=tmp_path / "spool") as logger:
        assert logger.log("q", "a", "support")
        assert not logger.flush(1.0)
        assert "secret" not in caplog.text
        assert caplog.text.count("they wait on disk") == 1
        logger.close(0.1)


def test_the_end_of_the_process_flushes(home, tmp_path):
    child, _ = run(home, tmp_path, "ends", goes_on="number < 500")
    assert child.wait(30) == 0, child.stderr.read()
    assert traces(home, "ends") == [f"t{n}" for n in range(500)]


@pytest.mark.parametrize(
    ("name", "before", "code"),
    [
        ("default", "", -signal.SIGTERM),
        ("own", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", 7),
    ],
)
def test_being_told_to_stop_flushes_and_then_stops_as_without_us(home, tmp_path, name, before, code):
    child, told = run(home, tmp_path, name, before=before)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == code, child.stderr.read()
    with UsageLogger(home.root, on_sigterm=False) as after:  # a signal in the middle of `log` leaves its event here
        assert after.flush()
        assert after.recovered <= 1
    last = int(told.read_bytes())
    assert traces(home, name)[: last + 1] == [f"t{n}" for n in range(last + 1)]


def test_a_killed_application_loses_nothing_that_log_returned_for_and_the_next_one_says_so(home, tmp_path):
    before = "from registry.events import EventLog; EventLog.append = lambda *_: time.sleep(60)"  # a slow log
    child, told = run(home, tmp_path, "killed", before=before)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    last = int(told.read_bytes())
    with UsageLogger(home.root) as logger:
        assert logger.flush()
        assert logger.recovered in (last + 1, last + 2)
        assert logger.dropped == 0
    assert traces(home, "killed")[: last + 1] == [f"t{n}" for n in range(last + 1)]
    assert len(set(traces(home, "killed"))) == len(traces(home, "killed"))


def test_loggers_of_several_processes_share_a_home(home, tmp_path):
    children = [run(home, tmp_path, f"app{n}", goes_on="number < 200")[0] for n in range(3)]
    assert [child.wait(30) for child in children] == [0, 0, 0]
    assert [len(traces(home, f"app{n}")) for n in range(3)] == [200, 200, 200]
