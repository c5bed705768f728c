"""Reading the audit log: the last records, and exports as JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from flows.export import target
from flows.settings import Settings
from flows.stores import open_stores
from registry.audit.log import AuditRecord

Format = Literal["json", "csv"]
COLUMNS = ("sequence", "time", "by", "kind", "model", "version", "body", "key", "digest", "previous", "hash")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet would run."""


class Asked(NamedTuple):
    """Which records somebody asks for."""

    model: str | None = None
    kind: str | None = None
    since: str | None = None
    until: str | None = None


def read_audit(settings: Settings, asked: Asked, last: int) -> dict[str, Any]:
    """Return the last records, oldest first: {"records": [{"sequence", "time", "by", "kind", ..., "body"}]}."""
    records = _records(settings, asked, last)
    return {"records": [_readable(record) for record in records]}


def export_audit(settings: Settings, asked: Asked, format_: Format, out: Path | None) -> dict[str, Any]:
    """Write records as JSON lines or CSV to a file or to standard output; return {"format", "records", "path"}.

    In CSV the body is JSON text, a cell that a spreadsheet would run as a formula begins with an apostrophe, and
    control characters are written as escapes.

    Raises:
        ExtractionError: E7033 a time is none.
        CurationError: E7271 the file cannot be written.
    """
    records = _records(settings, asked)
    with target(out) as stream:
        count = WRITERS[format_](stream, records)
    return {"format": format_, "records": count, "path": None if out is None else str(out)}


def _records(settings: Settings, asked: Asked, last: int | None = None) -> Iterator[AuditRecord]:
    since, until = _moment(asked.since), _moment(asked.until)
    return open_stores(settings).audit.records(model=asked.model, kind=asked.kind, since=since, until=until, last=last)


def _as_json(stream: TextIO, records: Iterator[AuditRecord]) -> int:
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        stream.write(json.dumps(_readable(record), ensure_ascii=False) + "\n")
    return count


def _as_csv(stream: TextIO, records: Iterator[AuditRecord]) -> int:
    writer, count = csv.writer(stream, lineterminator="\n"), 0
    writer.writerow(COLUMNS)
    for count, record in enumerate(records, 1):  # noqa: B007
        writer.writerow([_cell(getattr(record, name)) for name in COLUMNS])
    return count


WRITERS: dict[Format, Callable[[TextIO, Iterator[AuditRecord]], int]] = {"json": _as_json, "csv": _as_csv}


def _cell(value: object) -> object:
    """Return a value as a cell that no spreadsheet runs and no terminal obeys: control characters as escapes."""
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return f"'{text}" if value.lstrip().startswith(FORMULA) or value.startswith(FORMULA) else text


def _readable(record: AuditRecord) -> dict[str, Any]:
    values = record._asdict()
    return {name: json.loads(values[name]) if name == "body" else values[name] for name in COLUMNS}


def _moment(text: str | None) -> str | None:
    """Return a time as records have it."""
    from registry.event_queries import moment

    if text is None:
        return None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment(text))).isoformat(timespec="microseconds")
