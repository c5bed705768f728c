"""Events into the log, many requests in one transaction: who waits for the disk waits together (group commit).

Requests put their events into a queue. One thread takes all that are there, appends them at once, and tells each
request what became of its own. While it waits for the disk the next group gathers, so a single event is answered as
fast as the disk allows, and under load the groups grow by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gateway.problems import BUSY, LOG_GONE, Problem
from registry.errors import RatchetError
from registry.events import Appended, EventLog, Query, Rejected

MOST_TOGETHER = 5_000
"""Events after which a group is closed: a reader of SQLite's log waits for no writer, but the next group does."""
_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of the events of one request."""

    appended: int
    duplicate: int
    rejected: list[Rejected]


class _Waiting(NamedTuple):
    events: Sequence[bytes]
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Outcome]


class _Identity(msgspec.Struct):
    source: str
    id: str


_identities = msgspec.json.Decoder(_Identity)


class Ingest:
    """The way into the log.

    Args:
        log: Where events go; None until `attach` names one.
        most_waiting: Bytes that may wait at once.
    """

    def __init__(self, log: EventLog | None, most_waiting: int) -> None:
        self._log, self._most = log, most_waiting
        self.waiting = 0
        """Requests that wait for the disk."""
        self._bytes = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gateway-ingest", daemon=True)
        self._thread.start()

    def attach(self, log: EventLog) -> None:
        """Name the log, once its database answers."""
        self._log = log

    async def append(self, events: Sequence[bytes]) -> Outcome:
        """Append events; they are on disk when this returns.

        Raises:
            Problem: 503 where too much waits already, or the log cannot be written.
        """
        if not events:
            return Outcome(0, 0, [])
        size = sum(map(len, events))
        if self._bytes and self._bytes + size > self._most:
            raise Problem(BUSY, "too many events wait for the log", "come again", {"retry-after": "1"})
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, size, loop, loop.create_future())
        self.waiting += 1
        self._bytes += size
        try:
            self._queue.put(waiting)
            return await asyncio.shield(waiting.future)
        finally:
            self.waiting -= 1
            self._bytes -= size

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, events = [first], len(first.events)
            ended = False
            while events < MOST_TOGETHER and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    ended = True
                    break
                group.append(following)
                events += len(following.events)
            self._write(group)
            if ended:
                return

    def _write(self, group: list[_Waiting]) -> None:
        try:
            if self._log is None:
                raise Problem(LOG_GONE, "the log is not open yet", "come again", {"retry-after": "1"})
            outcomes = _append(self._log, [waiting.events for waiting in group])
        except Exception as error:  # whatever it is, those who wait must be told
            problem = error if isinstance(error, Problem) else _problem(error)
            _tell(group, problem)
        else:
            _tell(group, outcomes)


def _append(log: EventLog, requests: list[Sequence[bytes]]) -> list[Outcome]:
    events = [event for request in requests for event in request]
    done = _appended(log, events)
    if not done.rejected and not (done.duplicate and done.appended):  # all is well, or all was there: nearly always
        new = bool(done.appended)
        return [Outcome(len(request) * new, len(request) * (not new), []) for request in requests]
    return _shared_out(requests, {rejected.position: rejected for rejected in done.rejected}, _new(log, done))


def _appended(log: EventLog, events: Sequence[bytes]) -> Appended:
    try:
        return log.append(events)
    except RatchetError as error:
        if not getattr(error.__cause__, "connection_invalidated", False):
            raise
        # The server closed the connection while it lay idle, or fell over. The log takes an event once, so try again.
        return log.append(events)


def _shared_out(
    requests: list[Sequence[bytes]], faults: dict[int, Rejected], new: Counter[tuple[str, str]]
) -> list[Outcome]:
    outcomes, start = [], 0
    for request in requests:
        rejected = [
            faults[start + place]._replace(position=place) for place in range(len(request)) if start + place in faults
        ]
        valid = [event for place, event in enumerate(request, start) if place not in faults]
        appended = sum(_take(new, event) for event in valid)
        outcomes.append(Outcome(appended, len(valid) - appended, rejected))
        start += len(request)
    return outcomes


def _new(log: EventLog, done: Appended) -> Counter[tuple[str, str]]:
    """Return the (source, id) of the events that were new.

    The log says how many were duplicates, not which. The new ones are the last of the log: within a transaction numbers
    have no gaps.
    """
    if not done.appended:
        return Counter()
    found = log.query(Query(after=done.head - done.appended, upto=done.head, shadow=None))
    return Counter((each.event["source"], each.event["id"]) for each in found)


def _take(new: Counter[tuple[str, str]], event: bytes) -> bool:
    try:
        identity = _identities.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError):  # readable to the log all the same, such as a huge number
        return False
    key = identity.source, identity.id
    if new[key]:
        new[key] -= 1
        return True
    return False


def _problem(error: Exception) -> Problem:
    if not isinstance(error, RatchetError):
        _log.exception("events could not be appended", exc_info=error)
    said = str(error) if isinstance(error, RatchetError) else type(error).__name__
    return Problem(LOG_GONE, f"the event log cannot be written: {said}", "come again", {"retry-after": "5"})


def _tell(group: list[_Waiting], outcomes: list[Outcome] | Problem) -> None:
    """Answer all that wait, with one call into each loop."""
    loops = {waiting.loop for waiting in group}
    for loop in loops:
        mine = [(w.future, o) for w, o in zip(group, _each(group, outcomes), strict=True) if w.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, mine)


def _each(group: list[_Waiting], outcomes: list[Outcome] | Problem) -> Sequence[Outcome | Problem]:
    return [outcomes] * len(group) if isinstance(outcomes, Problem) else outcomes


def _resolve(pairs: list[tuple[asyncio.Future[Outcome], Outcome | Problem]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Problem):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
