"""The Prefect task of validation: one run a stage, side by side."""

from __future__ import annotations

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import opaque

from registry.records import StageResult
from tasks.validation.examination import Examination, examine_stage, one_thread
from tasks.validation.verdict import STAGES


@task(name="validate", task_run_name="validate: {stage}", persist_result=False, cache_policy=NO_CACHE)
def examine(stage: str, examination: Examination) -> StageResult:
    """Run one stage of validation."""
    return examine_stage(stage, examination)


def examine_side_by_side(examination: Examination) -> list[StageResult]:
    """Run the stages as mapped tasks and return their results in the order of the report.

    Latency waits for the others: they would share its processor, and a busy processor is not what it measures.
    """
    whole = unmapped(opaque(examination))  # thousands of messages, with no future among them for Prefect to look for
    side_by_side = [name for name in STAGES if name != "latency"]
    with one_thread():  # around all: the limit is the process's, and stages that end early must not lift it
        running: list[PrefectFuture[StageResult]] = list(examine.map(side_by_side, whole))
        last: list[PrefectFuture[StageResult]] = list(examine.map(["latency"], whole, wait_for=running))
        results: dict[str, StageResult] = {
            result.name: result for result in (future.result() for future in (*running, *last))
        }
    return [results[name] for name in STAGES]
