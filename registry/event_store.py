"""Rows of the event log into the database and out of it, each way by the fastest road that the database has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from registry import database
from registry.errors import SettingsError
from registry.event_queries import Query, literal, narrowed, select
from registry.event_rows import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = ", ".join(COLUMNS)
# SQLite counts `sequence` up by itself, and not for a row that it ignores.
_INSERT_SQLITE = f"INSERT OR IGNORE INTO events ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_STAGING = f"""CREATE TEMPORARY TABLE IF NOT EXISTS arriving ON COMMIT DELETE ROWS
    AS SELECT 0::bigint AS place, {_NAMES} FROM events WITH NO DATA"""  # noqa: S608
_COPY = f"COPY arriving (place, {_NAMES}) FROM STDIN (FORMAT BINARY)"
_INSERT_POSTGRES = f"""INSERT INTO events (sequence, {_NAMES})
    SELECT (SELECT coalesce(max(sequence), 0) FROM events) + row_number() OVER (ORDER BY place), {_NAMES}
    FROM arriving WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.key = arriving.key)"""  # noqa: S608
_POSTGRES_TYPES = (
    "int8", "bytea", "int8", "int8", "int8", *("text",) * 11, *("float8",) * 6, "int2", "int2", "text",
)  # fmt: skip
FETCHED = 2_048
"""Rows that are Python objects at a time: more of them and the garbage collector takes most of the time."""
HIDDEN = ("key", "trace_key", "content")
PUBLIC = ("offset", *(name for name in COLUMNS if name not in HIDDEN))
"""Columns of the log that a reader sees."""


def insert(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert the rows whose key is not there yet, in their order, and return how many those are."""
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(_INSERT_SQLITE, list(rows)).rowcount
    return _insert_postgres(connection, rows)


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
    import pyarrow as pa

    integers = {"time": pa.int64(), "failed": pa.int8(), "shadow": pa.int8()}
    stored = [integers.get(field.name, field.type) for field in schema]
    parts: list[pa.RecordBatch] = []
    with database.explained(engine), engine.connect() as connection:
        rows = connection.connection.cursor()
        rows.execute(literal(engine, statement))
        while found := rows.fetchmany(min(FETCHED, batch_rows)):
            given = zip(zip(*found, strict=True), stored, schema, strict=True)
            arrays = [pa.array(values, type_).cast(field.type) for values, type_, field in given]
            parts.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            if sum(part.num_rows for part in parts) + FETCHED > batch_rows:
                yield pa.concat_batches(parts)
                parts = []
    if parts:
        yield pa.concat_batches(parts)


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
