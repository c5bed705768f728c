"""The audit log: durable appends, and looking whether anybody tampered with it; on SQLite and on PostgreSQL.

    python -m benchmarks.run --only audit_log

The peer of verifying is what no verifier can do without: reading the same rows and taking a sha256 of each body. Where
Debian's PostgreSQL is not installed its part is left out.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.figures import Figure, figure
from registry import database
from registry.audit.log import AuditLog, Entry
from registry.audit.seals import Seals
from registry.audit.tampering import examine
from registry.history import History
from registry.home import Home
from registry.trust.signing import Keyring

RECORDS, SINGLE, LINES, ROUNDS = 200_000, 500, 500, 3


def taken(do: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def fill(log: AuditLog, records: int) -> None:
    """Append records of about 200 bytes, in batches."""
    reason = "too few new events since the last version was trained: 412 of 1,000 " * 2
    log.append_many(
        Entry("trigger_check", "agent", {"fired": False, "number": n, "reason": reason}) for n in range(records)
    )


def plain_read(log: AuditLog) -> None:
    """Read the rows that are verified, and take the sha256 of each body."""
    columns = (database.audit.c[name] for name in ("sequence", "key", "time", "kind", "model", "by", "hash", "body"))
    query = sa.select(*columns).order_by(database.audit.c.sequence)
    with log.engine.connect() as connection, connection.execution_options(yield_per=5000).execute(query) as found:
        for batch in found.partitions():
            for row in batch:
                hashlib.sha256(row.body.encode()).hexdigest()


def measured(name: str, url: str, folder: Path) -> list[Figure]:
    """Measure one database."""
    log, history, home = AuditLog(url), History(url), Home(folder).create()
    seals = Seals(log, Keyring(home.keys), home)
    batches = RECORDS / taken(lambda: fill(log, RECORDS))
    singles = SINGLE / taken(lambda: [history.note("check", "agent", {}) for _ in range(SINGLE)])
    for number in range(LINES):
        history.append("agent", str(number), "train", before=None, after="development", by="bench")
    sealing = taken(seals.write)
    stands, trust = seals.standing(), seals.keyring.trust()
    seconds = [taken(lambda: examine(log.engine, trust, stands.checkpoints)) for _ in range(ROUNDS)]
    plain = min(taken(lambda: plain_read(log)) for _ in range(ROUNDS))
    assert examine(log.engine, trust, stands.checkpoints).findings == []
    count = log.head().count
    return [
        figure(f"{name}: durable appends in batches of 1,000", batches, "/s", least=1_000),
        figure(f"{name}: durable appends one by one", singles, "/s"),
        figure(f"{name}: records verified", count / min(seconds), "/s", least=100_000),
        figure(f"{name}: verifying, in times of reading and digesting alone", min(seconds) / plain, "×"),
        figure(f"{name}: a signed checkpoint", 1e3 * sealing, "ms"),
    ]


def results(folder: Path) -> list[Figure]:
    """Measure both databases."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        found = measured("SQLite", f"sqlite:///{name}/audit.db", Path(name) / "home")
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.postgres import binaries, running

        if binaries() is not None:
            with running() as server:
                found += measured("PostgreSQL", server.fresh(), Path(name) / "other")
    return found
