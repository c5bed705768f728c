"""Ask the Prefect server what is deployed, run `learn/learn` on events, and print what became of it as JSON."""

from __future__ import annotations

import json
import sys

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment


def main(events: str) -> None:
    parameters = {"events": [events], "model": "deployed"}
    run = run_deployment("learn/learn", parameters=parameters, timeout=120, poll_interval=0.5, as_subflow=False)
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
        flows = {flow.id: flow.name for flow in client.read_flows()}
    names = {deployment.id: f"{flows[deployment.flow_id]}/{deployment.name}" for deployment in found}
    answer = {
        "deployments": sorted(names.values()),
        "schedules": {names[item.id]: sorted(schedule.active for schedule in item.schedules) for item in found},
        "state": run.state.type.value,
        "message": run.state.message or "",
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
