"""The log's columns in blocks: what figures are made of, without the bodies.

A block holds the columns of 16,384 offsets as Arrow. As the log only grows, what a full block holds never changes; it
is made by the first reader that wants it, and kept beside the log so that the next one reads megabytes and not
gigabytes. Blocks can be thrown away: they are made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from registry import database
from registry.errors import SettingsError
from registry.event_queries import Query, events
from registry.event_store import stream

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 16_384
LAYOUT = 2
"""Number of the layout of a block; blocks of another one are left alone."""
TEXTS = ("type", "agent", "model_version", "domain", "experiment", "arm", "unit")
NUMBERS = ("quality", "score", "latency_ms", "tokens_in", "tokens_out", "cost")
COLUMNS = ("offset", "time", "trace_key", "content", "failed", "shadow", *NUMBERS, *TEXTS)
_blocks = sa.table("event_blocks", *(sa.column(name) for name in ("first", "layout", "since", "until", "body")))


def read_columns(
    engine: sa.Engine, columns: Sequence[str], *, after: int = 0, upto: int | None = None, since: int | None = None
) -> pa.Table:
    """Return columns of the log in the order of offsets. Texts are dictionaries.

    Args:
        engine: Of the log.
        columns: Some of `COLUMNS`.
        after: Blocks up to this offset are not read; rows may be there that are not above it.
        upto: The same for blocks above.
        since: The same for blocks in which nothing is of this time or later.
    """
    import pyarrow as pa

    with database.explained(engine), engine.connect() as connection:
        head = int(connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0)
    last = head if upto is None else min(head, upto)
    parts = [_schema().empty_table().select(columns)]
    full = head // ROWS
    wanted = range(after // ROWS, min(full, -(-last // ROWS)))
    parts += _read(engine, wanted, columns, since)
    if last > full * ROWS:
        parts.append(_rows(engine, max(full * ROWS, after), last).select(columns))
    return pa.concat_tables(parts).unify_dictionaries()


def _read(engine: sa.Engine, wanted: range, columns: Sequence[str], since: int | None) -> Iterator[pa.Table]:
    c = _blocks.c
    query = sa.select(c.first, c.since, c.until).where(
        c.layout == LAYOUT, c.first > wanted.start * ROWS, c.first <= wanted.stop * ROWS
    )
    there = {(row["first"] - 1) // ROWS: row for row in database.read(engine, query)} if wanted else {}
    for number in wanted:
        if (known := there.get(number)) is None:
            yield _made(engine, number).select(columns)
        elif since is None or known["until"] >= since:
            body = database.read(engine, sa.select(c.body).where(c.first == known["first"], c.layout == LAYOUT))
            yield _opened(body[0]["body"], columns)


def _made(engine: sa.Engine, number: int) -> pa.Table:
    """Make a block and keep it, where the database lets us."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _rows(engine, number * ROWS, (number + 1) * ROWS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    limits = pc.min_max(table["time"].cast(pa.int64())).as_py()
    values = (number * ROWS + 1, LAYOUT, limits["min"], limits["max"], sink.getvalue().to_pybytes())
    marks = "?, ?, ?, ?, ?" if engine.dialect.name == "sqlite" else "%s, %s, %s, %s, %s"
    keep = f"INSERT INTO event_blocks (first, layout, since, until, body) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    with contextlib.suppress(SettingsError), database.explained(engine), database.writing(engine) as connection:
        connection.exec_driver_sql(keep, values)
    return table


def _opened(body: bytes, columns: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    names = [COLUMNS.index(name) for name in columns]
    options = pa.ipc.IpcReadOptions(included_fields=names)
    return pa.ipc.open_file(pa.py_buffer(body), options=options).read_all().select(columns)


def _rows(engine: sa.Engine, after: int, upto: int) -> pa.Table:
    import pyarrow as pa

    batches = stream(engine, Query(after=after, upto=upto, shadow=None), COLUMNS, ROWS)
    plain = pa.schema([(field.name, pa.string() if field.name in TEXTS else field.type) for field in _schema()])
    table = pa.Table.from_batches([batch.cast(plain) for batch in batches], plain).combine_chunks()
    for place, name in enumerate(COLUMNS):
        if name in TEXTS:
            table = table.set_column(place, _schema().field(name), table[name].combine_chunks().dictionary_encode())
    return table


def _schema() -> Any:
    import pyarrow as pa

    types = {
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(TEXTS, pa.dictionary(pa.int32(), pa.string())),
        **dict.fromkeys(("failed", "shadow"), pa.bool_()),
        "time": pa.timestamp("us", "UTC"),
    }
    return pa.schema([(name, types.get(name, pa.int64())) for name in COLUMNS])
