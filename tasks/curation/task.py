"""The Prefect side of curation. All else in this folder are plain functions.

Making a whole dataset maps the pieces of `flows.dataset` instead; these are its steps one by one, on a table in memory.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.curation.deduplicate import Deduplicated, deduplicate
from tasks.curation.groups import Groups, group
from tasks.curation.kernels import I64, U64
from tasks.curation.policy import CurationPolicy
from tasks.curation.redact import Redacted, redact
from tasks.curation.split import split


@task(task_run_name="redact {examples.num_rows} examples", cache_policy=NO_CACHE, persist_result=False)
def redact_examples(examples: pa.Table, policy: CurationPolicy) -> Redacted:
    """Replace personal data and secrets; see `tasks.curation.redact.redact`."""
    return redact(examples, policy.redact)


@task(task_run_name="deduplicate {composite.size} examples", cache_policy=NO_CACHE, persist_result=False)
def deduplicate_examples(
    messages: pa.ChunkedArray, composite: NDArray[np.float64], policy: CurationPolicy
) -> Deduplicated:
    """Find exact and near-duplicates; see `tasks.curation.deduplicate.deduplicate`."""
    return deduplicate(messages, composite, policy)


@task(task_run_name="group {side.size} examples", cache_policy=NO_CACHE, persist_result=False)
def group_examples(keys: list[U64], side: NDArray[np.int8]) -> Groups:
    """Find what must not straddle splits; see `tasks.curation.groups.group`."""
    return group(keys, side)


@task(task_run_name="split {label.size} examples", cache_policy=NO_CACHE, persist_result=False)
def split_examples(
    label: I64, side: NDArray[np.int8], strata: I64, tie: U64, policy: CurationPolicy
) -> NDArray[np.int8]:
    """Split groups into train, validation and test; see `tasks.curation.split.split`."""
    return split(label, side, strata, policy.shares, tie)
