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
import logging
import sys
import time
from collections.abc import Iterator

from flows import logs, recovery, templates
from flows.embedded import EmbeddedServer, answers, place_database
from flows.settings import Settings, prepare_environment, restored_environment, use_prefect_server
from registry.errors import SettingsError

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
"""How long to wait for this process's last events and logs to be sent."""
FOREIGN_SECONDS = 3.0
"""How long a server that the settings name may be silent, for instance while it restarts."""


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
            ask_foreign(self.api_url, self.settings.server_timeout)
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
        place_database(settings, from_templates)
        live = Engine(settings, EmbeddedServer(settings) if settings.embedded else None)
        use_prefect_server(live.api_url)
        try:
            yield live
        finally:
            live.close()


def ask_foreign(url: str, timeout: float) -> None:
    """Ask a server that the settings name whether it is there.

    Raises:
        SettingsError: E7804 it does not answer.
    """
    deadline = time.monotonic() + min(timeout, FOREIGN_SECONDS)
    while not answers(url, deadline - time.monotonic()):
        if time.monotonic() >= deadline:
            raise SettingsError(
                "E7804",
                f"no Prefect server answers at {url}",
                "start it, correct PREFECT_API_URL, or unset it to run embedded",
            )
        time.sleep(0.2)


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
