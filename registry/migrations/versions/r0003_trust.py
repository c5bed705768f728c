"""The chain of the audit log, signed bundles, and what is known of sources."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from registry.audit.chain import GENESIS, linked, record_of
from registry.migrations.growing import appended, only_grows, text

revision = "0003"
down_revision = "0002"
ROWS_AT_ONCE = 1000


def upgrade() -> None:
    """Chain what was recorded so far, and make the new tables."""
    _chain()
    appended(
        "bundles",
        text("model", nullable=False, index=True),
        text("version", nullable=False),
        text("action", nullable=False),
        text("digest", nullable=False),
        text("envelope", nullable=False),
    )
    only_grows("bundles")
    appended(
        "sources",
        text("source", nullable=False, index=True),
        text("state", nullable=False),
        text("by", nullable=False),
        text("body", nullable=False),
    )
    only_grows("sources")


def _chain() -> None:
    """Make the audit log anew: its records with the numbers that they have, then one for each row that there is."""
    names = ("kind", "model", "version", "body", "by", "digest", "previous", "hash")
    appended("audit_chain", *(text(name, nullable=False) for name in names))
    chained = sa.table("audit_chain", *(sa.column(name) for name in ("sequence", "key", "time", *names)))
    connection = op.get_bind()
    rows = linked(_recorded(connection), 0, GENESIS)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(sa.insert(chained), rows[start : start + ROWS_AT_ONCE])
    op.drop_table("audit")
    op.rename_table("audit_chain", "audit")
    for name in ("kind", "model"):
        op.create_index(f"ix_audit_{name}", "audit", [name])
    only_grows("audit")


def _recorded(connection: sa.Connection) -> list[dict[str, Any]]:
    audit = connection.execute(
        sa.text("SELECT time, kind, model, version, key, body FROM audit ORDER BY sequence")
    ).mappings()
    found = [{**row, "by": "ratchet"} for row in audit]
    for table in ("history", "intents", "closures", "runs", "experiments"):
        rows = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY sequence")).mappings()  # noqa: S608
        found += [record_of(table, dict(row)) for row in rows]
    return found
