"""Rows of the event log into the database and out of it, each way by the fastest road that the database has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from registry import database
from registry.errors import SettingsError
from registry.event_memory import uncollected
from registry.event_queries import Query, literal, select
from registry.event_rows import COLUMNS
from registry.event_zones import narrowed

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = ", ".join(COLUMNS)
AT_ONCE = 20
"""Rows that one INSERT of SQLite takes: some, because each statement costs as much as a row."""
_ROW = f"({', '.join('?' * len(COLUMNS))})"
# SQLite counts `sequence` up by itself, and not for a row that it ignores.
_INSERT_SQLITE = f"INSERT OR IGNORE INTO events ({_NAMES}) VALUES "  # noqa: S608
_INSERT_ONE, _INSERT_SEVERAL = _INSERT_SQLITE + _ROW, _INSERT_SQLITE + ", ".join([_ROW] * AT_ONCE)
_STAGING = f"""CREATE TEMPORARY TABLE IF NOT EXISTS arriving ON COMMIT DELETE ROWS
    AS SELECT 0::bigint AS place, {_NAMES} FROM events WITH NO DATA"""  # noqa: S608
_COPY = f"COPY arriving (place, {_NAMES}) FROM STDIN (FORMAT BINARY)"
_INSERT_POSTGRES = f"""INSERT INTO events (sequence, {_NAMES})
    SELECT (SELECT coalesce(max(sequence), 0) FROM events) + row_number() OVER (ORDER BY place), {_NAMES}
    FROM arriving WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.key = arriving.key)"""  # noqa: S608
_POSTGRES_TYPES = (
    "int8", "bytea", "int8", "int8", "int8", *("text",) * 11, *("float8",) * 6, "int2", "int2", "text",
)  # fmt: skip
FETCHED = 512
"""Rows that are Python objects at a time: so few stay in the processor's caches."""
LARGEST = 1 << 25
"""Bytes after which a batch ends, however few its rows are."""
HIDDEN = ("key", "trace_key", "content")
PUBLIC = ("offset", *(name for name in COLUMNS if name not in HIDDEN))
"""Columns of the log that a reader sees."""


def insert(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert the rows whose key is not there yet, in their order, and return how many those are."""
    if connection.dialect.name == "sqlite":
        return _insert_sqlite(connection, rows)
    return _insert_postgres(connection, rows)


def _insert_sqlite(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    whole = len(rows) - len(rows) % AT_ONCE
    several = [tuple(chain.from_iterable(rows[first : first + AT_ONCE])) for first in range(0, whole, AT_ONCE)]
    inserted = 0
    for statement, values in ((_INSERT_SEVERAL, several), (_INSERT_ONE, rows[whole:])):
        if values:
            inserted += connection.exec_driver_sql(statement, list(values)).rowcount
    return inserted


def _insert_postgres(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    """Copy the rows to a table of this session, and from there those that are new: COPY knows no conflicts."""
    first: dict[bytes, tuple[Any, ...]] = {}
    for row in rows:
        first.setdefault(row[0], row)
    driver = connection.connection
    assert connection.dialect.dbapi is not None
    try:
        cursor: Any = driver.cursor()
        cursor.execute(_STAGING)
        with cursor.copy(_COPY) as copy:
            copy.set_types(_POSTGRES_TYPES)
            for place, row in enumerate(first.values()):
                copy.write_row((place, *row))
        cursor.execute(_INSERT_POSTGRES)
        return int(cursor.rowcount)
    except connection.dialect.dbapi.Error as error:
        raise sa.exc.OperationalError("COPY arriving", None, error) from error


def stream(engine: sa.Engine, where: Query, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield record batches of at most `batch_rows` rows, in the order of their offsets."""
    names = list(columns if columns is not None else PUBLIC)
    with database.explained(engine), engine.connect() as connection:
        where = narrowed(connection, where)
    statement = select(["sequence" if name == "offset" else name for name in names], where)
    read = _stream_sqlite if engine.dialect.name == "sqlite" else _stream_adbc
    return read(engine, statement, arrow_schema(names), batch_rows)


def _stream_sqlite(
    engine: sa.Engine, statement: sa.Select[Any], schema: pa.Schema, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Read through Python's own SQLite.

    Arrow's driver brings another copy of the library. Two in one process take away each other's locks on the file and
    delete each other's WAL: what is committed then is lost.
    """
    with database.explained(engine), engine.connect() as connection:
        rows = connection.connection.cursor()
        rows.execute(literal(engine, statement))
        while batch := _fetched(rows, schema, batch_rows):
            yield batch


def _fetched(rows: Any, schema: pa.Schema, batch_rows: int) -> pa.RecordBatch | None:
    """Return the next rows of a cursor; None after the last."""
    import pyarrow as pa

    integers = {"time": pa.int64(), "failed": pa.int8(), "shadow": pa.int8()}
    stored = [integers.get(field.name, field.type) for field in schema]
    parts: list[list[pa.Array]] = []
    at_once, left, size = min(FETCHED, batch_rows), batch_rows, 0
    with uncollected(batch_rows):
        while left >= at_once and size < LARGEST and (found := rows.fetchmany(at_once)):
            arrays = [pa.array(values, type_) for values, type_ in zip(zip(*found, strict=True), stored, strict=True)]
            parts.append(arrays)
            left, size = left - len(found), size + sum(array.nbytes for array in arrays)
    if not parts:
        return None
    columns = [pa.concat_arrays(column) for column in zip(*parts, strict=True)]
    arrays = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _stream_adbc(
    engine: sa.Engine, statement: sa.Select[Any], schema: pa.Schema, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(literal(engine, statement))
            for batch in cursor.fetch_record_batch():
                for first in range(0, batch.num_rows, batch_rows):
                    part = batch.slice(first, batch_rows)
                    arrays = [column.cast(field.type) for column, field in zip(part.columns, schema, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    except dbapi.Error as error:
        raise SettingsError(
            "E7840", f"the record database {engine.url} cannot be read: {str(error)[:300]}", "check that it runs"
        ) from error


def arrow_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the types of columns of the log as Arrow, the same whatever the database."""
    import pyarrow as pa

    types = {
        **dict.fromkeys(("offset", "trace_key", "content"), pa.int64()),
        **dict.fromkeys(("failed", "shadow"), pa.bool_()),
        **dict.fromkeys(("quality", "score", "latency_ms", "tokens_in", "tokens_out", "cost"), pa.float64()),
        "time": pa.timestamp("us", "UTC"),
        "key": pa.binary(),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in columns])
