"""This process's hold on the embedded Prefect server of its home: found or started, waited for, let go of."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows import templates
from flows.locks import FileLock
from flows.server import CLIENTS_LOCK, SERVER_LOCK, Address, read_address
from flows.settings import Settings, server_environment
from registry.errors import SettingsError

POLL_SECONDS = 0.01
ANNOUNCE_SECONDS = 20.0
"""How long a server process may take to name its address; it does so before it imports anything."""
_THERE = {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN, http.HTTPStatus.NOT_FOUND}
"""Answers to the health question by which a server that guards or hides it shows that it is there."""
BROKEN_SECONDS = 5.0
"""How long the embedded server may answer with errors of its own, such as a database that is locked."""
STOP_SECONDS = 30.0
"""How long to wait for the embedded server to write down what it has and end."""
FOREIGN_SECONDS = 3.0
"""How long a question may take."""


class EmbeddedServer:
    """This process's hold on the embedded server of a home."""

    _held: set[Path] = set()  # noqa: RUF012  # a POSIX lock is the process's: see FileLock

    def __init__(self, settings: Settings, port: int | None = None) -> None:
        """Find the server or start it; with a `port` the whole of it, for `ratchet up`."""
        self.folder = settings.layout.prefect
        self._port = port
        self._own_database = settings.prefect_database_url is None
        self.log = settings.layout.logs / "prefect-server.log"
        self.timeout = settings.server_timeout
        self.started_here = False
        self.since = time.time()
        self._process: subprocess.Popen[bytes] | None = None
        if self.folder in self._held:
            raise SettingsError("E7807", f"the engine of {self.folder.parent} is in use already", "use one at a time")
        with settings.layout.guard():
            self._clients = FileLock(self.folder / CLIENTS_LOCK)
            self._server = FileLock(self.folder / SERVER_LOCK)
        self._held.add(self.folder)
        self._clients.share()  # from here on the server lives as long as we do
        try:
            self._address = self._find_or_start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Address of the API."""
        return self._address.url

    @property
    def pid(self) -> int:
        """Process of the server."""
        return self._address.pid

    @property
    def alive(self) -> bool:
        """Whether the server's process lives."""
        return self._server.holder() is not None

    def revive(self) -> None:
        """Start the server again after it died, on the same port."""
        self.since = time.time()
        self._address = self._find_or_start()

    def _find_or_start(self) -> Address:
        deadline = time.monotonic() + ANNOUNCE_SECONDS
        while time.monotonic() < deadline:
            address = read_address(self.folder, self._server)
            if address is not None:
                if self._port is not None and not address.whole:
                    raise SettingsError(
                        "E7809",
                        f"a run in {self.folder.parent} has just started a Prefect server of its own",
                        "wait for it to end, then run `ratchet up` again",
                    )
                self.started_here = self._process is not None and address.pid == self._process.pid
                return address
            if self._process is None or self._process.poll() is not None:
                self._start()
            time.sleep(POLL_SECONDS)
        raise self._failed("it did not name its address")

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "flows.server", str(self.folder)]
        migrated = self._own_database and templates.migrated(self.folder)
        environment = server_environment(migrated=migrated, port=self._port)
        if self._port is not None:
            command.append(str(self._port))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the server writes everything down first
            )

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            SettingsError: E7805 when it does not.
            IntegrityError: E7930 when it cannot read its database.
        """
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if answers(self.url, deadline - time.monotonic()):
                self._wait_until_itreads()
                if self.started_here and self._own_database:
                    templates.mark_migrated(self.folder)
                return
            if self._server.holder() is None:
                raise self._failed("it ended before it answered")
            time.sleep(POLL_SECONDS)
        raise self._failed(f"it did not answer within {self.timeout:g} s")

    def _wait_until_itreads(self) -> None:
        """A server is well even when its database is not, and Prefect's client would ask it for two minutes."""
        deadline = time.monotonic() + BROKEN_SECONDS
        while (status := reads(self.url)) >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            if time.monotonic() >= deadline:
                if not self._own_database:
                    raise self._failed(f"it answers {status} to a question")
                raise templates.damaged(
                    self.folder / "prefect.db", f"the Prefect server answers {status} to a question"
                )
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> SettingsError:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        said = f" ({lines[-1][:200]})" if lines else ""
        return SettingsError(
            "E7805",
            f"the embedded Prefect server failed: {what}{said}",
            f"see {self.log}, or set PREFECT_API_URL to use a server of your own",
        )

    def close(self) -> None:
        """Let go of the server; if nobody else needs it, wait until it has written everything down and ended."""
        self._clients.release()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self._server.holder() is not None:
            others = self._clients.holder()
            if others is not None and not others.exclusive:
                break  # another run lives on it
            time.sleep(POLL_SECONDS)
        else:
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=1)
        self._clients.close()
        self._server.close()
        self._held.discard(self.folder)


def place_database(settings: Settings, from_templates: bool = True) -> None:
    """Look at the database of the embedded server, and give a fresh home one."""
    if not settings.embedded or settings.prefect_database_url is not None:
        return
    templates.check_prefect(settings.layout.prefect)
    if from_templates:
        templates.place_prefect(settings)


def answers(url: str, timeout: float) -> bool:
    """Tell whether a server says at `url`/health that it is well, or hides that and so shows that it is there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=max(timeout, 0.1)) as response:  # noqa: S310  # http(s) only
            return bool(response.status == http.HTTPStatus.OK)
    except urllib.error.HTTPError as error:
        return error.code in _THERE
    except (OSError, http.client.HTTPException, ValueError):
        return False


def reads(url: str) -> int:
    """Return the status of the answer to a question for which the server must look into its database."""
    asked = urllib.request.Request(  # noqa: S310  # http only: it is the embedded server
        f"{url}/flow_runs/filter", data=b'{"limit": 1}', headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=FOREIGN_SECONDS) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return http.HTTPStatus.SERVICE_UNAVAILABLE
