"""The gateway as a process: one socket, one event loop, and an end that finishes what it began."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn
from threadpoolctl import threadpool_limits

from gateway.app import create_app
from gateway.auth import load_tokens
from gateway.config import GatewayConfig
from registry.errors import SettingsError
from registry.home import Home

BACKLOG = 1024
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep an idle connection, so that it is they who close it."""
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while others wait: the loop must not wait 5 ms for each model."""
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """A server that ends with 0 when it was told to end; uvicorn raises the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(config: GatewayConfig, started: Callable[[str, bool], None] = lambda address, open_to_all: None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, and what waits is written.

    Args:
        config: What to serve.
        started: Called with the address, and whether everybody on this machine may do everything, before the first
            request is taken.

    Raises:
        SettingsError: E7870, E7871 (see `create_app`), E7872 the address cannot be listened on, E782x the home cannot
            be used.
    """
    app = create_app(config)
    Home(config.home).create()
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            loop="asyncio",
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=config.stop_seconds,
        )
    )
    with _listening(config) as listener, threadpool_limits(limits=1, user_api="blas"):
        switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            started(_address(listener), not load_tokens(config.tokens, config.host))
            server.run(sockets=[listener])
        finally:
            sys.setswitchinterval(switch)


@contextlib.contextmanager
def _listening(config: GatewayConfig) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host.strip("[]"), config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            "E7872",
            f"the gateway cannot listen on {config.host} port {config.port}: {error.strerror or error}",
            "stop what listens there, or choose another with --port",
        ) from None
    with listener:
        # asyncio sets it only for sockets that name their protocol; without it an answer waits 40 ms for an ack
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
