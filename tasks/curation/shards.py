"""Write a dataset version from scratch parts, in shards that any worker can write.

A shard is a range of example_id. Its rows are written in the order of example_id, in row groups of a fixed size: so a
file's bytes depend on its rows alone, not on how the input was cut, nor on who wrote what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from registry.records import SPLITS, Split
from tasks.curation.kernels import U64
from tasks.curation.prepare import ROW
from tasks.curation.scratch import BucketReader, Part, bucket_rows

ROW_GROUP = 8192
SHARD_ROWS = 131_072
"""About how many examples a shard holds."""
DATASET = pa.schema(
    [
        *(ROW.field(name) for name in ("example_id", "messages", "domain", "task_type", "difficulty")),
        pa.field("group", pa.string()),
        pa.field("cluster", pa.string()),
        pa.field("quality", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("composite", pa.float64()),
        *(
            ROW.field(name)
            for name in ROW.names
            if name not in ("example_id", "messages", "domain", "task_type", "difficulty", "confidence")
        ),
    ]
)
DECISIONS = pa.schema(
    [
        ("example_id", pa.string()),
        ("event_source", pa.string()),
        ("event_id", pa.string()),
        ("domain", pa.string()),
        ("difficulty", pa.string()),
        ("decision", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("quality", pa.float64()),
        ("confidence", pa.float64()),
        ("composite", pa.float64()),
        ("split", pa.string()),
    ]
)
"""What was decided of every example of a run, without its text."""
NOT_DECIDED = 255
PLAN_COLUMNS = ("side", "group", "quality", "composite", "decision", "reasons")


class ShardPiece(NamedTuple):
    """One shard to write."""

    parts: tuple[Part, ...]
    plan: str
    """Folder of the files PLAN_COLUMNS.npy: a value for every row of all parts, one part after the other."""
    number: int
    shards: int
    buckets: int
    dataset: str | None
    """Folder of the version; None to write the decisions only."""
    decisions: str
    """File for the decisions of this shard's examples."""
    decision_names: tuple[str, ...]
    reason_names: tuple[str, ...]
    """Name of each bit of a row's reasons."""


class Shard(NamedTuple):
    """What was written."""

    files: list[tuple[Split, str, int]]
    """Split, file name, rows. Splits without rows have no file."""
    events: dict[Split, U64]
    """Hashes of (source, id) of the events behind the rows."""


def shard_count(kept: int, buckets: int) -> int:
    """Return how many shards to write for `kept` examples, a power of two up to the number of buckets."""
    shards = 1
    while shards * SHARD_ROWS < kept and shards < buckets:
        shards *= 2
    return shards


def write_shard(piece: ShardPiece) -> Shard:
    """Write the rows of one range of example_id: kept ones to their splits, decisions of all to another file."""
    decisions = _Writer(Path(piece.decisions), DECISIONS)
    splits = _Splits(piece)
    for rows in _buckets(piece):
        decisions.write(_decisions(rows, piece))
        if piece.dataset is not None:
            splits.write(rows)
        del rows
        pa.default_memory_pool().release_unused()
    decisions.close(even_if_empty=True)
    return splits.close()


class _Splits:
    """The dataset's files of one shard."""

    def __init__(self, piece: ShardPiece) -> None:
        folder = Path(piece.dataset or "")
        self._alone = piece.shards == 1 and piece.dataset is not None
        self._writers = {split: _Writer(folder / _file_name(split, piece), DATASET) for split in SPLITS}
        self._events: dict[Split, list[U64]] = {split: [] for split in SPLITS}

    def write(self, rows: pa.Table) -> None:
        """Write the kept rows to their splits."""
        for side, split in enumerate(SPLITS):
            chosen = rows.filter(pa.array(rows["side"].to_numpy() == side))
            if chosen.num_rows:
                table = _dataset_rows(chosen)
                self._writers[split].write(table)
                self._events[split].append(_event_hashes(table))

    def close(self) -> Shard:
        """Close the files. A split without rows has a file only where it is the only one."""
        none = np.zeros(0, dtype=np.uint64)
        for writer in self._writers.values():
            writer.close(even_if_empty=self._alone)
        return Shard(
            [(split, each.path.name, each.rows) for split, each in self._writers.items() if each.rows or self._alone],
            {split: np.concatenate([none, *found]) for split, found in self._events.items()},
        )


def _file_name(split: Split, piece: ShardPiece) -> str:
    if piece.shards == 1:
        return f"{split}.parquet"
    return f"{split}-{piece.number:05d}-of-{piece.shards:05d}.parquet"


def _buckets(piece: ShardPiece) -> Iterator[pa.Table]:
    """Yield the shard's rows with their plan, bucket by bucket, in the order of example_id."""
    columns = {name: np.load(Path(piece.plan) / f"{name}.npy", mmap_mode="r") for name in PLAN_COLUMNS}
    each = piece.buckets // piece.shards
    with BucketReader(piece.parts) as reader:
        for bucket in range(piece.number * each, (piece.number + 1) * each):
            batches, rows, start = [], [], 0
            for number, part in enumerate(piece.parts):
                here = bucket_rows(part, bucket)
                if here.stop > here.start:
                    batches.append(reader.read(number, bucket))
                    rows.append(np.arange(start + here.start, start + here.stop))
                start += part.rows
            if batches:
                table = pa.Table.from_batches(batches)
                place = np.concatenate(rows)
                for name, values in columns.items():
                    table = table.append_column(name, pa.array(values[place]))
                yield table.sort_by([(name, "ascending") for name in ("example_id", "event_source", "event_id")])


def _dataset_rows(rows: pa.Table) -> pa.Table:
    """Return rows in the form of the dataset's files."""
    clusters = pa.array([value[:16] for value in rows["example_id"].to_pylist()])
    groups = pa.array([f"{value:016x}" for value in rows["group"].to_pylist()])
    rows = rows.drop_columns(["group"]).append_column("group", groups).append_column("cluster", clusters)
    return _without_nan(rows.select(DATASET.names)).cast(DATASET)


def _without_nan(table: pa.Table) -> pa.Table:
    for name in ("quality", "confidence", "composite"):
        values = table[name].to_numpy()
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, from_pandas=True))
    return table


def _decisions(rows: pa.Table, piece: ShardPiece) -> pa.Table:
    """Return what was decided of the rows of this run."""
    rows = rows.drop_columns(["messages"])
    rows = rows.filter(pa.array(rows["decision"].to_numpy() != NOT_DECIDED))
    masks, places = np.unique(rows["reasons"].to_numpy(), return_inverse=True)
    lists = [[name for bit, name in enumerate(piece.reason_names) if mask >> bit & 1] for mask in masks.tolist()]
    reasons = pa.array(lists, pa.list_(pa.string())).take(pa.array(places.reshape(-1)))
    names = pa.array(piece.decision_names).take(rows["decision"].combine_chunks())
    sides = rows["side"].to_numpy().astype(np.int64)
    splits = pa.array(SPLITS).take(pa.array(sides, mask=sides < 0))
    columns: dict[str, Any] = {"decision": names, "reasons": reasons, "split": splits}
    rows = _without_nan(rows)
    return pa.table(
        [columns.get(name, rows[name] if name in rows.column_names else None) for name in DECISIONS.names],
        schema=DECISIONS,
    )


def _event_hashes(rows: pa.Table) -> U64:
    """Return 64 bits of BLAKE2b of each row's event (source, id)."""
    sources, ids = rows["event_source"].to_pylist(), rows["event_id"].to_pylist()
    digests = [
        blake2b(f"{len(source)}:{source}{ident}".encode(), digest_size=8).digest()
        for source, ident in zip(sources, ids, strict=True)
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


class _Writer:
    """Writes a Parquet file in row groups of one size; there is no file before there is a row."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._held = 0
        self._file: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        self._held += table.num_rows
        self._waiting.append(table)
        if self._held >= ROW_GROUP:
            whole = pa.concat_tables(self._waiting)
            while self._held >= ROW_GROUP:
                self._write(whole.slice(0, ROW_GROUP))
                whole, self._held = whole.slice(ROW_GROUP), self._held - ROW_GROUP
            self._waiting = [whole]

    def close(self, even_if_empty: bool) -> None:
        """Write what is left and close the file."""
        if self._held or (self._file is None and even_if_empty):
            self._write(pa.concat_tables(self._waiting) if self._waiting else self.schema.empty_table())
        if self._file is not None:
            self._file.close()
        self._waiting = []

    def _write(self, table: pa.Table) -> None:
        """Write a row group; in one piece, because the bytes depend on the pieces."""
        if self._file is None:
            dictionary = [field.name for field in self.schema if field.name in _REPEATED]
            self._file = pq.ParquetWriter(
                self.path, self.schema, compression="zstd", compression_level=1, use_dictionary=dictionary,
                write_statistics=["time", "composite"],
            )  # fmt: skip
        self._file.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)


_REPEATED = (
    "domain",
    "task_type",
    "difficulty",
    "event_source",
    "model_version",
    "decision",
    "split",
    "quality",
    "confidence",
    "composite",
)


def read_decisions(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the decisions of a run: one file, or a folder of files for large runs."""
    return pq.read_table(path, columns=None if columns is None else list(columns))


def save_plan(folder: Path, columns: dict[str, NDArray[np.generic]]) -> None:
    """Write the values of every row that `write_shard` needs."""
    assert set(columns) == set(PLAN_COLUMNS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", values)
