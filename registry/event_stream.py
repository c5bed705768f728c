"""The log as Arrow: its columns from their blocks where these are made, the rest and the bodies from their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from registry import database, event_blocks, event_store, event_zones
from registry.event_queries import Query

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


def stream(engine: sa.Engine, where: Query, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield record batches of at most `batch_rows` rows, in the order of their offsets."""
    names = list(columns if columns is not None else event_store.PUBLIC)
    kept = [name for name in names if name in event_blocks.COLUMNS and name != "offset"]
    if engine.dialect.name != "sqlite" or not kept:
        yield from event_store.stream(engine, where, names, batch_rows)
        return
    with database.explained(engine), engine.connect() as connection:
        where = event_zones.narrowed(connection, where)
    rows = event_zones.ROWS
    reached = where.after
    for first in event_blocks.made(engine, where.after, where.upto):
        if first > reached:  # blocks that nobody has made yet
            yield from event_store.stream(engine, where._replace(after=reached, upto=first), names, batch_rows)
        reached = first + rows if where.upto is None else min(first + rows, where.upto)
        part = where._replace(after=max(first, where.after), upto=reached)
        for batch in _joined(engine, part, names, kept, first):
            yield from (batch.slice(start, batch_rows) for start in range(0, batch.num_rows, batch_rows))
    if where.upto is None or reached < where.upto:
        yield from event_store.stream(engine, where._replace(after=reached), names, batch_rows)


def _joined(
    engine: sa.Engine, where: Query, names: Sequence[str], kept: Sequence[str], first: int
) -> Iterator[pa.RecordBatch]:
    """Yield the wanted rows of one block."""
    import pyarrow as pa

    others = ["offset", *(name for name in names if name not in kept and name != "offset")]
    for rows in event_store.stream(engine, where, others, event_zones.ROWS):
        block = event_blocks.block(engine, first, kept)
        if rows.num_rows < block.num_rows:
            block = block.take(pa.array(rows["offset"].to_numpy() - first - 1))
        schema = event_store.arrow_schema(names)
        yield pa.RecordBatch.from_arrays([_column(rows, block, field) for field in schema], schema=schema)


def _column(rows: pa.RecordBatch, block: pa.Table, field: pa.Field) -> Any:
    if field.name in block.column_names:
        return block[field.name].combine_chunks().cast(field.type)
    return rows[field.name]
