"""The spool: what was put survives the process, and is delivered."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from registry.spool import Spool

WRITER = """if True:
    import os, sys
    from registry.spool import Spool
    folder, told, delivered = sys.argv[1:]
    told = os.open(told, os.O_WRONLY | os.O_CREAT)
    def deliver(lines):
        with open(delivered, "ab") as file:
            file.write(b"".join(line + b"\\n" for line in lines))
    spool = Spool(folder, deliver if delivered else None, ship_seconds=0.01)
    for number in range(10**9):
        assert spool.put(b"%d" % number)
        os.pwrite(told, b"%d" % number, 0)
"""


@pytest.fixture
def delivered():
    return []


@pytest.fixture
def spool(tmp_path, delivered):
    made = Spool(tmp_path / "spool", delivered.extend, ship_seconds=0.01)
    yield made
    made.close()


def test_what_is_put_is_delivered_once_and_in_order(spool, delivered):
    assert all(spool.put(b"%d" % number) for number in range(1000))
    assert spool.flush()
    assert delivered == [b"%d" % number for number in range(1000)]
    assert (spool.stored, spool.dropped, spool.waiting) == (1000, 0, 0)


def test_several_lines_at_once_are_several_events(spool, delivered):
    spool.put(b"a\nb\n")
    spool.flush()
    assert delivered == [b"a", b"b"]


def test_threads_share_a_spool(spool, delivered):
    threads = [threading.Thread(target=lambda: [spool.put(b"x" * 100) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.flush()
    assert delivered == [b"x" * 100] * 2000


def test_what_cannot_be_delivered_waits_and_is_delivered_when_that_is_possible(tmp_path, caplog):
    taken, broken = [], [True]

    def deliver(lines):
        if broken[0]:
            raise OSError("the log is away")
        taken.extend(lines)

    spool = Spool(tmp_path / "spool", deliver, ship_seconds=0.01)
    assert spool.put(b"1")
    assert not spool.flush(0.2)
    assert [record.getMessage() for record in caplog.records] == [
        f"events cannot be logged for now; they wait on disk: the log is away ({tmp_path / 'spool'})"
    ]
    broken[0] = False
    assert spool.flush(5)
    assert taken == [b"1"]
    spool.close()


def test_a_closed_spool_leaves_nothing_behind_and_takes_nothing_more(tmp_path, spool):
    spool.put(b"1")
    assert spool.close()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [".lock"]
    assert not spool.put(b"2")
    assert spool.dropped == 1


def test_what_could_not_be_shipped_before_the_end_is_shipped_by_the_next_one(tmp_path, delivered):
    def fail(lines):
        raise OSError("away")

    first = Spool(tmp_path / "spool", fail, ship_seconds=0.01)
    first.put(b"1")
    assert not first.close(0.1)
    second = Spool(tmp_path / "spool", delivered.extend)
    assert second.flush()
    assert (delivered, second.recovered) == ([b"1"], 1)
    second.close()


@pytest.mark.parametrize("ships", [True, False])
def test_a_killed_process_loses_nothing_that_was_put(tmp_path, ships, delivered):
    told, shipped = tmp_path / "told", tmp_path / "shipped"
    command = [sys.executable, "-c", WRITER, str(tmp_path / "spool"), str(told), str(shipped) if ships else ""]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not told.exists() or not told.read_bytes():
        time.sleep(0.01)
        assert child.poll() is None
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    spool = Spool(tmp_path / "spool", delivered.extend)
    assert spool.flush(30)
    spool.close()
    arrived = (shipped.read_bytes().split() if ships else []) + delivered
    numbers = {
        int(line) for line in arrived
    }  # what was shipped and not yet deleted may come twice: the log takes it once
    assert numbers == set(range(max(numbers) + 1))
    assert max(numbers) >= int(told.read_bytes())
    assert spool.recovered == len(delivered)


def test_the_files_of_a_living_process_are_left_alone(tmp_path, delivered):
    living = Spool(tmp_path / "spool", lambda lines: time.sleep(60), ship_seconds=0.001)
    living.put(b"mine")
    other = Spool(tmp_path / "spool", delivered.extend)
    assert other.flush()
    assert delivered == []
    other.close()


def test_half_a_line_of_a_killed_process_is_dropped_and_counted(tmp_path, delivered):
    dead = tmp_path / "spool" / "dead"
    dead.mkdir(parents=True)
    (dead / "000000001.jsonl").write_bytes(b"whole\nhal")
    spool = Spool(tmp_path / "spool", delivered.extend)
    assert spool.flush()
    assert (delivered, spool.recovered, spool.dropped) == ([b"whole"], 1, 1)
    spool.close()


def test_a_full_disk_drops_and_counts_and_never_raises(tmp_path, delivered, caplog):
    spool = Spool(tmp_path / "spool", delivered.extend, ship_seconds=60)
    spool.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as a full disk: writes are cut short, then refused
    try:
        taken = [spool.put(b"x" * 300) for _ in range(10)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    kept = taken.count(True)  # 3 a file; a file that was shipped meanwhile makes room for another
    assert kept % 3 == 0
    assert (taken[:4], spool.dropped) == ([True, True, True, False], 10 - kept)
    assert len(caplog.records) >= 1
    assert spool.put(b"y")
    spool.close()
    assert delivered == [b"x" * 300] * kept + [b"y"]


def test_more_than_may_wait_is_dropped(tmp_path):
    spool = Spool(tmp_path / "spool", lambda lines: None, ship_seconds=60, max_bytes=100)
    spool.flush()
    assert [spool.put(b"x" * 49) for _ in range(3)] == [True, True, False]
    assert spool.dropped == 1
    spool.close()


def test_a_forked_child_writes_to_files_of_its_own(tmp_path):
    def deliver(lines):
        with (tmp_path / "delivered").open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    spool = Spool(tmp_path / "spool", deliver, ship_seconds=0.01)
    spool.put(b"parent")
    child = os.fork()
    if child == 0:
        os._exit(0 if spool.put(b"child") and spool.flush() and spool.stored == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert spool.flush()
    assert sorted((tmp_path / "delivered").read_bytes().split()) == [b"child", b"parent"]
    spool.close()


def test_a_signal_in_the_middle_of_a_put_does_not_wait_for_it(spool, delivered):
    class Interrupted(bytes):
        def __len__(self):  # the spool asks for it where it holds its lock
            os.kill(os.getpid(), signal.SIGTERM)
            return super().__len__()

    done = []
    before = signal.signal(signal.SIGTERM, lambda *_: spool.when_free(lambda: done.append(spool.flush(5))))
    try:
        begun = time.monotonic()
        assert spool.put(Interrupted(b"1\n"))
        assert time.monotonic() - begun < 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (done, delivered) == ([True], [b"1"])
