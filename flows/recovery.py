"""What a killed process left behind in Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

MESSAGE = "The process that ran this ended without saying so."


def end_lost_run(flow_run_id: str) -> bool:
    """Mark a run whose process is known to be dead as Crashed, with its tasks; False where it had ended."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
        except (ObjectNotFound, ValueError):  # of another server, or half written
            return False
        if run.state is not None and run.state.is_final():
            return False
        _crash(client, run)
    return True


def _crash(client: SyncPrefectClient, run: FlowRun) -> None:
    from prefect.states import Crashed

    for task_run in client.read_task_runs(flow_run_filter=_only(run)):
        if task_run.state is not None and not task_run.state.is_final():
            client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
    client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)


def reap_lost_runs(since: float, *, deployed: bool = False) -> int:
    """Mark runs that cannot be running as Crashed, with their tasks, and return how many there were.

    Only right for a server whose clients have all gone: the embedded one, when it has just been started. Of those of
    deployments alone, right when their only worker has gone.

    Args:
        since: When the server was started, in seconds since 1970; nothing that went on before it goes on now.
        deployed: Only runs of deployments.
    """
    from prefect.client.orchestration import get_client

    reaped = 0
    with get_client(sync_client=True) as client:
        for run in _unfinished(client, since):
            if deployed and run.deployment_id is None:
                continue
            _crash(client, run)
            reaped += 1
    return reaped


def _unfinished(client: SyncPrefectClient, since: float) -> list[FlowRun]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    types = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    wanted = filters.FlowRunFilter(state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=types)))
    before = datetime.fromtimestamp(since, UTC)
    found = client.read_flow_runs(flow_run_filter=wanted)
    return [run for run in found if run.state is not None and run.state.timestamp < before]


def _only(run: FlowRun) -> Any:
    from prefect.client.schemas import filters

    return filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
