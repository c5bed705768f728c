"""The Prefect side of extraction. All else in this folder are plain functions."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.extraction.extract import Extracted, extract
from tasks.extraction.inputs import Partition
from tasks.extraction.policy import ExtractionPolicy


@task(
    task_run_name="read events, partition {partition.index}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=1,
)
def read_events(partition: Partition, policy: ExtractionPolicy) -> Extracted:
    """Read one partition. Reading changes nothing, so it is tried again where a file could not be read."""
    return extract(partition, policy)
