"""The engine under every flow run: settings put in place, databases there, a Prefect server that answers.

    with engine(settings) as live:   # returns at once: an embedded server starts beside us
        ...                          # import, read, hash
        live.ready()                 # wait until the server answers
        some_flow()
                                     # every task run is written down, the server is gone

With `PREFECT_API_URL` the server is somebody else's and is only asked whether it is well. Without it, a server is
started for the home; runs at the same time in the same home share it (see `flows.server`).
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from flows import logs, recovery, templates
from flows.locks import FileLock
from flows.server import CLIENTS_LOCK, SERVER_LOCK, Address, read_address
from flows.settings import (
    Settings,
    prepare_environment,
    restored_environment,
    server_environment,
    use_prefect_server,
)
from registry.errors import SettingsError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.01
ANNOUNCE_SECONDS = 20.0
"""How long a server process may take to name its address; it does so before it imports anything."""
DRAIN_SECONDS = 30.0
"""How long to wait for this process's last events and logs to be sent."""
_THERE = {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN, http.HTTPStatus.NOT_FOUND}
"""Answers to the health question by which a server that guards or hides it shows that it is there."""
FOREIGN_SECONDS = 3.0
"""How long a server that the settings name may be silent, for instance while it restarts."""
BROKEN_SECONDS = 5.0
"""How long the embedded server may answer with errors of its own, such as a database that is locked."""
STOP_SECONDS = 30.0
"""How long to wait for the embedded server to write down what it has and end."""


class Engine:
    """What a flow run stands on. Made by `engine`."""

    def __init__(self, settings: Settings, server: EmbeddedServer | None) -> None:
        self.settings = settings
        self._server = server
        self._stack = contextlib.ExitStack()
        self._is_ready = False

    @property
    def api_url(self) -> str:
        """Address of the Prefect server's API."""
        return self._server.url if self._server else str(self.settings.prefect_api_url)

    @property
    def server_pid(self) -> int | None:
        """Process of the embedded server; None with a server of somebody else's."""
        return self._server.pid if self._server else None

    def ready(self) -> None:
        """Wait until the Prefect server answers, and point Prefect at it. Calling it again does nothing.

        Raises:
            SettingsError: E7804 when a server that the settings name does not answer, E7805 when an embedded one
                does not start.
        """
        if self._is_ready:
            return
        if self._server is None:
            _ask_foreign(self.api_url, self.settings.server_timeout)
        else:
            self._server.wait()
        self._enter_prefect()
        self._is_ready = True
        if self._server is not None and self._server.started_here:
            recovery.reap_lost_runs(self._server.since)

    def _enter_prefect(self) -> None:
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        # Each synchronous flow run wastes a second joining its heartbeat thread. Dead runs are found without it.
        updates = {PREFECT_API_URL: self.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        self._stack.enter_context(temporary_settings(updates))

    def close(self) -> None:
        """Hand over what Prefect still holds in this process, then let go of the server and wait for its end."""
        try:
            if "prefect.events.worker" in sys.modules:
                _drain_prefect()
            self._stack.close()
        finally:
            if self._server is not None:
                self._server.close()


class EmbeddedServer:
    """This process's hold on the embedded server of a home."""

    _held: set[Path] = set()  # noqa: RUF012  # a POSIX lock is the process's: see FileLock

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.layout.prefect
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

    def _find_or_start(self) -> Address:
        deadline = time.monotonic() + ANNOUNCE_SECONDS
        while time.monotonic() < deadline:
            address = read_address(self.folder, self._server)
            if address is not None:
                self.started_here = self._process is not None and address.pid == self._process.pid
                return address
            if self._process is None or self._process.poll() is not None:
                self._start()
            time.sleep(POLL_SECONDS)
        raise self._failed("it did not name its address")

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "flows.server", str(self.folder)]
        environment = server_environment(migrated=templates.migrated(self.folder))
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
            if _answers(self.url, deadline - time.monotonic()):
                self._wait_until_it_reads()
                if self.started_here:
                    templates.mark_migrated(self.folder)
                return
            if self._server.holder() is None:
                raise self._failed("it ended before it answered")
            time.sleep(POLL_SECONDS)
        raise self._failed(f"it did not answer within {self.timeout:g} s")

    def _wait_until_it_reads(self) -> None:
        """A server is well even when its database is not, and Prefect's client would ask it for two minutes."""
        deadline = time.monotonic() + BROKEN_SECONDS
        while (status := _reads(self.url)) >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            if time.monotonic() >= deadline:
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


@contextlib.contextmanager
def engine(settings: Settings, *, from_templates: bool = True) -> Iterator[Engine]:
    """Start what a flow run needs, without waiting for it; take it down at the end, whatever happens.

    Call it before Prefect or MLflow is imported. `from_templates=False` makes databases by migration.

    Raises:
        SettingsError: E7805 when the embedded server does not start, E782x when the home cannot be used.
        IntegrityError: E7930 when the embedded server's database is damaged.
    """
    with restored_environment():
        prepare_environment(settings)
        logs.quiet(settings.debug)
        settings.layout.create()
        if settings.embedded:
            templates.check_prefect(settings.layout.prefect)
        if settings.embedded and from_templates:
            templates.place_prefect(settings)
        live = Engine(settings, EmbeddedServer(settings) if settings.embedded else None)
        use_prefect_server(live.api_url)
        try:
            yield live
        finally:
            live.close()


def _ask_foreign(url: str, timeout: float) -> None:
    deadline = time.monotonic() + min(timeout, FOREIGN_SECONDS)
    while not _answers(url, deadline - time.monotonic()):
        if time.monotonic() >= deadline:
            raise SettingsError(
                "E7804",
                f"no Prefect server answers at {url}",
                "start it, correct PREFECT_API_URL, or unset it to run embedded",
            )
        time.sleep(0.2)


def _answers(url: str, timeout: float) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=max(timeout, 0.1)) as response:  # noqa: S310  # http(s) only
            return bool(response.status == http.HTTPStatus.OK)
    except urllib.error.HTTPError as error:
        return error.code in _THERE
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _reads(url: str) -> int:
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


def _drain_prefect() -> None:
    """Send what Prefect's background workers still hold; without it the last task runs would be missing."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=DRAIN_SECONDS, at_exit=False)


def main(arguments: list[str]) -> int:
    """`python -m flows.engine templates` makes the template databases of this environment."""
    if arguments != ["templates"]:
        sys.stderr.write("usage: python -m flows.engine templates\n")
        return 2
    try:
        templates.make_templates()
    except (SettingsError, OSError) as error:  # not fatal: a fresh home is then migrated, which takes 8 s longer
        sys.stderr.write(f"no template databases: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
