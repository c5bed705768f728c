"""Bring a database's tables up to date. Alembic is imported here alone: it is not needed where they are."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from registry.database import writing


def migrate(engine: sa.Engine) -> None:
    """Apply the revisions that are missing, all or none of them; who comes second finds nothing to do."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
