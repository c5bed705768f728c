"""The event log, its columns in blocks, its identity, and the experiments."""

import uuid

import sqlalchemy as sa
from alembic import op

from registry.migrations.growing import appended, only_grows, text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of the loop."""
    appended(
        "experiments",
        text("model", nullable=False, index=True),
        text("experiment", nullable=False, index=True),
        text("event", nullable=False),
        text("body", nullable=False),
    )
    only_grows("experiments")
    identity = op.create_table("event_log", sa.Column("log_id", sa.Text, primary_key=True))
    op.bulk_insert(identity, [{"log_id": uuid.uuid4().hex}])
    only_grows("event_log", numbered=False)
    _events()
    op.create_table(
        "event_blocks",
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("layout", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


def _events() -> None:
    # On SQLite an INTEGER PRIMARY KEY is the row's own number, which it counts up by itself.
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "events",
        sa.Column("sequence", number, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("trace_key", sa.BigInteger),
        sa.Column("content", sa.BigInteger),
        text("type", nullable=False),
        *(text(name) for name in ("trace_id", "agent", "model_version", "domain", "experiment", "arm", "unit")),
        *(text(name) for name in ("user_id", "feedback_kind", "feedback_value")),
        *(sa.Column(name, sa.Double) for name in ("quality", "score", "latency_ms", "tokens_in", "tokens_out", "cost")),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("failed", "shadow")),
        text("body", nullable=False),
    )
    op.create_index("events_key", "events", ["key"], unique=True)
    # By the id and not by its digest: ids that grow with time touch one page of the index, digests all of them.
    by_bytes = {"trace_id": "text_pattern_ops"}
    op.create_index("events_trace", "events", ["trace_id"], postgresql_ops=by_bytes)
    judged = sa.text("score IS NOT NULL")
    op.create_index(
        "events_feedback", "events", ["trace_id", "time", "sequence", "score"],
        sqlite_where=judged, postgresql_where=judged, postgresql_ops=by_bytes,
    )  # fmt: skip
    op.create_index("events_time", "events", ["time"])
    tried = sa.text("experiment IS NOT NULL")
    op.create_index(
        "events_experiment", "events", ["experiment", "sequence"], sqlite_where=tried, postgresql_where=tried
    )
    only_grows("events", numbered=False)
