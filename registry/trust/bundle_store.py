"""The table of bundles: appended, numbered and linked a model, and read back with what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry import database
from registry.audit.chain import record_of
from registry.home import now
from registry.trust import freshness
from registry.trust.signing import Keyring
from registry.trust.statements import (
    APPROVE,
    ATTESTING,
    GENESIS,
    PAYLOAD_TYPE,
    Bundle,
    broken,
    digest_of,
    opened,
    statement,
)
from registry.trust.subjects import Subjects

PAGE = 20
"""How many bundles are read at once: the newest ones nearly always say what is asked."""


class BundleStore:
    """The bundles of all models.

    Args:
        url: The database of records.
        keyring: Signs, and says whose signatures count.
    """

    def __init__(self, url: str, keyring: Keyring) -> None:
        self.keyring = keyring
        self._engine = database.connect(url)

    def of(self, model: str, version: str | None = None, action: str | None = None) -> list[Bundle]:
        """Return the bundles of a model, or of one version, or of one action, oldest first; bad ones say why."""
        table, trust = database.bundles, self.keyring.trust()
        query = sa.select(table).where(_ours(model)).order_by(table.c.sequence)
        if version is not None:
            query = query.where(table.c.version == version)
        if action is not None:
            query = query.where(table.c.action == action)
        return [opened(dict(row), trust.opened) for row in database.read(self._engine, query)]

    def downwards(self, model: str) -> Iterator[Bundle]:
        """Yield a model's bundles, newest first, as long as they count and none is missing between them.

        Raises:
            IntegrityError: E794x one of them does not count, E7948 one is missing, moved or changed.
        """
        table, trust = database.bundles, self.keyring.trust()
        newest = sa.select(table).where(_ours(model)).order_by(table.c.sequence.desc()).limit(PAGE)
        above: Bundle | None = None
        rows = database.read(self._engine, newest)
        while rows:
            for row in rows:
                bundle = opened(dict(row), trust.opened)
                if above is not None and above.predicate["previous"] != bundle.digest:
                    raise broken(above, "the one before it is missing, or another one")
                if bundle.problem is not None:
                    raise bundle.problem
                yield bundle
                above = bundle
            rows = database.read(self._engine, newest.where(table.c.sequence < rows[-1]["sequence"]))
        if above is not None and above.predicate["previous"] != GENESIS:
            raise broken(above, "the one before it is gone")

    def check_fresh(self, model: str, checkpoints: Path) -> None:
        """Check that a model's newest bundles are there, as the audit log and its newest checkpoint name them.

        Raises:
            IntegrityError: E7948 they were taken away, or an older state of the database was put back.
        """
        trust = self.keyring.trust()
        with database.explained(self._engine), self._engine.connect() as connection:
            freshness.check_newest(connection, model)
            freshness.check_end(connection, checkpoints, trust)

    def kept(self, key: str) -> Bundle | None:
        """Return the bundle that was appended under a key, None where none was."""
        found = database.read(self._engine, sa.select(database.bundles).where(database.bundles.c.key == key))
        return opened(dict(found[0]), self.keyring.trust().opened) if found else None

    def last_attested(self, model: str, version: str) -> Bundle | None:
        """Return a version's newest attestation, whether it counts or not."""
        table = database.bundles
        query = sa.select(table).where(_ours(model), table.c.version == version, table.c.action.in_(ATTESTING))
        found = database.read(self._engine, query.order_by(table.c.sequence.desc()).limit(1))
        return opened(dict(found[0]), self.keyring.trust().opened) if found else None

    def under_way(self, bundle: Bundle) -> bool:
        """Tell whether the transition of a bundle was begun and has not moved all of its aliases yet.

        The audit log has a record of each that was moved; a closure that is taken away opens nothing again.
        """
        intents, closures, audit = database.intents, database.closures, database.audit
        moved = sa.select(sa.func.count().label("count")).where(audit.c.key.like(f"{bundle.key}:%:deploy"))
        if bundle.predicate["aliases"] and database.read(self._engine, moved)[0]["count"] >= len(
            bundle.predicate["aliases"]
        ):
            return False
        begun = database.read(self._engine, sa.select(intents.c.key).where(intents.c.key == bundle.key))
        closed = database.read(self._engine, sa.select(closures.c.key).where(closures.c.key == bundle.key))
        return bool(begun) and not closed

    def superseded(self, key: str) -> bool:
        """Tell whether a later decision about the same model follows that which was signed under a key."""
        table = database.bundles
        found = database.read(self._engine, sa.select(table.c.model, table.c.sequence).where(table.c.key == key))
        if not found:
            return False
        later = sa.and_(_ours(found[0]["model"]), table.c.sequence > found[0]["sequence"])
        return bool(
            database.read(self._engine, sa.select(table.c.key).where(later, table.c.action.not_in(ATTESTING)).limit(1))
        )

    def append(
        self, key: str, model: str, version: str, action: str, kind: str, subjects: Subjects, facts: Mapping[str, Any]
    ) -> Bundle:
        """Sign a statement and append it, numbered and linked to the one before; once under `key`.

        Args:
            key: Under which it is kept.
            model: Name of the model.
            version: The version that it is about.
            action: What was done.
            kind: The predicate's type.
            subjects: The files that it is about.
            facts: What it says, besides `model`, `version`, `action`, `time`, `serial`, `previous`, `audit`.

        Raises:
            SettingsError: E789x there is no key to sign with.
        """
        signer, table, moment = self.keyring.own(), database.bundles, now()
        with database.explained(self._engine), database.writing(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.key == key)).mappings().first()
            if row is None:
                predicate = {
                    **facts,
                    "model": model,
                    "version": version,
                    "action": action,
                    "time": moment,
                    **_place(connection, model),
                }
                envelope = signer.sign(statement(kind, subjects, predicate), PAYLOAD_TYPE)
                last = connection.execute(sa.select(sa.func.max(table.c.sequence))).scalar() or 0
                values = {
                    "sequence": last + 1,
                    "key": key,
                    "time": moment,
                    "model": model,
                    "version": version,
                    "action": action,
                    "digest": digest_of(envelope),
                    "envelope": envelope,
                }
                connection.execute(sa.insert(table).values(**values))
                row = connection.execute(sa.select(table).where(table.c.key == key)).mappings().one()
                database.chain(connection, [record_of(table.name, dict(row))])
        return opened(dict(row), self.keyring.trust().opened)


def _ours(model: str) -> sa.ColumnElement[bool]:
    return sa.and_(database.bundles.c.model == model, database.bundles.c.action != APPROVE)


def _place(connection: sa.Connection, model: str) -> dict[str, Any]:
    """Return where a model's next bundle stands: in its own chain, and in the audit log."""
    bundles, audit = database.bundles, database.audit
    newest = sa.select(bundles.c.digest).where(_ours(model)).order_by(bundles.c.sequence.desc()).limit(1)
    count = connection.execute(sa.select(sa.func.count()).select_from(bundles).where(_ours(model))).scalar() or 0
    head = connection.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    return {
        "serial": count + 1,
        "previous": connection.execute(newest).scalar() or GENESIS,
        "audit": {"sequence": head[0], "head": head[1]} if head else None,
    }
