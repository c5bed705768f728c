"""The processes of `ratchet up`: started, asked whether they are well, started again when they died."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from flows.embedded import EmbeddedServer, answers
from registry.errors import SettingsError

HEALTH_SECONDS = 2.0
"""How long an answer about health may take."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before a process that died is started again: the first time, and at most, doubling from time to time."""
STEADY_SECONDS = 60.0
"""How long a process must live for its earlier deaths to be forgotten."""
LONGEST_LINE = 200


def well(url: str) -> bool:
    """Tell whether a GET of `url` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_SECONDS) as answer:  # noqa: S310  # http(s) only
            return bool(answer.status == http.HTTPStatus.OK)
    except (OSError, http.client.HTTPException, ValueError):
        return False


def choose_port(host: str, wanted: int) -> int:
    """Return `wanted` if nobody has it on `host`, else a port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise SettingsError("E7810", f"there is no free port on {host}", "name an address of this machine")


def last_words(log: Path) -> str:
    """Return the last line that a process wrote, for a message; frames are none."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    words = (line.strip(" │╭╮╰╯─") for line in reversed(lines))
    return next((line[:LONGEST_LINE] for line in words if line), "")


class Part(Protocol):
    """Something that `ratchet up` keeps alive."""

    name: str
    log: Path

    @property
    def pid(self) -> int | None:
        """Its process."""

    def alive(self) -> bool:
        """Tell whether its process lives."""

    def healthy(self) -> bool:
        """Tell whether it answers."""

    def start(self) -> None:
        """Start its process."""

    def why(self) -> str:
        """Say why its process ended."""

    def bury(self) -> None:
        """Tell what its process left behind when it died to end."""


class Process:
    """A command that is kept running."""

    def __init__(
        self, name: str, command: Sequence[str], health: str, *, environment: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        self.name, self.log = name, log
        self._command, self._health, self._cwd = list(command), health, cwd
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if one was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the command, out of reach of the terminal's Ctrl-C, once nothing is left of the time before."""
        self._signal_group(signal.SIGKILL)
        self._process = spawn(self._command, self._environment, self._cwd, self.log)

    def alive(self) -> bool:
        """Tell whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def healthy(self) -> bool:
        """Tell whether it answers."""
        return well(self._health)

    def why(self) -> str:
        """Say by which signal it was killed, else the last that it wrote."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return last_words(self.log)

    def bury(self) -> None:
        """Tell what the process had started, and left behind, to end."""
        self._signal_group(signal.SIGTERM)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class PrefectServer:
    """The embedded Prefect server, held by this process."""

    name = "prefect"

    def __init__(self, server: EmbeddedServer) -> None:
        self._server, self.log = server, server.log

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._server.pid

    def start(self) -> None:
        """Start it again."""
        self._server.revive()

    def alive(self) -> bool:
        """Tell whether its process lives."""
        return self._server.alive

    def healthy(self) -> bool:
        """Tell whether it answers."""
        return answers(self._server.url, HEALTH_SECONDS)

    def why(self) -> str:
        """Return the last that it wrote."""
        return last_words(self.log)

    def bury(self) -> None:
        """Do nothing: it starts no processes."""


def spawn(command: Sequence[str], environment: Mapping[str, str], cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, with what it says in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603  # our own modules
            list(command), env=dict(environment), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


class Keeper:
    """The process that ends all others should this one end without having done so."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.renew()

    def renew(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "flows.keeper", self._mark]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603

    @property
    def alive(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let it go."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STEADY_SECONDS)


class Watched:
    """A part with its deaths: when it is to be started again."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._deaths = 0
        self._started = time.monotonic()
        self._due: float | None = None

    def look(self, say: Callable[[str], None]) -> bool:
        """Start the part again if it died and its time has come; tell whether it has just died."""
        now = time.monotonic()
        if self.part.alive():
            if now - self._started > STEADY_SECONDS:
                self._deaths = 0
            return False
        if self._due is None:
            self.part.bury()
            self._put_off(say, self.part.why(), now)
            return True
        if now >= self._due:
            self._due, self._started = None, now
            try:
                self.part.start()
            except SettingsError as error:
                self._put_off(say, error.what, now)
        return False

    def _put_off(self, say: Callable[[str], None], reason: str, now: float) -> None:
        wait = min(FIRST_WAIT * 2**self._deaths, LONGEST_WAIT)
        self._deaths += 1
        self._due = now + wait
        say(f"{self.part.name} ended{f' ({reason})' if reason else ''}; it is started again in {wait:g} s")
