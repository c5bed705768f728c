"""A run of a toy flow in a process of its own: `toy_run.py HOME TASKS [SECONDS [FILE]]`.

The flow runs TASKS tasks of SECONDS each. FILE, if named, is written once the tasks are under way. Prints one JSON
object: the server's process and address, whether this process started it, and the sum that the tasks made.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from flows.engine import engine
from flows.runners import task_runner
from flows.settings import load_settings


def main(home: str, tasks: str, seconds: str = "0", started: str | None = None) -> None:
    settings = load_settings(home=Path(home))
    with engine(settings) as live:
        from prefect import flow, task

        @task(task_run_name="add-{number}")
        def add(number: int) -> int:
            if started is not None:
                Path(started).touch()
            time.sleep(float(seconds))
            return number + 1

        @flow(name="toy", task_runner=task_runner(settings))
        def toy(count: int) -> int:
            return sum(future.result() for future in add.map(range(count)))

        live.ready()
        total = toy(int(tasks))
        server = live.server_pid
    sys.stdout.write(json.dumps({"server": server, "url": live.api_url, "total": total}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
