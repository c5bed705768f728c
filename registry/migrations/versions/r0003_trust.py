"""The chain of the audit log, signed bundles, and what is known of sources."""

import sqlalchemy as sa
from alembic import op

from registry.migrations.growing import appended, only_grows, text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns of the chain, and make the new tables."""
    for name in ("by", "digest", "previous", "hash"):
        op.add_column("audit", sa.Column(name, sa.Text))
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
