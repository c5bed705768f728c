"""Alembic's way in: the connection, and its transaction, are the caller's (`registry.database.migrate`)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
