"""From a partition of events to columns of examples and feedback, and the lines that were not events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from tasks.extraction.columns import EXAMPLES, FEEDBACK
from tasks.extraction.decode import Decoder
from tasks.extraction.event import FEEDBACK as FEEDBACK_TYPE
from tasks.extraction.event import NotAnEventError
from tasks.extraction.inputs import Partition
from tasks.extraction.lines import Block, read_blocks
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Fault, Reject
from tasks.extraction.rows import FeedbackRows, TraceRows

MOST_SOURCES = 4_096
"""Sources of which it is kept in memory whether they may teach."""


class LineCounts(NamedTuple):
    """What became of the lines of a partition, before duplicates are known."""

    read: int
    """Lines that are not blank."""
    rejected: int
    ignored: int
    by_reason: Counter[str]
    """Rejects by code, ignored events by type."""
    notes: Counter[str]
    """What was odd in events that were taken all the same, such as a score out of range."""
    barred: Counter[str]
    """Events of sources that may not teach, by source; they are among the ignored ones, and nothing of them is kept."""


class PieceLines(NamedTuple):
    """How many lines (blank ones too) were read of a piece of a file; adds up to line numbers."""

    name: str
    start: int
    lines: int


class Extracted(NamedTuple):
    """What a partition, or a part of one, holds."""

    partition: int
    examples: pa.Table
    """Schema `tasks.extraction.columns.EXAMPLES`."""
    feedback: pa.Table
    """Schema `tasks.extraction.columns.FEEDBACK`."""
    rejects: list[Reject]
    counts: LineCounts
    lines: tuple[PieceLines, ...]


def extract(partition: Partition, policy: ExtractionPolicy) -> Extracted:
    """Read a whole partition at once. A compressed file is one partition: for a large one use `extract_blocks`.

    Raises:
        ExtractionError: E7002 if a file cannot be read to its end.
    """
    return merged(list(extract_blocks(partition, policy)))


def extract_blocks(
    partition: Partition, policy: ExtractionPolicy, bars: Callable[[str], bool] | None = None
) -> Iterator[Extracted]:
    """Yield a partition in parts of about `policy.partition_bytes` of text, at least one; a part bounds the memory.

    Args:
        partition: What is read.
        policy: How.
        bars: Tells whether a source may not teach; None where all may.
    """
    part = _Part(partition, policy, bars)
    for block in read_blocks(partition, max(policy.max_event_bytes, policy.max_raw_bytes)):
        if part.bytes >= policy.partition_bytes:
            yield part.extracted()
            part = _Part(partition, policy, bars)
        part.add(block)
    yield part.extracted()


def merged(parts: Sequence[Extracted]) -> Extracted:
    """Return the parts of one partition as one."""
    if len(parts) == 1:
        return parts[0]
    counts = [part.counts for part in parts]
    return Extracted(
        parts[0].partition,
        _joined([part.examples for part in parts]),
        _joined([part.feedback for part in parts]),
        [reject for part in parts for reject in part.rejects],
        LineCounts(
            sum(count.read for count in counts),
            sum(count.rejected for count in counts),
            sum(count.ignored for count in counts),
            sum((count.by_reason for count in counts), Counter()),
            sum((count.notes for count in counts), Counter()),
            sum((count.barred for count in counts), Counter()),
        ),
        tuple(lines for part in parts for lines in part.lines),
    )


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join the parts of a partition; their positions go on where the part before ended."""
    shift, shifted = 0, []
    for table in tables:
        positions = table["position"].to_numpy() + shift
        shifted.append(table.set_column(0, "position", pa.array(positions, pa.uint32())))
        shift += 1 << 24
    return pa.concat_tables(shifted)


class _Part:
    """Collects what the blocks of a part hold."""

    def __init__(
        self, partition: Partition, policy: ExtractionPolicy, bars: Callable[[str], bool] | None = None
    ) -> None:
        self.partition, self.policy = partition, policy
        self.bars = None if bars is None else lru_cache(MOST_SOURCES)(bars)
        self.bytes = self.read = self.position = 0
        self.examples: list[pa.RecordBatch] = []
        self.feedback: list[pa.RecordBatch] = []
        self.rejects: list[Reject] = []
        self.ignored: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.barred: Counter[str] = Counter()
        self.lines: Counter[int] = Counter()

    def add(self, block: Block) -> None:
        """Take one block. Times are read together at its end; a line whose time is none is then refused."""
        decoder, traces, feedback = self._rows(block, {})
        times, feedback_times = traces.times(), feedback.times()
        if times.unreadable or feedback_times.unreadable:
            bad = [traces.traces[row][:2] for row in times.unreadable]
            bad += [(feedback.places[row], feedback.events[row].time) for row in feedback_times.unreadable]
            refused = {place: Fault("E7031", f"time is {str(time)[:40]!r}") for place, time in bad}
            decoder, traces, feedback = self._rows(block, refused)
            times, feedback_times = traces.times(), feedback.times()
        self.examples.append(traces.batch(self.position, times.column))
        self.feedback.append(feedback.batch(self.position, feedback_times.column, traces.notes))
        rejects = decoder.rejects(self.partition.pieces[block.piece].name)
        self.rejects += rejects
        self.ignored += decoder.ignored
        self.barred += decoder.barred
        self.notes += traces.notes
        self.notes["time_without_zone"] += times.zoneless + feedback_times.zoneless
        self.read += len(traces.traces) + len(feedback.events) + decoder.ignored.total() + len(rejects)
        self.read += decoder.barred.total()
        self.bytes += len(block.data)
        self.position += block.lines
        self.lines[block.piece] += block.lines

    def _rows(self, block: Block, refused: dict[int, Fault]) -> tuple[Decoder, TraceRows, FeedbackRows]:
        decoder, traces, feedback = Decoder(block, self.policy, refused), TraceRows(), FeedbackRows()
        for place, event in decoder.events():
            if self.bars is not None and self.bars(event.source):
                decoder.bar(event.source)
                continue
            if event.type == FEEDBACK_TYPE:
                feedback.add(place, event)
                continue
            try:
                traces.add(place, event)
            except NotAnEventError as error:
                decoder.faults[place] = error.fault
        return decoder, traces, feedback

    def extracted(self) -> Extracted:
        """Return the part."""
        codes, barred = Counter(reject.code for reject in self.rejects), self.barred.total()
        pieces = self.partition.pieces
        return Extracted(
            self.partition.index,
            pa.Table.from_batches(self.examples, EXAMPLES),
            pa.Table.from_batches(self.feedback, FEEDBACK),
            self.rejects,
            LineCounts(
                self.read,
                len(self.rejects),
                self.ignored.total() + barred,
                codes + self.ignored + Counter(blocked_source=barred),
                +self.notes,
                self.barred,
            ),
            tuple(PieceLines(pieces[index].name, pieces[index].start, count) for index, count in self.lines.items()),
        )
