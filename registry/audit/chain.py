"""The chain of the audit log: what a record's hash is taken of, and which rows of other tables have a record in it.

    digest = sha256(body)
    hash   = sha256(canonical JSON of {by, digest, key, kind, model, previous, sequence, time, version})

`previous` is the hash of the record before, so that a record cannot be changed, taken out or moved without all hashes
after it. The body is in it by its digest alone: it can be erased, and the chain still holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as _quoted
from typing import Any, NamedTuple

from registry.records import canonical_json

GENESIS = "0" * 64
"""`previous` of the first record."""
ERASED = '{"erased":true}'
"""The body that an erased one is replaced by."""


class Chained(NamedTuple):
    """A table whose every row has a record in the chain: its key is `TABLE#SEQUENCE`, its body the row."""

    kind: str
    """Kind of the record, or the column that holds it."""
    by: str | None
    """The column that says who did it."""
    long: str | None = None
    """A column that stands in the record by its digest alone: it is long, or may be erased."""


CHAINED = {
    "history": Chained("action", "by"),
    "bundles": Chained("bundle", None, "envelope"),
    "sources": Chained("source_state", "by"),
    "intents": Chained("intent", None, "body"),
    "closures": Chained("closure", None),
    "runs": Chained("run", None, "body"),
    "experiments": Chained("experiment_event", None, "body"),
}


def digest(text: str) -> str:
    """Return the sha256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def record_hash(
    sequence: int, time: str, by: str, kind: str, model: str, version: str, key: str, digest: str, previous: str
) -> str:
    """Return the hash of a record.

    The text equals `canonical_json` of the fields and is put together by hand, which takes a fifth of the time:
    whoever verifies a log does this for each record. The two digests are hexadecimal, so that they need no escapes.
    """
    text = (
        f'{{"by":{_quoted(by)},"digest":"{digest}","key":{_quoted(key)},"kind":{_quoted(kind)},'
        f'"model":{_quoted(model)},"previous":"{previous}","sequence":{sequence},"time":{_quoted(time)},'
        f'"version":{_quoted(version)}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()


def linked(records: Iterable[Mapping[str, Any]], sequence: int, head: str) -> list[dict[str, Any]]:
    """Return records {time, by, kind, model, version, key, body} as rows that follow the record `sequence`."""
    rows = []
    for number, record in enumerate(records, sequence + 1):
        row = {**record, "sequence": number, "digest": digest(record["body"]), "previous": head}
        head = record_hash(**{name: value for name, value in row.items() if name != "body"})
        rows.append({**row, "hash": head})
    return rows


def is_of_row(key: str) -> bool:
    """Tell whether the record under a key is that of a row in a chained table."""
    table, mark, _ = key.partition("#")
    return bool(mark) and table in CHAINED


def record_of(table: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the audit record that a row of a chained table has: {time, by, kind, model, version, key, body}."""
    chained = CHAINED[table]
    return {
        "time": row["time"],
        "by": row[chained.by] if chained.by else "ratchet",
        "kind": row.get(chained.kind, chained.kind),
        "model": row.get("model", ""),
        "version": row.get("version", ""),
        "key": f"{table}#{row['sequence']}",
        "body": row_text(table, row),
    }


def row_text(table: str, row: Mapping[str, Any]) -> str:
    """Return a row of a chained table as the body of its record: canonical JSON."""
    long = CHAINED[table].long
    values = {name: digest(value) if name == long and value is not None else value for name, value in row.items()}
    return canonical_json(values)
