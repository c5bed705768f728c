import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from registry.errors import SettingsError
from registry.home import Home, disk_error

HOLD = """
import os, sys, time
from registry.home import Home
with Home(sys.argv[1]).lock("learn-support", "learning support"):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def hold(home, *more):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(home.root), *more], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_creating_a_home_makes_every_folder_and_can_be_repeated(tmp_path):
    home = Home(tmp_path / "deep" / "home").create()
    assert home.create().datasets.is_dir()
    assert {path.name for path in home.root.iterdir()} >= {"datasets", "reports", "runs", "mlflow", "prefect", "keys"}
    assert not list(home.root.glob(".probe*"))


def test_paths_in_the_home_are_recorded_relative_to_it(tmp_path):
    home = Home(tmp_path / "home")
    assert home.relative(home.datasets / "support" / "1.0.0") == "datasets/support/1.0.0"
    assert home.relative(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


def test_a_file_in_the_place_of_the_home_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(SettingsError, match=r"^E7820: .*home is not a directory") as caught:
        Home(tmp_path / "home").create()
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="E7820"):
        Home(tmp_path / "home" / "below").create()


def test_a_home_that_cannot_be_written_is_refused():
    with pytest.raises(SettingsError, match="E7821: the home /proc/ratchet cannot be used"):
        Home("/proc/ratchet").create()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "E7822"), (errno.EDQUOT, "E7822"), (errno.EROFS, "E7821"), (errno.EACCES, "E7821")],
)
def test_every_failure_of_the_disk_has_its_code(tmp_path, number, code):
    error = disk_error(tmp_path, OSError(number, os.strerror(number), str(tmp_path / "file")))
    assert error.code == code


def test_a_full_disk_met_later_is_explained_too(tmp_path):
    with pytest.raises(SettingsError, match="E7822: the disk is full"), Home(tmp_path).guard():
        Path("/dev/full").write_bytes(b"x")


def test_a_second_holder_is_told_who_holds_the_lock(tmp_path):
    home = Home(tmp_path).create()
    holder = hold(home)
    try:
        with pytest.raises(SettingsError) as caught, home.lock("learn-support"):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert caught.value.code == "E7823"
    assert f"process {holder.pid} on" in caught.value.what
    assert "(learning support) since 20" in caught.value.what


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    home = Home(tmp_path).create()
    holder = hold(home)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with home.lock("learn-support"):
        pass


def test_the_lock_of_a_killed_process_is_not_kept_by_its_children(tmp_path):
    home = Home(tmp_path).create()
    holder = hold(home, "3")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with home.lock("learn-support", wait=1):  # the child sleeps on
        pass


def test_a_lock_can_be_waited_for(tmp_path):
    home = Home(tmp_path).create()
    order = []

    def first():
        with home.lock("support"):
            order.append("first")
            held.set()
            time.sleep(0.2)
            order.append("first done")

    held = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with pytest.raises(SettingsError), home.lock("support"):  # threads of one process exclude each other too
        pass
    with home.lock("another"):
        pass
    with home.lock("support", wait=5):
        order.append("second")
    thread.join()
    assert order == ["first", "first done", "second"]


def test_forking_while_a_lock_is_held_does_not_free_it(tmp_path):
    home = Home(tmp_path).create()
    with home.lock("support"):
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join()
        with pytest.raises(SettingsError), home.lock("support"):
            pass
