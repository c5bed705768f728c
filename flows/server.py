"""The embedded Prefect server: one process a home, shared by every run in it, gone when the last run is.

`python -m flows.server FOLDER` serves the database in FOLDER on a free loopback port, with what a run needs;
`python -m flows.server FOLDER PORT` is the whole of Prefect's server, for `ratchet up`: its pages, its scheduler and
all of its other services. Its life hangs on two locks that the kernel manages, so that no crash of anybody can leave an
orphan or a stale sign of life:

- `server.lock` is held by the server alone while it lives. Who starts a second one sees it end at once.
- `clients.lock` is shared by every process that needs the server. The server waits to have it alone, which it gets the
  moment the last client closes it or dies. Then it writes down what is still queued, and ends.

Nothing but the standard library is imported before the address is known, so that clients need not wait for it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.locks import FileLock

if TYPE_CHECKING:
    import uvicorn

SERVER_LOCK, CLIENTS_LOCK, ADDRESS = "server.lock", "clients.lock", "server.address"
DRAIN_SECONDS = 20.0
"""How long a server without clients waits for its queues to empty before it stops all the same."""


class Address(NamedTuple):
    """Where the server of a folder listens."""

    pid: int
    port: int
    whole: bool
    """Whether it has Prefect's pages and scheduler, or only what a run needs."""

    @property
    def url(self) -> str:
        """The address of the API, as Prefect wants it."""
        return f"http://127.0.0.1:{self.port}/api"


def read_address(folder: Path, lock: FileLock) -> Address | None:
    """Return where the live server of `folder` listens; None if there is none, whatever an old file says."""
    holder = lock.holder()
    if holder is None:
        return None
    try:
        pid, port, kind = (folder / ADDRESS).read_text().split()
    except (OSError, ValueError):
        return None
    return Address(int(pid), int(port), kind == "whole") if int(pid) == holder.pid else None


def _announce(folder: Path, port: int, whole: bool) -> None:
    aside = folder / f"{ADDRESS}.{os.getpid()}"
    aside.write_text(f"{os.getpid()} {port} {'whole' if whole else 'plain'}\n")
    aside.replace(folder / ADDRESS)


class Server:
    """A Prefect server that stops when it is alone."""

    def __init__(self, listener: socket.socket, clients: FileLock, whole: bool = False) -> None:
        self._listener, self._clients, self._whole = listener, clients, whole
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uvicorn: uvicorn.Server | None = None
        threading.Thread(target=self._stop_when_alone, daemon=True).start()

    def _stop_when_alone(self) -> None:
        self._clients.take()
        if self._loop is None or self._uvicorn is None:
            os._exit(0)  # nobody waited until it was up, so nothing was recorded
        asyncio.run_coroutine_threadsafe(self._drain_and_stop(self._uvicorn), self._loop)

    async def _drain_and_stop(self, server: uvicorn.Server) -> None:
        from prefect.server.utilities.messaging import memory

        def settled() -> bool:
            queued = any(
                subscription._queue.qsize() or subscription._retry.qsize()
                for topic in memory.Topic._topics.values()
                for subscription in topic._subscriptions
            )
            return not queued and all(seen["consumed"] >= seen["published"] for seen in memory.METRICS.values())

        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            # A browser that shows Prefect's pages stays connected for as long as it is open.
            connected = server.server_state.connections and not self._whole
            if not connected and not server.server_state.tasks and settled():
                break
            await asyncio.sleep(0.01)
        server.should_exit = True  # the services write what they hold when they are stopped

    async def serve(self, app: Any) -> None:
        """Serve until nobody needs it any more."""
        import uvicorn

        config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=5, access_log=False)
        self._loop = asyncio.get_running_loop()
        self._uvicorn = uvicorn.Server(config)
        await self._uvicorn.serve(sockets=[self._listener])


def main(folder: Path, port: int | None = None) -> int:
    """Serve the Prefect database in `folder`; return at once if somebody does already.

    Args:
        folder: Where the locks and the database are.
        port: Be the whole server, on this port; without one, what a run needs, on a port that is free.
    """
    lock = FileLock(folder / SERVER_LOCK)
    if not lock.try_take():
        return 0
    # The protocol must be named: only then does asyncio switch Nagle's delay off, 40 ms of every request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port or 0))
    listener.listen(128)
    whole = port is not None
    _announce(folder, listener.getsockname()[1], whole)
    server = Server(listener, FileLock(folder / CLIENTS_LOCK), whole)
    gc.disable()  # nothing made by these imports is ever garbage: a quarter of their time
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=not whole)
    gc.freeze()
    gc.enable()
    asyncio.run(server.serve(app))
    return 0


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    sys.stderr.flush()
    os._exit(status)  # all is written; taking the interpreter apart would cost the waiting client 0.3 s
