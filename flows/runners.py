"""What runs the tasks of a flow: threads, processes, or a Dask cluster. Results never depend on it."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from registry.errors import SettingsError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from flows.settings import Settings


def task_runner(settings: Settings) -> TaskRunner[Any]:
    """Return the task runner that the settings ask for: `flow.with_options(task_runner=task_runner(settings))`.

    Raises:
        SettingsError: E7808 when the runner is not installed.
    """
    from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

    if settings.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=settings.workers)
    if settings.runner == "dask":
        return _dask(settings)
    return ThreadPoolTaskRunner(max_workers=settings.workers)


def _dask(settings: Settings) -> TaskRunner[Any]:
    missing = [name for name in ("prefect_dask", "distributed") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            "E7808",
            f"the runner dask needs {' and '.join(missing)}, not installed here",
            "install the extra: pip install 'ratchet-learn[dask]', or choose RATCHET_RUNNER=threads",
        )
    from prefect_dask import DaskTaskRunner

    runner: TaskRunner[Any]
    if settings.dask_scheduler is not None:
        runner = DaskTaskRunner(address=settings.dask_scheduler)
        return runner
    cluster = {
        "n_workers": settings.workers,
        "threads_per_worker": 1,
        "dashboard_address": None,  # a dashboard costs seconds and opens a port
        "silence_logs": logging.ERROR,
    }
    runner = DaskTaskRunner(cluster_kwargs=cluster)
    return runner
