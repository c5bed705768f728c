"""Where the services are: written down by `ratchet up`, read by whoever asks how they are."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from registry.files import write_whole
from registry.home import Home, now

STATE, ALONE = "up.json", "gateway.json"
"""Where `ratchet up` writes what it runs, and a gateway where it is itself."""


class Address(NamedTuple):
    """A service as people find it."""

    url: str
    health: str
    """What answers a GET while it is well."""
    pid: int | None = None
    """Its process; None where it runs elsewhere."""


def prefect_address(api_url: str, pid: int | None = None) -> Address:
    """Return where people find the Prefect server of this API."""
    return Address(api_url.removesuffix("/api"), f"{api_url}/health", pid)


def gateway_address(url: str) -> Address:
    """Return where the gateway is found, and asked."""
    return Address(url, f"{url}/healthz")


def write_addresses(home: Home, addresses: dict[str, Address], file: str = STATE) -> None:
    """Write down that this process serves a home, and where."""
    services = {name: address._asdict() for name, address in addresses.items()}
    state = {"pid": os.getpid(), "since": now(), "services": services}
    write_whole(home.root / file, json.dumps(state, indent=1).encode())


def forget_addresses(home: Home, file: str = STATE) -> None:
    """Take back what was written down."""
    (home.root / file).unlink(missing_ok=True)


def addresses_of(home: Home, file: str = STATE) -> tuple[int, dict[str, Address]] | None:
    """Return the process that serves a home, `ratchet up` or a gateway, and where; None where none runs."""
    try:
        state = json.loads((home.root / file).read_text())
        os.kill(state["pid"], 0)
        return state["pid"], {name: Address(**each) for name, each in state["services"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mlflow_of(home: Home, uri: str | None) -> str | None:
    """Return the address of MLflow's server: the one that the settings name, else the one that `ratchet up` runs."""
    if uri is not None and uri.startswith(("http://", "https://")):
        return uri
    running = addresses_of(home)
    return running[1]["mlflow"].url if running is not None and "mlflow" in running[1] else None
