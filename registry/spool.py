"""Events on their way into the log, in files that outlive the process.

    SPOOL/PROCESS/000000001.jsonl   segments: whole lines, one event each
    SPOOL/PROCESS/lock              held while the process lives

`put` writes a line into the operating system's memory, which survives the process (not the machine), and returns. A
thread ships closed segments to the event log and deletes them; the log takes an event once, so that a segment that is
shipped again after a crash does no harm. Whoever opens the spool next ships what a dead process left.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.files import locked

logger = logging.getLogger(__name__)

Deliver = Callable[[Sequence[bytes]], object]
"""Takes lines and returns when they are safe; what it raises says that they are not."""
SEGMENT_BYTES = 4 << 20
SHIP_SECONDS = 0.2
"""How long an event waits at most before it is on its way."""
LONGEST_RETRY = 10.0
LOOK_SECONDS = 60.0
"""How often the folder is searched for what dead processes left."""
POLL_SECONDS = 0.005
BATCH = 5_000
MAX_BYTES = 1 << 30
"""How much may wait while the log cannot be reached; what comes then is dropped."""


class Spool:
    """One process's way into the log. Threads may share it; after a fork the child has its own."""

    def __init__(
        self,
        folder: Path | str,
        deliver: Deliver,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        ship_seconds: float = SHIP_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open a spool; what dead processes left in it is shipped at once.

        Args:
            folder: Shared by all processes that log to the same place.
            deliver: What becomes of the lines.
            segment_bytes: Size at which a segment is shipped, however young it is.
            ship_seconds: Age at which it is shipped, however small it is.
            max_bytes: How much may wait.
        """
        self.folder = Path(folder)
        self.segment_bytes, self.ship_seconds, self.max_bytes = segment_bytes, ship_seconds, max_bytes
        self._deliver = deliver
        self._reset()
        with self._guard:
            self._try_to_enter()
        _spools.add(self)
        atexit.register(self.close)

    def _reset(self) -> None:
        self.stored = 0
        """Events that are in the log."""
        self.dropped = 0
        """Events that could not be written down, or that were torn when their process was killed."""
        self.recovered = 0
        """Events of dead processes that are in the log now."""
        self.waiting = 0
        """Bytes that are not in the log yet."""
        self._later: Callable[[], None] | None
        self._guard, self._wake = threading.Lock(), threading.Event()
        self._own: Path | None = None
        self._shipper: threading.Thread | None = None
        self._descriptor = self._lock = -1
        self._number = self._size = 0
        self._complained = self._closing = self._looked = False
        self._inside, self._later = False, None

    # --- what callers do ---------------------------------------------------------------------------------------------

    def put(self, lines: bytes) -> bool:
        """Write down one event, or several lines of them; tell whether they will reach the log.

        It never raises, and never waits for the log. What it returned True for survives the end of this process.
        """
        data = lines if lines.endswith(b"\n") else lines + b"\n"
        if threading.current_thread() is not threading.main_thread():
            return self._put(data)
        self._inside = True
        try:
            return self._put(data)
        finally:
            self._inside = False
            if self._later is not None:
                later, self._later = self._later, None
                later()

    def _put(self, data: bytes) -> bool:
        with self._guard:
            if self._closing or self.waiting + len(data) > self.max_bytes or not self._written(data):
                self.dropped += data.count(b"\n")
                return False
            self._size += len(data)
            self.waiting += len(data)
            if self._size >= self.segment_bytes:
                self._wake.set()
        return True

    def when_free(self, do: Callable[[], None]) -> None:
        """Do something now, or after the `put` that a signal interrupted: in the middle of one, `flush` waits in vain.

        Only for the handler of a signal, which the main thread runs.
        """
        if self._inside:
            self._later = do
        else:
            do()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until what was put, and what dead processes left, is in the log; False when that takes longer."""
        deadline = time.monotonic() + timeout
        while self.waiting or not self._looked:
            if time.monotonic() >= deadline or self._shipper is None or not self._shipper.is_alive():
                return False
            self._wake.set()
            time.sleep(POLL_SECONDS)
        return True

    def close(self, timeout: float = 10.0) -> bool:
        """Ship what is there and end; what cannot be shipped in time is left to the next one on this folder."""
        if self._closing:
            return self.waiting == 0
        done = self.flush(timeout)
        with self._guard:
            self._closing = True
        self._wake.set()
        if self._shipper is not None:
            self._shipper.join(1.0)
        with self._guard:
            if self.waiting == 0 and self._own is not None:
                shutil.rmtree(self._own, ignore_errors=True)
            self._let_go()
        atexit.unregister(self.close)
        return done

    # --- the files ---------------------------------------------------------------------------------------------------

    def _written(self, data: bytes) -> bool:
        if self._own is None and not self._try_to_enter():
            return False
        try:
            done = os.write(self._descriptor, data)
            if done < len(data):  # no half a line may stay
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - done)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._complain(f"they cannot be written down: {error}")
            return False
        return True

    def _try_to_enter(self) -> bool:
        """Make this process's folder, a first segment in it, and the thread that ships."""
        if self._shipper is None:
            self._shipper = threading.Thread(target=self._run, daemon=True, name="spool")
            self._shipper.start()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            own = self.folder / uuid.uuid4().hex
            with locked(self.folder / ".lock"):  # so that nobody takes it for a dead one's before it is locked
                own.mkdir()
                self._lock = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._next_segment(own)
            self._own = own
        except OSError as error:
            self._let_go()
            self._complain(f"they cannot be written down: {error}")
        return self._own is not None

    def _next_segment(self, own: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        opened = os.open(own / f"{self._number + 1:09d}.jsonl", flags, 0o600)
        before, self._descriptor = self._descriptor, opened
        self._number, self._size = self._number + 1, 0
        if before >= 0:
            os.close(before)

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1
        self._own = None

    # --- the shipper -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Ship what is there, again and again; what cannot be shipped is tried again, less and less often."""
        failures, look = 0, 0.0
        while not self._closing:
            if self._looked:
                self._wake.wait(self.ship_seconds)
                self._wake.clear()
            try:
                if time.monotonic() >= look:
                    self._ship_left()
                    self._looked, look = True, time.monotonic() + LOOK_SECONDS
                self._ship_own()
                failures, self._complained = 0, False
            except Exception as error:  # whatever it is, the caller's answer must not suffer
                self._complain(f"they wait on disk: {error}")
                time.sleep(min(self.ship_seconds * 2**failures, LONGEST_RETRY))
                failures = min(failures + 1, 16)

    def _ship_own(self) -> None:
        with self._guard:
            own = self._own
            if own is None:
                return
            if self._size:
                self._next_segment(own)
            last = self._number
        for segment in sorted(own.glob("*.jsonl")):
            if int(segment.stem) < last:
                size = segment.stat().st_size
                self._ship(segment)
                with self._guard:
                    self.waiting -= size

    def _ship_left(self) -> None:
        """Ship what dead processes left."""
        if not self.folder.is_dir():
            return
        for other in sorted(self.folder.iterdir()):
            if other == self._own or not other.is_dir():
                continue
            with contextlib.ExitStack() as held, contextlib.suppress(BlockingIOError, FileNotFoundError):
                with locked(self.folder / ".lock"):
                    held.enter_context(locked(other / "lock", wait=False))
                for segment in sorted(other.glob("*.jsonl")):
                    self.recovered += self._ship(segment)
                shutil.rmtree(other, ignore_errors=True)

    def _ship(self, segment: Path) -> int:
        """Ship a segment and delete it; return how many lines it had."""
        whole, _, torn = segment.read_bytes().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        for first in range(0, len(lines), BATCH):
            self._deliver(lines[first : first + BATCH])
        segment.unlink(missing_ok=True)
        self.stored += len(lines)
        self.dropped += bool(torn)
        return len(lines)

    def _complain(self, what: str) -> None:
        if not self._complained:  # once, until it works again
            self._complained = True
            logger.error("events cannot be logged for now; %s (%s)", what, self.folder)

    def after_fork(self) -> None:
        """Leave the parent's files and events to the parent."""
        self._let_go()
        self._reset()


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool.after_fork()


os.register_at_fork(after_in_child=_after_fork)
