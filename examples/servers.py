"""What `week.py` sees of a running Ratchet: its addresses, its commands, its deployments. All from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

UP_SECONDS = 120.0
RUN_SECONDS = 240.0
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Ratchet:
    """One home, and `ratchet up` on it."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.environment = home, {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home / "logs" / "up.log"

    # --- the services ------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start `ratchet up` and wait until all four services answer."""
        command = [sys.executable, "-m", "flows.cli", "up", "--home", str(self.home)]
        command += ["--prefect-port", "0", "--mlflow-port", "0", "--gateway-port", "0"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + UP_SECONDS
        while not self.healthy():
            said = self.log.read_text(errors="replace")[-2000:]
            assert self.process.poll() is None, f"`ratchet up` ended: {said}"
            assert time.monotonic() < deadline, f"`ratchet up` is not healthy: {said}"
            time.sleep(0.2)

    def healthy(self) -> bool:
        """Return whether all services of this `ratchet up` say that they are ready."""
        found = self.services()
        if self.process is None or found.get("pid") != self.process.pid:
            return False
        try:
            return all(httpx.get(each["health"], timeout=5).is_success for each in found["services"].values())
        except httpx.TransportError:
            return False

    def services(self) -> dict[str, Any]:
        """Return what `ratchet up` wrote about itself."""
        try:
            return dict(json.loads((self.home / "up.json").read_text()))
        except (OSError, ValueError):
            return {}

    def address(self, service: str) -> str:
        """Return where a service listens now; it may have moved since it was asked last."""
        return str(self.services()["services"][service]["url"])

    def down(self) -> None:
        """Stop everything as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    # --- the commands ------------------------------------------------------------------------------------------------

    def command(self, *arguments: object) -> dict[str, Any]:
        """Run `ratchet ... --json` and return what it prints."""
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--home", str(self.home), "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=RUN_SECONDS)
        assert done.returncode == 0, f"ratchet {' '.join(map(str, arguments))}: {done.stderr[-2000:]}"
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    # --- what is recorded ---------------------------------------------------------------------------------------------

    def records_url(self) -> str:
        """Return the address of the records and the event log."""
        return self.environment.get("RATCHET_DATABASE_URL") or f"sqlite:///{self.home / 'ratchet.db'}"

    def registry(self) -> Any:
        """Return the registered models, for somebody who only looks."""
        from registry.connection import connect
        from registry.home import Home
        from registry.models import ModelRegistry

        return ModelRegistry(connect(Home(self.home), self.environment.get("MLFLOW_TRACKING_URI")))

    # --- the deployments ---------------------------------------------------------------------------------------------

    def run(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment as its schedule would, wait until it ends, and return the name of its last state.

        A run that is lost with its server or its worker is started again, as the next hour would do it.
        """
        while True:
            state = self._run(deployment, parameters)
            if state not in {"CRASHED", "LOST"}:
                return state
            print(f"        (the run of {deployment} was lost; the next one takes it up)")

    def _run(self, deployment: str, parameters: dict[str, Any]) -> str:
        deadline = time.monotonic() + RUN_SECONDS

        def ask(method: str, path: str, **body: Any) -> dict[str, Any]:
            def send() -> httpx.Response:
                return httpx.request(method, f"{self.address('prefect')}/api{path}", **body)

            return self.retrying(send, deadline)

        found = ask("GET", f"/deployments/name/{deployment}/{deployment}")
        run = ask("POST", f"/deployments/{found['id']}/create_flow_run", json={"parameters": parameters})
        while time.monotonic() < deadline:
            state = ask("GET", f"/flow_runs/{run['id']}")["state"]
            if state["type"] in FINAL:
                if state["type"] == "FAILED":
                    print(f"        ({deployment} failed: {state['message']})")
                return str(state["type"])
            time.sleep(0.3)
        return "LOST"

    def retrying(self, request: Callable[[], httpx.Response], deadline: float) -> dict[str, Any]:
        """Ask until somebody answers: a service that was killed is back in some seconds."""
        while True:
            try:
                answer = request()
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return dict(answer.json())
            except (httpx.TransportError, KeyError):
                answer = None
            assert time.monotonic() < deadline, f"no answer: {answer.text[:300] if answer is not None else 'gone'}"
            time.sleep(0.2)
