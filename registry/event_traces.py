"""Traces of the log with the feedback about each: what triggers, experiments and statistics count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from registry.event_blocks import NUMBERS, read_columns
from registry.event_queries import GOOD_FROM, TRACES, Query, moment
from registry.event_rows import MAX_NAME, trace_key

if TYPE_CHECKING:
    import sqlalchemy as sa

TEXTS = ("agent", "model_version", "domain", "experiment", "arm", "unit")
AMOUNTS = ("latency_ms", "tokens_in", "tokens_out", "cost")
SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        *((name, pa.string()) for name in TEXTS),
        ("shadow", pa.bool_()),
        ("quality", pa.float64()),
        ("failed", pa.bool_()),
        ("negative", pa.bool_()),
        *((name, pa.float64()) for name in AMOUNTS),
    ]
)
"""Of a table of traces. `quality` (0 to 100) is the trace's own score, else the mean of the feedback about it, else
null; `negative` says whether the last feedback scores below 50, null without feedback."""


def traces(engine: sa.Engine, where: Query, columns: Sequence[str] | None) -> pa.Table:
    """Return the traces that are wanted, in the order of their offsets.

    A trace that came several times, under several events, is there once, as it came last. Feedback is looked for
    from where the traces begin (`where.after`, `where.since`) to `where.upto`, also after `where.until`.

    Raises:
        ExtractionError: E7033 a time is none.
    """
    names = list(columns if columns is not None else SCHEMA.names)
    found = joined(engine, where, [name for name in names if name in TEXTS])
    arrays = [found[name].cast(SCHEMA.field(name).type) for name in names]
    return pa.table(dict(zip(names, arrays, strict=True)), schema=pa.schema([SCHEMA.field(name) for name in names]))


def joined(engine: sa.Engine, where: Query, texts: Sequence[str]) -> pa.Table:
    """Return the traces that are wanted with `texts`, which are dictionaries, and all numbers of `SCHEMA`."""
    filtered = {
        "agent": where.agent is not None,
        "model_version": bool(where.model_versions),
        "domain": bool(where.domains),
        "experiment": where.experiment is not None,
    }
    read = [name for name in TEXTS if name in texts or filtered.get(name)]
    since = None if where.since is None else moment(where.since)
    numbers = ("offset", "time", "trace_key", "failed", "shadow", *NUMBERS, "type")
    rows = read_columns(engine, [*numbers, *read], after=where.after, upto=where.upto, since=since)
    inside = _inside(rows, where, since)
    if inside is not None:
        rows = rows.filter(inside)
    is_trace = one_of(rows["type"], TRACES)
    table = _once(rows.filter(pc.and_(is_trace, wanted) if (wanted := _wanted(rows, where)) is not None else is_trace))
    table = _with_feedback(table, rows.select(["trace_key", "time", "score"]).filter(pc.is_valid(rows["score"])))
    return table.filter(keep) if (keep := _judged(table, where)) is not None else table


def _inside(rows: pa.Table, where: Query, since: int | None) -> Any:
    """Return which rows lie in the window of offsets, and are not too old."""
    masks = [pc.greater(rows["offset"], where.after)] if where.after else []
    masks += [pc.less_equal(rows["offset"], where.upto)] if where.upto is not None else []
    masks += [pc.greater_equal(rows["time"], _time(since))] if since is not None else []
    return _all(masks)


def _time(number: int) -> pa.Scalar:
    return pa.scalar(number, pa.timestamp("us", "UTC"))


def _wanted(rows: pa.Table, where: Query) -> Any:
    """Return which traces are wanted for what they say themselves."""
    masks = [pc.less(rows["time"], _time(moment(where.until)))] if where.until is not None else []
    masks += [pc.equal(rows["shadow"], where.shadow)] if where.shadow is not None else []
    masks += [one_of(rows["type"], where.types)] if where.types else []
    masks += [one_of(rows["agent"], [where.agent])] if where.agent is not None else []
    masks += [one_of(rows["model_version"], where.model_versions)] if where.model_versions else []
    masks += [one_of(rows["domain"], where.domains)] if where.domains else []
    masks += [one_of(rows["experiment"], [where.experiment])] if where.experiment is not None else []
    if where.trace_ids:
        masks.append(
            pc.is_in(rows["trace_key"], pa.array([trace_key(name[:MAX_NAME]) for name in where.trace_ids], pa.int64()))
        )
    return _all(masks)


def _judged(table: pa.Table, where: Query) -> Any:
    """Return which traces are wanted for what is said about them."""
    masks = []
    if where.quality is not None:
        low, high = where.quality
        masks += [pc.is_valid(table["quality"])]
        masks += [pc.greater_equal(table["quality"], low)] if low is not None else []
        masks += [pc.less_equal(table["quality"], high)] if high is not None else []
    if where.feedback == "any":
        masks.append(pc.is_valid(table["negative"]))
    elif where.feedback is not None:
        masks.append(pc.equal(table["negative"], where.feedback == "negative"))
    return _all(masks)


def _all(masks: Sequence[Any]) -> Any:
    mask = None
    for each in masks:
        mask = each if mask is None else pc.and_(mask, each)
    return mask if mask is None else pc.fill_null(mask, False)


def one_of(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    """Return where a column of dictionaries has one of some values."""
    masks = []
    for chunk in column.chunks:
        codes = pc.index_in(pa.array(list(values), pa.string()), chunk.dictionary).drop_null()
        masks.append(pc.is_in(chunk.indices, codes.cast(chunk.indices.type)))
    return pa.chunked_array(masks, pa.bool_())


def _once(table: pa.Table) -> pa.Table:
    """Return the last row of each trace. Traces without an id, and answers that were never served, are their own."""
    keys = table["trace_key"]
    served = pc.if_else(pc.invert(table["shadow"]), keys, pa.scalar(None, pa.int64()))
    ordered = np.sort(pc.drop_null(served).to_numpy())
    if not (ordered[1:] == ordered[:-1]).any():
        return table
    values = served.to_numpy(zero_copy_only=False) if served.null_count == 0 else None
    if values is None:
        offsets = table["offset"].to_numpy()
        filled = pc.fill_null(served, 0).to_numpy()
        own = pc.is_null(served).to_numpy(zero_copy_only=False)
        values = np.stack([filled, np.where(own, offsets, 0)])
        _, last = np.unique(values[:, ::-1], axis=1, return_index=True)
    else:
        _, last = np.unique(values[::-1], return_index=True)
    return table.take(np.sort(table.num_rows - 1 - last))


def _with_feedback(table: pa.Table, feedback: pa.Table) -> pa.Table:
    """Return the traces with `quality` and `negative` as all feedback about them says."""
    scores, keys = feedback["score"].to_numpy(), feedback["trace_key"]
    last, mean = _per_trace(keys, feedback["time"].cast(pa.int64()).to_numpy(), scores)
    nobodys = pa.scalar(None, pa.int64())  # what was never served nobody can have judged
    place = pc.index_in(pc.if_else(table["shadow"], nobodys, table["trace_key"]), value_set=last["key"])
    negative = pc.less(pc.take(last["score"], place), GOOD_FROM)
    quality = pc.coalesce(table["quality"], pc.take(mean, place), table["score"])
    negative = pc.coalesce(negative, pc.less(table["score"], GOOD_FROM))
    table = table.set_column(table.schema.get_field_index("quality"), "quality", quality)
    return table.append_column("negative", negative)


def _per_trace(keys: pa.ChunkedArray, times: NDArray[Any], scores: NDArray[Any]) -> tuple[pa.Table, pa.Array]:
    """Return each trace of the feedback with its last score, and the means of its scores."""
    valid = pc.is_valid(keys).to_numpy(zero_copy_only=False)
    key = pc.drop_null(keys).to_numpy()
    time, score = times[valid], scores[valid]
    order = np.lexsort((np.arange(len(key)), time, key))  # the later offset counts where times are the same
    key, score = key[order], score[order]
    first = np.flatnonzero(np.diff(key, prepend=key[:1] - 1)) if len(key) else np.zeros(0, np.int64)
    end = np.append(first[1:], len(key))[: len(first)]
    sums = np.add.reduceat(score, first) if len(first) else np.zeros(0)
    last = pa.table({"key": pa.array(key[first]), "score": pa.array(score[end - 1] if len(first) else np.zeros(0))})
    return last, pa.array(sums / np.maximum(end - first, 1))
