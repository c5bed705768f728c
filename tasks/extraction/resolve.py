"""The global step of the extraction: duplicates, feedback and scores over all partitions, on numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.records import EventCounts, Reason
from tasks.extraction.brigading import Burst, Votes, brigaded, counted_once
from tasks.extraction.extract import Extracted, LineCounts, PieceLines
from tasks.extraction.keys import Keys, among
from tasks.extraction.rejects import Reject

Floats = NDArray[np.float64]
Flags = NDArray[np.uint32]
Mask = NDArray[np.bool_]

_NO_KEYS: Keys = np.zeros(0, dtype=np.uint64)


class Numbers(NamedTuple):
    """All that the global step needs of one part: 52 bytes a trace, 52 a feedback event, and no text."""

    position: NDArray[np.uint32]
    event_key: Keys
    content_key: Keys
    trace_key: Keys
    work_key: Keys
    flags: Flags
    quality: Floats
    """NaN where missing."""
    feedback_position: NDArray[np.uint32]
    feedback_event_key: Keys
    feedback_content_key: Keys
    feedback_trace_key: Keys
    feedback_user_key: Keys
    feedback_time: NDArray[np.int64]
    feedback_score: Floats
    """NaN where missing."""
    counts: LineCounts


class Resolution(NamedTuple):
    """What the examples of all parts are once they have met. Arrays have a row an example, part after part."""

    keep: Mask
    """False for a duplicate of an event of this run or of one learned before."""
    quality: Floats
    """Mean of all scores of the trace, 0 to 100, NaN where there is none."""
    flags: Flags
    """`registry.records.Reason` bits."""
    starts: NDArray[np.int64]
    """Where each part's rows start, and the end: part i has the rows from starts[i] up to starts[i + 1]."""
    events: EventCounts


def numbers(extracted: Extracted) -> Numbers:
    """Return the numbers of a part that `resolve` needs."""
    examples, feedback = extracted.examples, extracted.feedback
    return Numbers(
        _array(examples, "position"),
        _array(examples, "event_key"),
        _array(examples, "content_key"),
        _array(examples, "trace_key"),
        _array(examples, "work_key"),
        _array(examples, "flags"),
        _array(examples, "quality"),
        _array(feedback, "position"),
        _array(feedback, "event_key"),
        _array(feedback, "content_key"),
        _array(feedback, "trace_key"),
        _array(feedback, "user_key"),
        _array(feedback, "time"),
        _array(feedback, "score"),
        extracted.counts,
    )


def _array(table: pa.Table, name: str) -> NDArray[Any]:
    """Return a numeric column as an array that owns its memory, NaN for null."""
    return np.array(table[name].to_numpy(zero_copy_only=False))


def resolve(
    parts: Iterable[Numbers],
    score_spread: float = 30.0,
    known: Keys | None = None,
    known_traces: Keys | None = None,
    burst: Burst | None = None,
) -> Resolution:
    """Find duplicates and join scores over all parts, whatever the number of workers that made them.

    The first event of an identity stays, in the order of parts and lines; a later one is a duplicate, whatever its
    content and whether it is a trace or feedback. A trace's quality is the mean of what its own events and all
    feedback say. If any event of a trace says that it failed, no event of it teaches. Several agents may share a
    trace (a writer and its judge): an event's own score and failure hold for its agent alone.

    Args:
        parts: Numbers of every part, in the order of the partitions. Of a generator's, none is kept longer than needed.
        score_spread: Scores of one trace further apart than this many points are conflicting.
        known: Keys of the events behind the dataset that this one goes on from; they count as duplicates.
        known_traces: Keys of the traces behind it; feedback for one of them comes late, not for an unknown trace.
        burst: What a burst of feedback from a few users is, which counts as one vote a trace and sends its examples to
            review; None not to look for one.
    """
    all_parts = _Columns(list(parts))
    traces = len(all_parts.flags)
    first, conflicting = _first_of_each(all_parts)
    learned = among(all_parts.event_key, known if known is not None else _NO_KEYS)
    keep = first & ~learned
    voted = _capped(all_parts, keep, burst)
    joined = _join(all_parts, keep)
    flags = all_parts.flags | _failed_flags(all_parts.work_key, all_parts.flags, keep[:traces])
    flags |= np.where(joined.spread > score_spread, np.uint32(Reason.CONFLICTING_SCORES), np.uint32(0))
    flags |= np.where(among(all_parts.trace_key[:traces], voted), np.uint32(Reason.FEEDBACK_BURST), np.uint32(0))
    reasons = _reasons(all_parts, keep, learned, first, conflicting, known_traces)
    unused = reasons["orphan_feedback"] + reasons["late_feedback"]
    reasons["feedback_burst"] = len(voted)
    events = EventCounts(
        read=sum(count.read for count in all_parts.counts),
        rejected=sum(count.rejected for count in all_parts.counts),
        duplicate=int((~keep).sum()),
        ignored=sum(count.ignored for count in all_parts.counts) + unused,
        by_reason=dict(sorted((+reasons).items())),
    )
    return Resolution(keep[:traces], joined.mean, flags, all_parts.starts, events)


class _Columns:
    """The parts' columns, one after the other: all traces, then all feedback."""

    def __init__(self, parts: Sequence[Numbers]) -> None:
        self.counts = [part.counts for part in parts]
        sizes = [len(part.flags) for part in parts]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.event_key: Keys = _all(parts, "event_key", "feedback_event_key", np.uint64)
        self.content_key: Keys = _all(parts, "content_key", "feedback_content_key", np.uint64)
        self.trace_key: Keys = _all(parts, "trace_key", "feedback_trace_key", np.uint64)
        self.work_key = np.concatenate([part.work_key for part in parts] or [np.zeros(0, np.uint64)])
        position = _all(parts, "position", "feedback_position", np.uint64)
        feedback_sizes = [len(part.feedback_score) for part in parts]
        part = np.concatenate([np.repeat(np.arange(len(parts)), size) for size in (sizes, feedback_sizes)])
        self.order = part.astype(np.uint64) << np.uint64(32) | position
        """Place of every event in the input."""
        self.flags: Flags = np.concatenate([part.flags for part in parts] or [np.zeros(0, np.uint32)])
        self.quality = np.concatenate([part.quality for part in parts] or [np.zeros(0)])
        self.score = np.concatenate([part.feedback_score for part in parts] or [np.zeros(0)])
        self.user_key = np.concatenate([part.feedback_user_key for part in parts] or [np.zeros(0, np.uint64)])
        self.time = np.concatenate([part.feedback_time for part in parts] or [np.zeros(0, np.int64)])


def _all(parts: Sequence[Numbers], traces: str, feedback: str, kind: type) -> NDArray[np.uint64]:
    columns = [getattr(part, name) for name in (traces, feedback) for part in parts]
    return np.concatenate(columns or [np.zeros(0)]).astype(kind, copy=False)


def _first_of_each(columns: _Columns) -> tuple[Mask, Mask]:
    """Return which events are the first of their identity, and which are a later one with other content."""
    by_order = np.argsort(columns.order)
    by_key = by_order[np.argsort(columns.event_key[by_order], kind="stable")]
    keys = columns.event_key[by_key]
    starts = np.ones(len(keys), dtype=bool)
    starts[1:] = keys[1:] != keys[:-1]
    first = np.zeros(len(keys), dtype=bool)
    first[by_key[starts]] = True
    contents = columns.content_key[by_key]
    of_first = contents[np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))] if len(keys) else contents
    conflicting = np.zeros(len(keys), dtype=bool)
    conflicting[by_key] = contents != of_first
    return first, conflicting


def _capped(columns: _Columns, keep: Mask, burst: Burst | None) -> Keys:
    """Let the votes of bursts count as one a trace, in `columns`, and return the keys of their traces, one a vote."""
    traces = len(columns.flags)
    votes = np.flatnonzero(keep[traces:] & ~np.isnan(columns.score))
    if burst is None or len(votes) < burst.votes:
        return _NO_KEYS
    about, scores = columns.trace_key[traces:][votes], columns.score[votes]
    found = brigaded(Votes(columns.user_key[votes], columns.time[votes], scores), columns.quality[keep[:traces]], burst)
    columns.score[votes] = counted_once(about, scores, found)
    return about[found]


class _Joined(NamedTuple):
    """What all scores of each event's trace say."""

    mean: Floats
    """NaN where there is no score."""
    spread: Floats


def _join(columns: _Columns, keep: Mask) -> _Joined:
    """Join the scores of every trace event.

    An event's own score counts for the events of the same trace and agent; recorded feedback for all of its trace.
    """
    traces = len(columns.flags)
    own = _gather(columns.work_key, columns.quality, keep[:traces], columns.work_key)
    told = _gather(columns.trace_key[traces:], columns.score, keep[traces:], columns.trace_key[:traces])
    alone = np.isnan(columns.quality)
    nameless = columns.work_key == 0
    own = _Gathered(
        np.where(nameless, ~alone, own.number),
        np.where(nameless, np.nan_to_num(columns.quality), own.total),
        np.where(nameless & ~alone, columns.quality, own.low),
        np.where(nameless & ~alone, columns.quality, own.high),
    )
    count = own.number + told.number
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, (own.total + told.total) / np.maximum(count, 1), np.nan)
        spread = np.maximum(own.high, told.high) - np.minimum(own.low, told.low)
    return _Joined(mean, np.where(count > 0, spread, 0.0))


class _Gathered(NamedTuple):
    """Scores that were found under a key."""

    number: NDArray[np.int64]
    total: Floats
    low: Floats
    """+inf without a score."""
    high: Floats
    """-inf without a score."""


def _gather(keys: Keys, scores: Floats, keep: Mask, wanted: Keys) -> _Gathered:
    """Return what the kept `scores` under `keys` say for each of the `wanted` keys; nothing for the key 0."""
    scored = keep & ~np.isnan(scores) & (keys != 0)
    names, place = np.unique(keys[scored], return_inverse=True)
    values = scores[scored]
    count = np.bincount(place, minlength=len(names) + 1)
    total = np.bincount(place, weights=values, minlength=len(names) + 1).astype(np.float64)
    low, high = np.full(len(names) + 1, np.inf), np.full(len(names) + 1, -np.inf)
    np.minimum.at(low, place, values)
    np.maximum.at(high, place, values)
    at = np.searchsorted(names, wanted)
    found = at < len(names)
    found[found] = names[at[found]] == wanted[found]
    at = np.where(found, at, len(names))  # the last place is what is not found: no score
    return _Gathered(count[at], total[at], low[at], high[at])


def _failed_flags(work_key: Keys, flags: Flags, keep: Mask) -> Flags:
    """Return the flag of failure for all events of a trace and agent of which one failed."""
    bit = np.uint32(Reason.FAILED_TRACE)
    failed = work_key[(flags & bit != 0) & keep & (work_key != 0)]
    return np.where(among(work_key, failed), bit, np.uint32(0))


def _reasons(
    columns: _Columns, keep: Mask, learned: Mask, first: Mask, conflicting: Mask, known_traces: Keys | None
) -> Counter[str]:
    """Count why events were not taken, and what was odd in those that were."""
    reasons: Counter[str] = sum((count.by_reason + count.notes for count in columns.counts), Counter())
    traces = len(columns.flags)
    reasons["already_learned"] = int((learned & first).sum())
    reasons["duplicate_conflicting"] = int((~first & conflicting).sum())
    reasons["duplicate"] = int((~first & ~conflicting).sum())
    feedback = columns.trace_key[traces:][keep[traces:]]
    lost = ~among(feedback, columns.trace_key[:traces][keep[:traces]])
    late = among(feedback, known_traces if known_traces is not None else _NO_KEYS) & lost
    reasons["late_feedback"] = int(late.sum())
    reasons["orphan_feedback"] = int((lost & ~late).sum())
    reasons["joined_feedback"] = int((~lost).sum())  # taken, and no example of its own
    return reasons


def numbered(parts: Sequence[tuple[Sequence[Reject], Sequence[PieceLines]]]) -> list[Reject]:
    """Return the rejects of all parts with the line numbers of their files.

    Args:
        parts: `(extracted.rejects, extracted.lines)` of every part, in the order of the partitions.
    """
    totals: dict[str, Counter[int]] = {}
    for _, pieces in parts:
        for piece in pieces:
            totals.setdefault(piece.name, Counter())[piece.start] += piece.lines
    before: dict[tuple[str, int], int] = {}
    for name, by_start in totals.items():
        lines = 0
        for start in sorted(by_start):
            before[name, start] = lines
            lines += by_start[start]
    return [
        reject._replace(line=before[reject.file, reject.piece] + reject.line, piece=0)
        for rejects, _ in parts
        for reject in rejects
    ]
