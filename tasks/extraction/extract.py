"""From a partition of events to columns of examples and feedback, and the lines that were not events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.extraction import scores
from tasks.extraction.columns import EXAMPLES, FEEDBACK, float_column
from tasks.extraction.decode import Decoded, decode_block
from tasks.extraction.event import FEEDBACK as FEEDBACK_TYPE
from tasks.extraction.event import Event
from tasks.extraction.examples import examples_batch
from tasks.extraction.inputs import Partition
from tasks.extraction.keys import event_keys, text_keys
from tasks.extraction.lines import read_blocks
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Reject


class LineCounts(NamedTuple):
    """What became of the lines of a partition, before duplicates are known."""

    read: int
    """Lines that are not blank."""
    rejected: int
    ignored: int
    by_reason: dict[str, int]
    """Rejects by code and ignored events by type."""
    notes: dict[str, int]
    """What was odd in events that were taken, such as a score out of range."""


class Extracted(NamedTuple):
    """What a partition, or a part of one, holds."""

    partition: int
    examples: pa.Table
    """Schema `tasks.extraction.columns.EXAMPLES`."""
    feedback: pa.Table
    """Schema `tasks.extraction.columns.FEEDBACK`."""
    rejects: list[Reject]
    counts: LineCounts
    lines: tuple[tuple[str, int], ...]
    """File and number of lines (blank ones too) of every piece, in their order; adds up to line numbers."""


def extract(partition: Partition, policy: ExtractionPolicy) -> Extracted:
    """Read a whole partition at once. A compressed file is one partition: for a large one use `extract_blocks`."""
    return merged(list(extract_blocks(partition, policy)), partition.index)


def extract_blocks(partition: Partition, policy: ExtractionPolicy) -> Iterator[Extracted]:
    """Yield a partition in parts of about `policy.partition_bytes` of text, at least one; memory is bounded by a part."""
    part = _Part(partition)
    for block in read_blocks(partition, max(policy.max_event_bytes, policy.max_raw_bytes)):
        name = partition.pieces[block.piece].name
        part.add(block.piece, block.first_line, block.data.count(b"\n"), decode_block(block, name, policy))
        part.bytes += len(block.data)
        if part.bytes >= policy.partition_bytes:
            yield part.extracted()
            part = _Part(partition)
    if part.bytes or not partition.pieces:
        yield part.extracted()


class _Part:
    """Collects decoded blocks."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.bytes = 0
        self.examples: list[pa.RecordBatch] = []
        self.feedback: list[pa.RecordBatch] = []
        self.rejects: list[Reject] = []
        self.ignored: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.read = 0
        self.lines = [0] * len(partition.pieces)

    def add(self, piece: int, newlines: int, decoded: Decoded) -> None:
        """Take what one block holds."""
