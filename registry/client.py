"""What an application logs with: `UsageLogger`.

    log = UsageLogger(".ratchet", agent="support")
    trace = log.log("Where is my order?", answer, "support", version="3", latency_ms=412.0)
    log.record_feedback(trace, "thumbs_up", True, user="dana")

Logging takes microseconds and never fails: an event is written to a spool beside the log (`registry.spool`) and shipped
from there by a thread. What `log` returned for is not lost when the process ends, is stopped or is killed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import msgspec

from registry.errors import SettingsError
from registry.event_rows import new_id
from registry.events import EventLog
from registry.home import Home, now
from registry.spool import Spool

logger = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(enc_hook=repr).encode


class UsageLogger:
    """Logs what a model did, and what people said about it. Threads may share it."""

    def __init__(
        self,
        target: str | Path,
        *,
        source: str = "ratchet/usage",
        agent: str | None = None,
        spool: Path | str | None = None,
        on_sigterm: bool = True,
    ) -> None:
        """Open a logger.

        Args:
            target: Ratchet's home, or the URL of its database (`sqlite:///…`, `postgresql://…`).
            source: `source` of the events.
            agent: The agent they are of, where `log` does not say another.
            spool: Folder in which events wait; default beside the database, or for a server in the folder for
                temporary files. Give one on a disk that survives the machine's restart.
            on_sigterm: Flush when the process is told to stop, then do what would have been done without us.
        """
        self.source, self.agent = source, agent
        self.logged = 0
        """Events that will reach the log."""
        self.rejected = 0
        """Events that the log did not take; each is said on Python's logger."""
        self._url = str(target) if "://" in str(target) else Home(target).database_url
        self._log: EventLog | None = None
        self._spool = Spool(spool if spool is not None else _beside(target), self._deliver)
        self._before: Any = None
        if on_sigterm and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._told_to_stop)

    @property
    def stored(self) -> int:
        """Events that are in the log, those of dead processes among them."""
        return self._spool.stored - self.rejected

    @property
    def dropped(self) -> int:
        """Events that are lost: the disk was full, or a process was killed in the middle of one."""
        return self._spool.dropped

    @property
    def recovered(self) -> int:
        """Events that a dead process had left and that are in the log now."""
        return self._spool.recovered

    def log(
        self,
        query: Any,
        response: Any,
        model: str | None = None,
        *,
        version: str | None = None,
        trace_id: str | None = None,
        domain: str | None = None,
        latency_ms: float | None = None,
        tokens_in: int | None = None,
        tokens_out: int | None = None,
        user: str | None = None,
        unit: str | None = None,
        status: str = "success",
        quality: float | None = None,
        **extra: Any,
    ) -> str:
        """Log one answer of a model and return its trace id, under which feedback is recorded.

        Args:
            query: What was asked: a text, or any JSON.
            response: What was answered.
            model: Name of the model, which is the agent of the event.
            version: Its version.
            trace_id: Default: a new one.
            domain: What it was about.
            latency_ms: How long it took.
            tokens_in: Tokens of the question.
            tokens_out: Tokens of the answer.
            user: Who asked.
            unit: What experiments assign by, where that is not the user.
            status: `failure`, `error` or `timeout` where it went wrong.
            quality: 0 to 100, where it is known at once.
            extra: More fields of the event's `data`.
        """
        trace = trace_id if trace_id is not None else new_id()
        text = isinstance(query, str)
        data = {
            **extra,
            "trace_id": trace,
            "agent": model if model is not None else self.agent,
            "model_version": version,
            "task": {"domain": domain, "instruction": query if text else None, "input": None if text else query},
            "output": response,
            "status": status,
            "quality_score": quality,
            "latency_ms": latency_ms,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "user": user,
            "unit": unit,
        }
        self._put("execution.completed", data)
        return trace

    def record_feedback(self, trace: str, kind: str, value: Any, user: str | None = None) -> None:
        """Log what somebody says about a trace; kinds and values are those of `registry.scores`."""
        self._put("feedback.recorded", {"trace_id": trace, "kind": kind, "value": value, "user": user})

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything is in the log; False when that takes longer."""
        return self._spool.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Flush and end; what cannot be shipped in time stays in the spool for the next logger."""
        done = self._spool.close(timeout)
        if self._before is not None and signal.getsignal(signal.SIGTERM) == self._told_to_stop:
            signal.signal(signal.SIGTERM, self._before)
        return done

    def __enter__(self) -> UsageLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, kind: str, data: dict[str, Any]) -> None:
        event = {
            "specversion": "1.0", "id": new_id(), "source": self.source, "type": kind, "time": now(),
            "datacontenttype": "application/json", "data": data,
        }  # fmt: skip
        try:
            line = _encode(event)
        except Exception as error:  # a value that says no text of itself: the caller's answer goes on
            self._spool.dropped += 1
            logger.error("an event cannot be written as JSON: %s", error)
            return
        self.logged += self._spool.put(line)

    def _deliver(self, lines: Sequence[bytes]) -> None:
        if self._log is None:
            self._log = EventLog(self._url)
        done = self._log.append(lines)
        if done.rejected:
            self.rejected += len(done.rejected)
            first = done.rejected[0]
            logger.error("%d events are none, first %s: %s", len(done.rejected), first.code, first.reason)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._spool.when_free(lambda: self._stop(number, frame))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._spool.flush(5.0)
        before = self._before
        if callable(before):
            before(number, frame)
        elif before != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _beside(target: str | Path) -> Path:
    """Return where events wait for the database at `target`."""
    address = str(target)
    if "://" not in address:
        return Home(target).root / "spool"
    if address.startswith("sqlite:///"):
        return Path(address.removeprefix("sqlite:///")).absolute().parent / "spool"
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"ratchet-spool-{os.getuid()}-{name}"
    if place.exists() and place.stat().st_uid != os.getuid():
        raise SettingsError("E7863", f"{place} belongs to another user", "give the logger a folder of its own: spool=")
    return place
