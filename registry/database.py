"""The database of records: append-only tables whose rows are numbered without gaps.

The URL is a parameter. On SQLite the file is in WAL mode, durable, and its triggers refuse to change or delete a row
even to somebody with a SQL prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from registry import errors

BUSY_MILLISECONDS = 30_000
ATTEMPTS = 50

metadata = sa.MetaData()


def _appended(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """Return a table that only grows: `sequence` 1, 2, 3, … and `key`, under which a row is appended once."""
    return sa.Table(
        name,
        metadata,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("time", sa.String, nullable=False),
        *columns,
    )


def _text(name: str, nullable: bool = True, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable, index=index)


history = _appended(
    "history",
    _text("model", nullable=False, index=True),
    _text("version", nullable=False),
    _text("action", nullable=False),
    _text("before"),
    _text("after"),
    _text("by", nullable=False),
    _text("reason", nullable=False),
    _text("run_id"),
    _text("evidence_digest"),
)
audit = _appended(
    "audit",
    _text("kind", nullable=False),
    _text("model", nullable=False, index=True),
    _text("version", nullable=False),
    _text("body", nullable=False),
)
intents = _appended("intents", _text("model", nullable=False, index=True), _text("body", nullable=False))
closures = _appended("closures", _text("outcome", nullable=False))
runs = _appended(
    "runs",
    _text("work", nullable=False, index=True),
    _text("run_id", nullable=False),
    _text("model", nullable=False),
    _text("event", nullable=False),
    _text("body"),
)


# A trigger on DELETE alone does not see what REPLACE deletes, so what is there already cannot be inserted either.
_REFUSALS = (
    """CREATE TRIGGER IF NOT EXISTS {table}_refuses_update BEFORE UPDATE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} only grows'); END""",
    """CREATE TRIGGER IF NOT EXISTS {table}_refuses_delete BEFORE DELETE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} only grows'); END""",
    """CREATE TRIGGER IF NOT EXISTS {table}_refuses_insert BEFORE INSERT ON {table}
    WHEN NEW.sequence != (SELECT coalesce(max(sequence), 0) + 1 FROM {table})
    OR EXISTS (SELECT 1 FROM {table} WHERE key = NEW.key)
    BEGIN SELECT RAISE(ABORT, '{table} only grows'); END""",
)


def connect(url: str) -> sa.Engine:
    """Open the database at `url` and make its tables where they are missing.

    Raises:
        SettingsError: E7840 when it cannot be opened or written.
        IntegrityError: E7920 when the file is not a database any more.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_connection)
        sa.event.listen(engine, "begin", _sqlite_begin)
    with explained(url), writing(engine) as connection:
        metadata.create_all(connection)
        if engine.dialect.name == "sqlite":
            for table in metadata.sorted_tables:
                for refusal in _REFUSALS:
                    connection.exec_driver_sql(refusal.format(table=table.name))
    return engine


def _sqlite_connection(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _sqlite_begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MILLISECONDS}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: sa.Connection) -> None:
    # A writer takes its place in the queue at the start: a reader that becomes a writer can only fail in WAL mode.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a write transaction, which commits at the end."""
    with engine.connect() as plain, plain.execution_options(writes=True) as connection, connection.begin():
        yield connection


def append(engine: sa.Engine, table: sa.Table, key: str, values: Mapping[str, Any]) -> sa.RowMapping:
    """Append a row under `key`, or return the row that was appended under it before.

    Several writers at once get consecutive numbers: who loses the race for a number tries the next one.
    """
    with explained(str(engine.url)):
        for _ in range(ATTEMPTS):
            with contextlib.suppress(IntegrityError), writing(engine) as connection:
                found = connection.execute(sa.select(table).where(table.c.key == key)).mappings().first()
                if found is not None:
                    return found
                last = connection.execute(sa.select(sa.func.max(table.c.sequence))).scalar() or 0
                connection.execute(sa.insert(table).values(sequence=last + 1, key=key, **values))
                return connection.execute(sa.select(table).where(table.c.key == key)).mappings().one()
    raise errors.SettingsError(
        "E7841", f"{table.name} is written by too many at once", "try again, or use a database server"
    )


def read(engine: sa.Engine, query: sa.Executable) -> list[sa.RowMapping]:
    """Run a query and return its rows."""
    with explained(str(engine.url)), engine.connect() as connection:
        return list(connection.execute(query).mappings().all())


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn the database's own errors into ours."""
    try:
        yield
    except OperationalError as error:
        raise errors.SettingsError(
            "E7840", f"the record database {url} cannot be used: {error.orig}", "check its folder, permissions and disk"
        ) from error
    except IntegrityError:
        raise
    except DatabaseError as error:
        raise errors.IntegrityError(
            "E7920", f"the record database {url} is damaged: {error.orig}", "restore it from a backup"
        ) from error
