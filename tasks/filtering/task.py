"""The Prefect side of filtering. All else in this folder are plain functions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.filtering.decide import Decisions, decide
from tasks.filtering.policy import FilteringPolicy


@task(task_run_name="filter {quality.size} examples", cache_policy=NO_CACHE, persist_result=False)
def filter_examples(
    features: pa.Table,
    quality: NDArray[np.float64],
    confidence: NDArray[np.float64],
    flags: NDArray[np.uint32],
    policy: FilteringPolicy,
    seed: int,
) -> Decisions:
    """Decide examples; see `tasks.filtering.decide.decide`."""
    return decide(features, quality, confidence, flags, policy, seed)
