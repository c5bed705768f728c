"""Tables that only grow, as revisions make them. Released revisions use this: add to it, and change nothing."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

_REFUSES = """CREATE TRIGGER {table}_refuses_{what} BEFORE {what} ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} only grows'); END"""
# A trigger on DELETE alone does not see what REPLACE deletes, so what is there already cannot be inserted either.
_REFUSES_INSERT = """CREATE TRIGGER {table}_refuses_insert BEFORE INSERT ON {table}
    WHEN NEW.sequence != (SELECT coalesce(max(sequence), 0) + 1 FROM {table})
    OR EXISTS (SELECT 1 FROM {table} WHERE key = NEW.key)
    BEGIN SELECT RAISE(ABORT, '{table} only grows'); END"""
_POSTGRES_FUNCTION = """CREATE OR REPLACE FUNCTION ratchet_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"""
_POSTGRES_TRIGGER = """CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION ratchet_only_grows()"""


def text(name: str, nullable: bool = True, index: bool = False) -> sa.Column[str]:
    """Return a column of text."""
    return sa.Column(name, sa.Text, nullable=nullable, index=index)


def appended(name: str, *columns: sa.Column[Any]) -> None:
    """Make a table whose rows are numbered without gaps (`registry.database.append`)."""
    op.create_table(
        name,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("time", sa.String, nullable=False),
        *columns,
    )


def only_grows(name: str, *, numbered: bool = True) -> None:
    """Have the database refuse to change or delete rows of a table, even to somebody with a SQL prompt.

    Args:
        name: Of the table.
        numbered: On SQLite, also refuse to insert what is there already; it costs a look-up a row.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRES_FUNCTION)
        op.execute(_POSTGRES_TRIGGER.format(table=name))
        return
    for what in ("update", "delete"):
        op.execute(_REFUSES.format(table=name, what=what))
    if numbered:
        op.execute(_REFUSES_INSERT.format(table=name))
