"""History, audit, intents, closures and runs. A home of release 0.2 has them: they are made where missing."""

import sqlalchemy as sa
from alembic import op

from registry.migrations.growing import appended, only_grows, text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of 0.2 where they are missing."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name, columns in _tables().items():
        if name not in there:
            appended(name, *columns)
            only_grows(name)


def _tables() -> dict[str, list[sa.Column[str]]]:
    return {
        "history": [
            text("model", nullable=False, index=True),
            text("version", nullable=False),
            text("action", nullable=False),
            text("before"),
            text("after"),
            text("by", nullable=False),
            text("reason", nullable=False),
            text("run_id"),
            text("evidence_digest"),
        ],
        "audit": [
            text("kind", nullable=False),
            text("model", nullable=False, index=True),
            text("version", nullable=False),
            text("body", nullable=False),
        ],
        "intents": [text("model", nullable=False, index=True), text("body", nullable=False)],
        "closures": [text("outcome", nullable=False)],
        "runs": [
            text("work", nullable=False, index=True),
            text("run_id", nullable=False),
            text("model", nullable=False),
            text("event", nullable=False),
            text("body"),
        ],
    }
