"""The database of records: append-only tables whose rows are numbered without gaps.

The URL is a parameter: a SQLite file, in WAL mode and durable, or PostgreSQL. Triggers refuse to change or delete a row
even to somebody with a SQL prompt. `registry.migrations` makes the tables; those here are what queries are made with.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from registry import errors
from registry.audit.chain import CHAINED, GENESIS, linked, record_of
from registry.reading import read_only

BUSY_MILLISECONDS = 30_000
REVISIONS = ("0001", "0002", "0003")
"""Of the tables, oldest first (`registry.migrations`)."""
WRITERS = 0x7261746368  # any number that others are not likely to lock
_PRAGMAS = (
    f"busy_timeout={BUSY_MILLISECONDS}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-65536",  # 64 MiB: the keys of a million events
    "wal_autocheckpoint=16384",  # pages: a batch of events touches thousands, and the next one the same
    "journal_size_limit=67108864",
)
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

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
    _text("kind", nullable=False, index=True),
    _text("model", nullable=False, index=True),
    _text("version", nullable=False),
    _text("body", nullable=False),
    *(_text(name, nullable=False) for name in ("by", "digest", "previous", "hash")),
)
bundles = _appended(
    "bundles",
    _text("model", nullable=False, index=True),
    _text("version", nullable=False),
    _text("action", nullable=False),
    _text("digest", nullable=False),
    _text("envelope", nullable=False),
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


experiments = _appended(
    "experiments",
    _text("model", nullable=False, index=True),
    _text("experiment", nullable=False, index=True),
    _text("event", nullable=False),
    _text("body", nullable=False),
)

sources = _appended(
    "sources",
    _text("source", nullable=False, index=True),
    _text("state", nullable=False),
    _text("by", nullable=False),
    _text("body", nullable=False),
)

_engines: dict[str, tuple[object, sa.Engine]] = {}
_guard = threading.Lock()


def connect(url: str) -> sa.Engine:
    """Open the database at `url` and bring its tables up to date. A process has one engine for each database.

    Raises:
        SettingsError: E7840 it cannot be opened or written, E7860 it is of a newer Ratchet, E7861 its driver is
            missing, E7862 the URL is none.
        IntegrityError: E7920 when the file is not a database any more.
    """
    with _guard:
        engine = _engine(url)
    with explained(engine):
        with engine.connect() as connection:
            found = _revision(connection)
        if found != REVISIONS[-1]:
            _check_known(engine, found)
            from registry.migrations.apply import migrate

            migrate(engine)
    return engine


def _engine(url: str) -> sa.Engine:
    parsed = normalised(url)
    name, file = parsed.render_as_string(hide_password=False), _identity(parsed)
    known, engine = _engines.get(name, (None, None))
    if engine is not None and known == file:
        return engine
    if engine is not None:
        engine.dispose()  # another file lies where the database was
    try:
        reading = read_only(parsed)
        engine = sa.create_engine(reading or parsed)
    except ModuleNotFoundError as error:
        raise errors.SettingsError(
            "E7861", f"the database {parsed} needs {error.name}, which is not installed",
            "install it with: pip install 'ratchet-learn[postgres]'",
        ) from error  # fmt: skip
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_connection if reading is None else _sqlite_reader)
        sa.event.listen(engine, "begin", _sqlite_begin)
    if file is None and engine.dialect.name == "sqlite":
        with explained(engine), engine.connect():
            file = _identity(parsed)
    _engines[name] = (file, engine)
    return engine


def normalised(url: str) -> sa.URL:
    """Return the URL with the driver that we use.

    Raises:
        SettingsError: E7862 it is no database URL.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        parsed = None
    dialect = None if parsed is None else _DRIVERS.get(parsed.drivername.partition("+")[0])
    if parsed is None or dialect is None:
        scheme = url.partition(":")[0][:40]
        raise errors.SettingsError(
            "E7862", f"no database that can be used has an address that begins with {scheme!r}",
            "give sqlite:////path/to/file or postgresql://user:password@host/name",
        )  # fmt: skip
    return parsed.set(drivername=dialect)


def _identity(url: sa.URL) -> object:
    """Return what tells the file of a database from another one that takes its place; None where there is none."""
    if url.get_backend_name() != "sqlite":
        return "server"
    try:
        status = Path(url.database or "").stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _forget_engines() -> None:
    global _guard
    _guard = threading.Lock()  # another thread of the parent may have held it
    for _, engine in _engines.values():
        engine.dispose(close=False)  # the connections are the parent's
    _engines.clear()


os.register_at_fork(after_in_child=_forget_engines)


def _revision(connection: sa.Connection) -> str | None:
    """Return the revision of the tables; None for those of 0.2 and for an empty database."""
    try:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except (OperationalError, ProgrammingError) as error:
        if "alembic_version" in str(error.orig):
            return None
        raise


def _check_known(engine: sa.Engine, found: str | None) -> None:
    if found is not None and found not in REVISIONS:
        raise errors.SettingsError(
            "E7860",
            f"the record database {engine.url} is of revision {found}; this Ratchet knows up to {REVISIONS[-1]}",
            "use the Ratchet that wrote it, or a newer one",
        )


def _sqlite_connection(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _sqlite_begin
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_reader(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _sqlite_begin(connection: sa.Connection) -> None:
    # A writer takes its place in the queue at the start: a reader that becomes a writer can only fail in WAL mode.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a write transaction, one at a time for the whole database, which commits at the end.

    What it numbers is therefore seen by readers in the order of the numbers.
    """
    with engine.connect() as plain, plain.execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")
        yield connection


def append(engine: sa.Engine, table: sa.Table, key: str, values: Mapping[str, Any]) -> sa.RowMapping:
    """Append a row under `key`, or return the row that was appended under it before.

    A row of the audit log joins its chain; of a table that is chained (`registry.audit.chain`) its record does with it.
    """
    with explained(engine), writing(engine) as connection:
        found = connection.execute(sa.select(table).where(table.c.key == key)).mappings().first()
        if found is not None:
            return found
        if table is audit:
            chain(connection, [{"key": key, **values}])
        else:
            last = connection.execute(sa.select(sa.func.max(table.c.sequence))).scalar() or 0
            connection.execute(sa.insert(table).values(sequence=last + 1, key=key, **values))
        row = connection.execute(sa.select(table).where(table.c.key == key)).mappings().one()
        if table.name in CHAINED:
            chain(connection, [record_of(table.name, dict(row))])
        return row


def chain(
    connection: sa.Connection, records: Sequence[Mapping[str, Any]], after: tuple[int, str] | None = None
) -> None:
    """Append records {time, by, kind, model, version, key, body} to the audit log, in a transaction that writes.

    They follow the newest record, or the number and hash `after`, where that one is being removed.
    """
    newest = sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    sequence, head = after or connection.execute(newest).first() or (0, GENESIS)
    connection.execute(sa.insert(audit), linked(records, sequence, head))


def read(engine: sa.Engine, query: sa.Executable) -> list[sa.RowMapping]:
    """Run a query and return its rows."""
    with explained(engine), engine.connect() as connection:
        return list(connection.execute(query).mappings().all())


@contextlib.contextmanager
def explained(engine: sa.Engine) -> Iterator[None]:
    """Turn the database's own errors into ours."""
    try:
        yield
    except IntegrityError:
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise errors.SettingsError("E7840", *_unusable(engine, error)) from error
    except DatabaseError as error:
        if engine.dialect.name != "sqlite":
            raise errors.SettingsError("E7840", *_unusable(engine, error)) from error
        raise errors.IntegrityError(
            "E7920", f"the record database {engine.url} is damaged: {error.orig}", "restore it from a backup"
        ) from error


def _unusable(engine: sa.Engine, error: Exception) -> tuple[str, str]:
    reason = " ".join(str(getattr(error, "orig", error)).split())[:300]
    todo = "check its folder, permissions and disk"
    if engine.dialect.name != "sqlite":
        todo = "check that it runs, and the user, password and database in its address"
    return f"the record database {engine.url} cannot be used: {reason}", todo
