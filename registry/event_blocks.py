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

from registry import database, event_zones
from registry.errors import SettingsError
from registry.event_queries import Query, events
from registry.event_store import stream
from registry.event_zones import LAYOUT, blocks

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("type", "agent", "model_version", "domain", "experiment", "arm", "unit")
NUMBERS = ("quality", "score", "latency_ms", "tokens_in", "tokens_out", "cost")
COLUMNS = ("offset", "time", "trace_key", "content", "failed", "shadow", *NUMBERS, *TEXTS)


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
    rows = event_zones.ROWS
    full = head // rows
    wanted = range(after // rows, min(full, -(-last // rows)))
    parts += _read(engine, wanted, columns, since)
    if last > full * rows:
        parts.append(_rows(engine, max(full * rows, after), last).select(columns))
    return pa.concat_tables(parts).unify_dictionaries()


def make(engine: sa.Engine) -> None:
    """Make the blocks that are missing. Each is kept at once: whoever is killed meanwhile has lost one."""
    with database.explained(engine), engine.connect() as connection:
        head = int(connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0)
    there = set(made(engine))
    for number in range(head // event_zones.ROWS):
        if number * event_zones.ROWS not in there:
            _made(engine, number)


def made(engine: sa.Engine, after: int = 0, upto: int | None = None) -> list[int]:
    """Return, of each block there is that holds offsets of a window, the offset below its first."""
    c = blocks.c
    inside = [c.layout == LAYOUT, c.first + event_zones.ROWS - 1 > after]
    inside += [c.first <= upto] if upto is not None else []
    return [row["first"] - 1 for row in database.read(engine, sa.select(c.first).where(*inside).order_by(c.first))]


def block(engine: sa.Engine, below: int, columns: Sequence[str]) -> pa.Table:
    """Return columns of the block whose offsets begin above `below`."""
    c = blocks.c
    body = database.read(engine, sa.select(c.body).where(c.first == below + 1, c.layout == LAYOUT))
    return _opened(body[0]["body"], columns) if body else _made(engine, below // event_zones.ROWS).select(columns)


def _read(engine: sa.Engine, wanted: range, columns: Sequence[str], since: int | None) -> Iterator[pa.Table]:
    c, rows = blocks.c, event_zones.ROWS
    query = sa.select(c.first, c.since, c.until).where(
        c.layout == LAYOUT, c.first > wanted.start * rows, c.first <= wanted.stop * rows
    )
    there = {(row["first"] - 1) // rows: row for row in database.read(engine, query)} if wanted else {}
    for number in wanted:
        if (known := there.get(number)) is None:
            yield _made(engine, number).select(columns)
        elif since is None or known["until"] >= since:
            yield block(engine, number * rows, columns)


def _made(engine: sa.Engine, number: int) -> pa.Table:
    """Make a block and keep it, where the database lets us."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = event_zones.ROWS
    table = _rows(engine, number * rows, (number + 1) * rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    limits = pc.min_max(table["time"].cast(pa.int64())).as_py()
    values = (number * rows + 1, LAYOUT, limits["min"], limits["max"], sink.getvalue().to_pybytes())
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

    batches = stream(engine, Query(after=after, upto=upto, shadow=None), COLUMNS, event_zones.ROWS)
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
