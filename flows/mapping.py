"""Work on many pieces as mapped Prefect tasks: on threads, processes or a Dask cluster, as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import flow, task, unmapped
from prefect.cache_policies import NO_CACHE

from flows.runners import task_runner

if TYPE_CHECKING:
    from flows.progress import Progress
    from flows.settings import Settings

T = TypeVar("T")
R = TypeVar("R")


@task(task_run_name="{name} {position} of {total}", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=1)
def piece(name: str, work: Callable[[], Any], position: int, total: int) -> Any:
    """Do one piece of a step. Pieces only write files of their own, whole, so doing one again is safe."""
    return work()


def mapper(settings: Settings, progress: Progress) -> Callable[[str, Callable[[T], R], Sequence[T]], list[R]]:
    """Return a map that runs each piece as a Prefect task on the runner that the settings name.

    Args:
        settings: Names the runner. Threads run in the flow itself; the other runners in a flow of their own, because
            only the pieces of data are worth sending to another process.
        progress: Is told how many pieces there are, and of each that is done.
    """

    def mapped(name: str, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        def run() -> list[R]:
            total = len(items)
            progress.expect(total)
            work = [partial(function, item) for item in items]  # opaque: Prefect looks for futures inside anything else
            futures = piece.map(unmapped(name), work, list(range(1, total + 1)), unmapped(total))
            results = []
            for future in futures:
                results.append(future.result())
                progress.advance()
            return results

        if settings.runner == "threads" or not items:
            return run()
        apart = flow(name=name, task_runner=task_runner(settings), validate_parameters=False)(run)
        return apart()

    return mapped
