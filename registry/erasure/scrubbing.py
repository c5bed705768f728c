"""Somebody's words in files that hold other things as well: found, and blanked value by value.

Where a value (a JSON string, a text of a page, a line, a field of a table) holds anything of
`registry.erasure.needles`, all of it is blanked.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import html
import json
import re
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from registry.erasure.needles import Needles
from registry.errors import IntegrityError
from registry.files import write_whole

BLANK = "[erased]"
_NODE = re.compile(r"(?<=>)[^<>]+(?=<)|(?<==\")[^\"<>]*(?=\")")
_CODE = re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL | re.IGNORECASE)
SQLITE = b"SQLite format 3\x00"


def scrubbed(value: Any, needles: Needles) -> Any:
    """Return JSON with every text blanked that holds anything of `needles`; the same object where nothing does."""
    if isinstance(value, str):
        return BLANK if _hit_value(value, needles) else value
    if isinstance(value, dict):
        made: Any = {key: scrubbed(child, needles) for key, child in value.items()}
    elif isinstance(value, list):
        made = [scrubbed(child, needles) for child in value]
    else:
        return value
    return value if made == value else made


def _hit_value(text: str, needles: Needles) -> bool:
    if needles.hit(text):
        return True
    if len(text) % 4 or len(text) < 16 or " " in text:
        return False
    try:  # the exact bytes of a rejected line
        return needles.hit(base64.b64decode(text, validate=True).decode(errors="replace"))
    except (binascii.Error, ValueError):
        return False


def scrubbed_text(text: str, needles: Needles) -> str:
    """Return a text (JSON, JSON lines, a page, or lines of anything) with what holds any of `needles` blanked."""
    if not needles.hit(text) and "\\" not in text and "&" not in text and "raw_base64" not in text:
        return text
    stripped = text.lstrip()
    if stripped[:1] in "{[":
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            made = scrubbed(found, needles)
            return text if made is found else _as_before(made, text)
    if stripped[:1] == "<":
        return _scrubbed_page(text, needles)
    return _scrubbed_lines(text, needles)


def _as_before(value: Any, text: str) -> str:
    indent = len(found[1]) if (found := re.match(r"[{\[]\n( +)", text)) else None
    separators = (",", ": ") if indent else (",", ":") if '": ' not in text[:200] else (", ", ": ")
    made = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return made + ("\n" if text.endswith("\n") else "")


def _scrubbed_lines(text: str, needles: Needles) -> str:
    """Blank the lines that hold anything, also what goes on from one to the next; in lines of JSON only values."""
    lines = text.splitlines(keepends=True)
    ends = list(accumulate(map(len, lines)))
    hit = {
        number
        for first, last in needles.places(text)
        for number in range(bisect_right(ends, first), bisect_right(ends, last - 1) + 1)
    }
    return "".join(_scrubbed_line(line, needles, number in hit) for number, line in enumerate(lines))


def _scrubbed_line(line: str, needles: Needles, hit: bool) -> str:
    body = line.rstrip("\r\n")
    if body[:1] == "{":
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(body)
            made = scrubbed(found, needles)
            return line if made is found else _as_before(made, body) + line[len(body) :]
    return BLANK + line[len(body) :] if hit else line


def _scrubbed_page(text: str, needles: Needles) -> str:
    def blanked(found: re.Match[str]) -> str:
        return BLANK if needles.hit(html.unescape(found[0])) else found[0]

    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_NODE.sub(blanked, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _NODE.sub(blanked, text[end:])])


# --- files ---------------------------------------------------------------------------------------------------------


def scrub_file(path: Path, needles: Needles) -> bool:
    """Blank what a text file or a SQLite database holds of `needles`; tell whether there was anything.

    Binary files are left alone: who made them knows how to take rows out of them.
    """
    if _is_sqlite(path):
        return bool(_scrub_sqlite(path, needles))
    data, packing = _unpacked(path)
    if b"\x00" in data:
        return False
    text = data.decode(errors="surrogateescape")
    made = scrubbed_text(text, needles)
    if made == text:
        return False
    write_whole(path, packing(made.encode(errors="surrogateescape")))
    return True


def holds(path: Path, needles: Needles) -> bool:
    """Tell whether a file of any kind but Parquet holds anything of `needles`."""
    if _is_sqlite(path):
        with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
            return any(True for _ in _fields(database, needles))
    data, _ = _unpacked(path)
    text = data.decode(errors="replace")
    return needles.hit(text) if b"\x00" in data else scrubbed_text(text, needles) != text


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE


def _unpacked(path: Path) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Return what a file says, and how to pack it as it was."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data), lambda plain: gzip.compress(plain, mtime=0)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        with pa.input_stream(pa.py_buffer(data), compression="zstd") as stream:
            return stream.read(), _zstd
    return data, bytes


def _zstd(plain: bytes) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(plain)
    return bytes(sink.getvalue().to_pybytes())


def _scrub_sqlite(path: Path, needles: Needles) -> int:
    """Blank fields of all tables and give the free pages up; return how many fields were blanked."""
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete=ON")
        database.execute("BEGIN IMMEDIATE")
        found = list(_fields(database, needles))
        for table, column, row, text in found:
            change = f"UPDATE {_quoted(table)} SET {_quoted(column)} = ? WHERE rowid = ?"  # noqa: S608
            database.execute(change, (scrubbed_text(text, needles), row))
        database.execute("COMMIT")
        if found:
            database.execute("VACUUM")
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if found and busy:
        raise still_read(path)
    return len(found)


def still_read(path: object) -> IntegrityError:
    """Return the error that says that a database keeps old pages, because somebody reads it all the time."""
    return IntegrityError(
        "E7986", f"{path} is read by another process, and keeps what was erased until that ends",
        "stop Ratchet's services and run it again",
    )  # fmt: skip


def _fields(database: sqlite3.Connection, needles: Needles) -> Iterator[tuple[str, str, int, str]]:
    """Yield the fields of all tables that hold anything of `needles`: table, column, row and text."""
    for table, column in _text_columns(database):
        name = _quoted(column)
        query = f"SELECT rowid, {name} FROM {_quoted(table)} WHERE typeof({name}) = 'text'"  # noqa: S608
        for row, text in database.execute(query):
            if scrubbed_text(text, needles) != text:
                yield table, column, row, text


def _text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    tables = [name for name, sql in database.execute(query) if "WITHOUT ROWID" not in str(sql).upper()]
    return [
        (table, row[1])
        for table in tables
        for row in database.execute(f"PRAGMA table_info({_quoted(table)})")
        if not row[5]  # a primary key names a row, and is no text
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
