"""Reading a database that cannot be written to: of a backup, or of a home that an auditor was given."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa


def read_only(url: sa.URL) -> sa.URL | None:
    """Return the URL that reads a SQLite file which cannot be written to; None where it can be, or there is none."""
    file = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or not file.is_file():
        return None
    if all(os.access(path, os.W_OK, effective_ids=True) for path in (file, file.parent)):
        return None
    log = file.with_name(f"{file.name}-wal")
    # Without this SQLite wants to make files beside it; with it what is in the write-ahead log would not be seen.
    unchanging = {} if log.exists() and log.stat().st_size else {"immutable": "1"}
    return url.set(database=f"file:{file.absolute()}", query={"mode": "ro", "uri": "true", **unchanging})
