"""The worker of `ratchet up`, and what it works on: the pool and the deployments of prefect.yaml.

    python -m flows.worker deploy [SINCE]   make the pool and all deployments, or bring them up to date
    python -m flows.worker work NAME        take up their runs, a process each
    python -m flows.worker reap SINCE       mark runs of deployments that began before SINCE as crashed

It is Prefect's own process worker. Only the command of a run is named here: left to itself, Prefect starts a process
that imports Prefect to look up where the flow lies, and then another one that imports it again to run the flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import runpy
import shlex
import sys
import time
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows.embedded import answers
from flows.recovery import reap_lost_runs

POOL = "ratchet"
PROMOTIONS = "promotion"
DESCRIPTION = "Runs Ratchet's flows as processes, with the settings of the worker's environment."
RUN = shlex.join([sys.executable, "-m", "prefect.engine"])
SERVER_SECONDS = 180.0
"""How long the server may take until it answers; it is started at the same time."""
POLL_SECONDS = 0.05


class StraightAway(ProcessJobConfiguration):
    """What a run is started with. Its command is `RUN`, unless the pool or the deployment names another."""

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """Settle the command, then all the rest as ever."""
        self.command = self.command or RUN
        super().prepare_for_flow_run(*arguments, **named)


def wait_for_server() -> None:
    """Wait until the server answers; if it does not, what is asked of it next says so."""
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline and not answers(str(PREFECT_API_URL.value()), 1.0):
        time.sleep(POLL_SECONDS)


async def make_pool() -> None:
    """Make the pool, and its queue for promotions, which lets one run go on at a time; unless they are there."""
    template = ProcessWorker.get_default_base_job_template()
    wanted = WorkPoolCreate(name=POOL, type="process", description=DESCRIPTION, base_job_template=template)
    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(wanted)
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_queue(PROMOTIONS, concurrency_limit=1, work_pool_name=POOL)


async def work(name: str) -> None:
    """Work for the pool until told to stop."""
    await make_pool()
    worker = ProcessWorker(name=name, work_pool_name=POOL)
    worker.job_configuration = StraightAway
    with contextlib.suppress(asyncio.CancelledError):
        await worker.start(with_healthcheck=True)


def deploy() -> None:
    """Do what `prefect deploy --all` does in this folder."""
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def main(arguments: list[str]) -> int:
    """Deploy, or work."""
    wait_for_server()
    match arguments:
        case ["deploy", *since]:
            for moment in since:
                reap_lost_runs(float(moment))
            asyncio.run(make_pool())
            deploy()
        case ["reap", moment]:
            reap_lost_runs(float(moment), deployed=True)
        case ["work", name]:
            setup_signal_handlers_worker(os.getpid(), "the worker", print)  # SIGTERM: stop; once more: at once
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(work(name))
        case _:
            sys.stderr.write("usage: python -m flows.worker deploy [SINCE] | work NAME | reap SINCE\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
