"""`ratchet up`: everything that a team leaves running, in one command, and nothing of it when the command ends.

Prefect's server, MLflow's server, the worker of all deployments and the gateway, on the databases of one home or on
those that the settings name. What the settings say runs elsewhere is used and not started. `ratchet learn` in the same
home joins the Prefect server that is started here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from flows import keeper
from flows.addresses import Address, forget_addresses, gateway_address, prefect_address, write_addresses
from flows.embedded import EmbeddedServer, answers, place_database
from flows.engine import ask_foreign
from flows.locks import FileLock
from flows.server import SERVER_LOCK, read_address
from flows.services import Keeper, Part, PrefectServer, Process, Watched, choose_port, last_words, spawn
from flows.settings import (
    Settings,
    prepare_environment,
    restored_environment,
    service_environment,
    use_prefect_server,
)
from registry.errors import SettingsError

LOCAL = "127.0.0.1"
CHECKOUT = Path(__file__).parents[1]
"""Where prefect.yaml lies, and the flows that it names."""
POLL_SECONDS = 0.1
MIGRATING = 3
"""How many times as long as at other times a server may take to answer: it may have to make its database first."""
LEFT_BEHIND_SECONDS = 5.0
"""How long what an earlier `ratchet up` left behind has to end in good order."""
TODO_MLFLOW = "start it, correct MLFLOW_TRACKING_URI, or leave that empty to use the embedded one"
Say = Callable[[str], None]


class Ports(NamedTuple):
    """Where to listen if nobody does yet; 0 for any port that is free."""

    prefect: int
    mlflow: int
    gateway: int | None
    """None for no gateway."""


class Stopped(BaseException):
    """Somebody wants everything stopped."""


class _Signals:
    """The first Ctrl-C or SIGTERM stops in good order, another one at once."""

    def __init__(self, mark: str) -> None:
        self._mark, self._stopping = mark, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            keeper.end(self._mark, grace=0)
            return
        self._stopping = True
        raise Stopped

    def stopping(self) -> None:
        self._stopping = True


@contextlib.contextmanager
def _signals(mark: str) -> Iterator[_Signals]:
    handler = _Signals(mark)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield handler
    finally:
        for number, earlier in zip(numbers, before, strict=True):
            signal.signal(number, earlier)


def up(settings: Settings, ports: Ports, say: Say, show: Callable[[dict[str, Address]], None]) -> None:
    """Start what does not run yet, wait until all is healthy, `show` the addresses, keep it so until told to stop.

    Args:
        settings: Where everything is.
        ports: Where to listen.
        say: Told what happens, a line each.
        show: Told the addresses, once everything is healthy.

    Raises:
        SettingsError: E7823 another `ratchet up` holds the home, E7804 or E7830 a server that the settings name does
            not answer, E7805 or E7812 a service did not start, E7813 prefect.yaml could not be deployed.
    """
    home = settings.layout.create()
    mark = keeper.mark_of(home.root, os.getpid())
    with home.lock("up", "ratchet up"), restored_environment(), _signals(mark) as signals:
        keeper.end(keeper.mark_of(home.root), LEFT_BEHIND_SECONDS)
        prepare_environment(settings)
        running = Up(settings, ports, say, mark)
        try:
            running.start()
            running.wait()
            show(running.addresses)
            running.watch()
        except Stopped:
            say("stopping")
        finally:
            signals.stopping()
            running.stop()


class Up:
    """The services of one `ratchet up`."""

    def __init__(self, settings: Settings, ports: Ports, say: Say, mark: str) -> None:
        self.settings, self.home, self.ports, self.say, self.mark = settings, settings.layout, ports, say, mark
        self.addresses: dict[str, Address] = {}
        self._keeper: Keeper | None = None
        self._server: EmbeddedServer | None = None
        self._parts: list[Watched] = []
        self._deploying: subprocess.Popen[bytes] | None = None

    # --- starting ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; nothing is waited for but what others need to know."""
        self._keeper = Keeper(self.mark)
        self._start_prefect()
        self._start_mlflow()
        self._start_worker()
        self._start_gateway()

    def _port(self, service: str, wanted: int, host: str = LOCAL) -> int:
        port = choose_port(host, wanted)
        if wanted not in (0, port):
            self.say(f"port {wanted} is taken: {service} listens on {port}")
        return port

    def _start_prefect(self) -> None:
        if self.settings.prefect_api_url is not None:
            ask_foreign(self.settings.prefect_api_url, self.settings.server_timeout)
            self.addresses["prefect"] = prefect_address(self.settings.prefect_api_url)
            return
        self._wait_for_runs()
        place_database(self.settings)
        self._server = EmbeddedServer(self.settings, self._port("Prefect", self.ports.prefect))
        use_prefect_server(self._server.url)
        self._parts.append(Watched(PrefectServer(self._server)))
        self.addresses["prefect"] = prefect_address(self._server.url, self._server.pid)

    def _wait_for_runs(self) -> None:
        """Wait until no run has a Prefect server of its own in this home: there is one a database."""
        said = False
        with FileLock(self.home.prefect / SERVER_LOCK) as lock:
            while lock.holder() is not None:
                if not said and read_address(self.home.prefect, lock) is not None:
                    self.say("a run in this home has a Prefect server of its own; waiting for it to end")
                    said = True
                time.sleep(POLL_SECONDS)

    def _start_mlflow(self) -> None:
        uri = self.settings.mlflow_uri
        if uri is not None and uri.startswith(("http://", "https://")):
            if not answers(uri, self.settings.mlflow_timeout):
                raise SettingsError("E7830", f"the MLflow server {uri} does not answer", TODO_MLFLOW)
            self.addresses["mlflow"] = Address(uri, f"{uri}/health")
            return
        if uri is None:
            from flows.templates import mlflow_template
            from registry.connection import place_embedded

            place_embedded(self.home, mlflow_template())
        port = self._port("MLflow", self.ports.mlflow)
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", LOCAL, "--port", str(port), "--workers", "1",
            "--backend-store-uri", self.settings.tracking_uri, "--artifacts-destination", str(self.home.artifacts),
        ]  # fmt: skip
        self._run("mlflow", command, Address(f"http://{LOCAL}:{port}", f"http://{LOCAL}:{port}/health"))

    def _start_worker(self) -> None:
        environment = service_environment(self.mark)
        since = [str(self._server.since)] if self._server and self._server.started_here else []
        self._deploying = spawn(
            [sys.executable, "-m", "flows.worker", "deploy", *since], environment, CHECKOUT, self._log("deploy")
        )
        port = choose_port(LOCAL, 0)
        name = f"{self.home.root.parent.name} {self.home.root.name} on {socket.gethostname()}"
        command = [sys.executable, "-m", "flows.worker", "work", name]
        own = {"PREFECT_WORKER_WEBSERVER_HOST": LOCAL, "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
        self._run("worker", command, Address("", f"http://{LOCAL}:{port}/health"), **own)
        pool = f"{self.addresses['prefect'].url}/work-pools/work-pool/ratchet"
        self.addresses["worker"] = self.addresses["worker"]._replace(url=pool)

    def _start_gateway(self) -> None:
        if self.settings.gateway_url is not None:
            self.addresses["gateway"] = gateway_address(self.settings.gateway_url)
            return
        if self.ports.gateway is None or importlib.util.find_spec("flows.commands.gateway") is None:
            return
        if self.settings.mlflow_uri is not None:  # an empty database must not be migrated twice at once
            self._until_healthy([watched.part for watched in self._parts if watched.part.name == "mlflow"])
        host = self.settings.gateway_host
        port = self._port("the gateway", self.ports.gateway, host)
        command = [
            sys.executable, "-m", "flows.cli", "gateway", "--host", host, "--port", str(port),
            "--home", str(self.home.root),
        ]  # fmt: skip
        self._run("gateway", command, gateway_address(f"http://{host}:{port}"))

    def _run(self, name: str, command: list[str], address: Address, **own: str) -> None:
        environment = {**service_environment(self.mark), **own}
        process = Process(name, command, address.health, environment=environment, cwd=CHECKOUT, log=self._log(name))
        process.start()
        self._parts.append(Watched(process))
        self.addresses[name] = address._replace(pid=process.pid)

    def _log(self, name: str) -> Path:
        return self.home.logs / f"{name}.log"

    # --- until all is healthy ------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until everything is healthy and deployed."""
        self._until_healthy([watched.part for watched in self._parts])
        if self._server is not None:
            self._server.wait()
        self._wait_until_deployed()
        write_addresses(self.home, self.addresses)

    def _until_healthy(self, waiting: list[Part]) -> None:
        deadline = time.monotonic() + MIGRATING * self.settings.server_timeout
        while waiting:
            for part in list(waiting):
                if part.healthy():
                    waiting.remove(part)
                elif not part.alive() or time.monotonic() >= deadline:
                    how = "does not answer" if part.alive() else "ended"
                    raise SettingsError(
                        "E7812", f"{part.name} {how}: {last_words(part.log) or 'it said nothing'}", f"see {part.log}"
                    )
            time.sleep(POLL_SECONDS / 2)

    def _wait_until_deployed(self) -> None:
        assert self._deploying is not None
        if self._deploying.wait():
            log = self._log("deploy")
            raise SettingsError("E7813", f"prefect.yaml could not be deployed: {last_words(log)}", f"see {log}")

    # --- while it runs -------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Start again what dies, until told to stop."""
        while True:
            for watched in self._parts:
                if watched.look(self.say) and watched.part.name == "worker":
                    self._reap_runs()
            if self._keeper is not None and not self._keeper.alive:
                self._keeper.renew()
            time.sleep(POLL_SECONDS)

    def _reap_runs(self) -> None:
        """Mark what a worker that died was running as crashed, or its place among those allowed stays taken."""
        command = [sys.executable, "-m", "flows.worker", "reap", str(time.time())]
        spawn(command, service_environment(self.mark), CHECKOUT, self._log("deploy"))

    # --- stopping ------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop everything that was started here, Prefect's server last: the others have something to tell it."""
        forget_addresses(self.home)
        if killed := keeper.end(self.mark):
            self.say(f"{killed} processes did not end in time and were killed")
        if self._server is not None:
            self._server.close()
        if self._keeper is not None:
            self._keeper.close()
