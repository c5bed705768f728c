"""From examples in memory to a part in scratch: redact, order, fingerprint, write."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from registry.records import SPLITS, DatasetManifest, Split
from tasks.curation.fingerprint import fingerprint
from tasks.curation.policy import Kind
from tasks.curation.redact import redact
from tasks.curation.scratch import Part, id_keys, write_part

ROW = pa.schema(
    [
        ("example_id", pa.string()),
        ("messages", pa.large_string()),
        ("domain", pa.string()),
        ("task_type", pa.string()),
        ("difficulty", pa.string()),
        ("confidence", pa.float64()),
        ("time", pa.timestamp("us", "UTC")),
        ("event_source", pa.string()),
        ("event_id", pa.string()),
        ("model_version", pa.string()),
        ("event_key", pa.uint64()),
        ("trace_key", pa.uint64()),
        ("subject_key", pa.uint64()),
        ("session_key", pa.uint64()),
        ("prompt_key", pa.uint64()),
    ]
)
"""What is kept of an example. Of trace, subject and session only hashes: they may name a person, and later versions
need no more of them than to know them again."""
KEYS = ("event_key", "trace_key", "subject_key", "session_key", "prompt_key")


class Prepared(NamedTuple):
    """A part in scratch, and the number of values that were replaced in it, by kind."""

    part: Part
    redacted: dict[str, int]


def prepare(examples: pa.Table, numbers: pa.Table, kinds: Collection[Kind], folder: Path, buckets: int) -> Prepared:
    """Redact examples, fingerprint them and write them with their numbers as one part.

    Args:
        examples: Rows with at least the columns of `ROW`.
        numbers: Numeric columns of the same rows, `event_key` among them, which the global steps will ask for.
        kinds: What to redact.
        folder: Where the part is written.
        buckets: How many ranges of example_id the part is cut into.
    """
    redacted = redact(examples.select(ROW.names).cast(ROW), kinds)
    rows = redacted.table
    keys = id_keys(rows["example_id"])
    order = np.lexsort((numbers["event_key"].to_numpy(), keys))
    rows = rows.take(pa.array(order))
    numbers = numbers.append_column("id_key", pa.array(keys)).take(pa.array(order))
    part = write_part(folder, rows, numbers, fingerprint(rows["messages"]), buckets)
    pa.default_memory_pool().release_unused()
    return Prepared(part, redacted.counts)


class ParentPiece(NamedTuple):
    """Some rows of a file of the parent version."""

    path: str
    split: Split
    row_groups: tuple[int, ...]
    kinds: tuple[Kind, ...]
    """What to redact; nothing where the parent was redacted alike."""
    folder: str
    buckets: int
    bars: Callable[[str], bool] | None = None
    """Tells whether a source may not teach any more: its rows go. None where all may."""


ROW_GROUPS_A_PIECE = 4


def kinds_left(kinds: tuple[Kind, ...], parent: DatasetManifest, code_version: str) -> tuple[Kind, ...]:
    """Return what to redact in the rows of a parent: nothing, if this code has replaced all `kinds` there already."""
    done = parent.policy.get("curation", {}).get("redact", ())
    return () if parent.code_version == code_version and set(kinds) <= set(done) else kinds


def parent_pieces(
    files: list[tuple[Path, Split]],
    kinds: tuple[Kind, ...],
    folder: Path,
    buckets: int,
    bars: Callable[[str], bool] | None = None,
) -> list[ParentPiece]:
    """Cut the parent version's files into pieces of a few row groups, in which `kinds` are to be redacted.

    Args:
        files: Of the parent version, with their splits.
        kinds: What is redacted.
        folder: Where the parts go.
        buckets: Ranges of example_id.
        bars: Tells whether a source's rows go.
    """
    pieces: list[ParentPiece] = []
    for path, split in files:
        groups = range(pq.ParquetFile(path).num_row_groups)
        for first in groups[::ROW_GROUPS_A_PIECE]:
            chosen = tuple(groups[first : first + ROW_GROUPS_A_PIECE])
            place = str(folder / f"parent-{len(pieces):05d}")
            pieces.append(ParentPiece(str(path), split, chosen, kinds, place, buckets, bars))
    return pieces


def prepare_parent(piece: ParentPiece) -> Prepared:
    """Redact rows of the parent version, fingerprint them and write them as a part. They keep example_id and side."""
    table = pq.ParquetFile(piece.path).read_row_groups(list(piece.row_groups))
    if piece.bars is not None:
        table = _without_barred(table, piece.bars)
    before = table.select(ROW.names).cast(ROW)
    redacted = redact(before, piece.kinds)
    rows = redacted.table.set_column(0, ROW.field("example_id"), before["example_id"])
    side = np.full(table.num_rows, SPLITS.index(piece.split), dtype=np.int8)
    numbers = table.select([*KEYS, "quality", "composite"])
    numbers = numbers.append_column("side", pa.array(side)).append_column(
        "id_key", pa.array(id_keys(rows["example_id"]))
    )
    order = pa.array(np.argsort(numbers["id_key"].to_numpy(), kind="stable"))
    rows = rows.take(order)
    part = write_part(Path(piece.folder), rows, numbers.take(order), fingerprint(rows["messages"]), piece.buckets)
    return Prepared(part, redacted.counts)


def _without_barred(table: pa.Table, bars: Callable[[str], bool]) -> pa.Table:
    sources = table["event_source"]
    barred = [source for source in sources.unique().to_pylist() if bars(source)]
    return table.filter(pc.invert(pc.is_in(sources, pa.array(barred, sources.type)))) if barred else table
