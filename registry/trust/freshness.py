"""Whether the newest bundles are there: the audit log names every one, and a checkpoint says how far the log had come.

Signatures alone do not show that the newest decisions were taken away, and an older state of the database put back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry import database
from registry.audit.chain import ERASED, digest, row_text
from registry.audit.checkpoints import Checkpoint, opened
from registry.audit.log import head
from registry.errors import IntegrityError
from registry.trust.signing import Trust
from registry.trust.statements import APPROVE

PAGE = 50
TAIL_BYTES = 65536
"""Of the file of checkpoints: more than its newest one, with a part of a line that a crash left."""
RESTORE = "restore the record database from a backup, and see `ratchet audit verify`"


def check_newest(connection: sa.Connection, model: str) -> None:
    """Check that no bundle of a model is missing at the end, and that the newest one is the row that was recorded.

    Raises:
        IntegrityError: E7948.
    """
    recorded = next(_recorded(connection, model), None)  # before the rows: one that is added meanwhile is no fault
    table, audit = database.bundles, database.audit
    ours = sa.select(table).where(table.c.model == model, table.c.action != APPROVE).order_by(table.c.sequence.desc())
    newest = connection.execute(ours.limit(1)).mappings().first()
    last = 0 if newest is None else int(newest["sequence"])
    if recorded is not None and recorded > last:
        raise _gone(model, f"bundle {recorded} is in the audit log, and the record database ends with {last or 'none'}")
    if newest is None:
        return
    found = connection.execute(sa.select(audit.c.digest).where(audit.c.key == f"{table.name}#{last}")).scalar()
    if found is None and not _begins_later(connection):
        raise _gone(model, f"the audit log says nothing of bundle {last}")
    if found is not None and found != digest(row_text(table.name, dict(newest))):
        raise _gone(model, f"bundle {last} is another one than the audit log has")


def check_end(connection: sa.Connection, file: Path, trust: Trust) -> None:
    """Check that the audit log is as long as the newest checkpoint in a file says.

    Raises:
        IntegrityError: E7948.
    """
    checkpoint = _newest(file, trust)
    stands = head(connection)
    if checkpoint is None or checkpoint.log != stands.log or not checkpoint.sequence:
        return
    audit = database.audit
    found = connection.execute(sa.select(audit.c.hash).where(audit.c.sequence == checkpoint.sequence)).scalar()
    if stands.sequence < checkpoint.sequence or (found is not None and found != checkpoint.head):
        raise IntegrityError(
            "E7948",
            f"the audit log ends with record {stands.sequence}, or has another record {checkpoint.sequence} than its "
            f"checkpoint of {checkpoint.time[:16]}: its end was taken away",
            f"{RESTORE}; where you restored a backup on purpose, say so with `ratchet audit accept`",
        )


def _recorded(connection: sa.Connection, model: str) -> Iterator[int]:
    """Yield the numbers of the bundles of a model that the audit log names, newest first."""
    audit = database.audit
    query = sa.select(audit.c.sequence, audit.c.key, audit.c.body)
    query = query.where(audit.c.kind == "bundle", audit.c.model == model).order_by(audit.c.sequence.desc()).limit(PAGE)
    rows = connection.execute(query).all()
    while rows:
        for _, key, body in rows:
            table, _, number = key.partition("#")
            if table == database.bundles.name and (body == ERASED or json.loads(body)["action"] != APPROVE):
                yield int(number)
        rows = connection.execute(query.where(audit.c.sequence < rows[-1].sequence)).all()


def _begins_later(connection: sa.Connection) -> bool:
    """Tell whether the log's beginning was removed, as `ratchet audit prune` does."""
    return bool((connection.execute(sa.select(sa.func.min(database.audit.c.sequence))).scalar() or 0) > 1)


def _newest(file: Path, trust: Trust) -> Checkpoint | None:
    """Return the newest checkpoint that counts, of those at a file's end."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    found: Iterator[Any] = (opened("", line, trust).checkpoint for line in reversed(lines) if line.strip())
    return next((each for each in found if each is not None), None)


def _gone(model: str, why: str) -> IntegrityError:
    return IntegrityError("E7948", f"the newest signed decisions about {model} are not there: {why}", RESTORE)
