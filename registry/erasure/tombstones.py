"""Examples that were erased from a dataset version: their digests stay, signed, and the version stays verifiable.

    datasets/NAME/VERSION/dataset.json   never changes: the digest of the version is that of what it once was
                          erased.json    DSSE envelope: the files as they are now, a tombstone for each row that went

Rows go and never come; the record says which digests had the files before, so that nobody can pass off a changed file
as one that something was erased from, without the key of the installation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from registry.errors import IntegrityError
from registry.files import flush, write_whole
from registry.records import DatasetManifest, Record, Split, SplitFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from registry.trust.envelopes import Signer, Trust

ERASED = "erased.json"
PAYLOAD_TYPE = "application/vnd.ratchet.erased+json"
ROW_GROUP = 8192
_ASIDE = ".erasing"


class Tombstone(Record):
    """What is left of an example."""

    example_id: str
    """Digest of its content, as it came."""
    split: Split
    sha256: str
    """Of its messages, as they were in the dataset."""
    event_key: int
    """64 bits of the digest of its event's (source, id)."""


class Erased(Record):
    """What was erased from a dataset version."""

    dataset: str
    version: str
    digest: str
    """Of the version, from its manifest."""
    files: list[SplitFile]
    """As they are now, in the order of the manifest."""
    before: list[str]
    """Digests that the files had when the version was made."""
    tombstones: list[Tombstone]


def read(folder: Path, manifest: DatasetManifest, trust: Callable[[], Trust]) -> Erased | None:
    """Return what was erased from a version; None where nothing was.

    Raises:
        IntegrityError: E794x nobody signed it whose signature counts, E7980 it is not about this version.
    """
    try:
        envelope = (folder / ERASED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(folder, str(error)[:120]) from error
    try:
        found = Erased.model_validate(trust().opened(envelope, PAYLOAD_TYPE).payload)
    except pydantic.ValidationError as error:
        raise _wrong(folder, f"{error.error_count()} fields are not as they were written") from error
    if (found.dataset, found.version, found.digest) != (manifest.name, manifest.version, manifest.digest):
        raise _wrong(folder, f"it is about {found.dataset}/{found.version}")
    named = [(file.path, file.split) for file in manifest.files]
    rows = sum(file.rows for file in found.files) + len(found.tombstones)
    if [(file.path, file.split) for file in found.files] != named or found.before != [f.sha256 for f in manifest.files]:
        raise _wrong(folder, "it names other files")
    if rows != sum(file.rows for file in manifest.files):
        raise _wrong(folder, f"{rows} rows and tombstones are not the rows that there were")
    return found


def _wrong(folder: Path, what: str) -> IntegrityError:
    return IntegrityError("E7980", f"{folder / ERASED} is damaged: {what}", "restore it from a backup")


def take_out(
    folder: Path,
    manifest: DatasetManifest,
    wanted: Callable[[pa.Schema], pc.Expression],
    signer: Signer,
    trust: Callable[[], Trust],
) -> int:
    """Erase the rows of a version for which `wanted` holds, and return how many those were.

    The new files are written aside, then the record, then the files take their places: a crash in between is put right
    by whoever erases the next time (`finish`).

    Args:
        folder: Of the version.
        manifest: Of the version.
        wanted: Given the schema, returns which rows are to go, as a filter.
        signer: Signs the record.
        trust: Whose signature on the record that is there counts.
    """
    finish(folder, manifest, trust)
    known = read(folder, manifest, trust)
    files, gone = [], list(known.tombstones) if known else []
    fresh = 0
    for file in known.files if known else manifest.files:
        path = folder / file.path
        _check(path, file)
        left, tombstones = _without(path, file, wanted)
        fresh += len(tombstones)
        gone += tombstones
        files.append(left)
    if not fresh:
        return 0
    record = Erased(
        dataset=manifest.name, version=manifest.version, digest=manifest.digest, files=files,
        before=[file.sha256 for file in manifest.files], tombstones=sorted(gone, key=lambda each: each.example_id),
    )  # fmt: skip
    write_whole(folder / ERASED, signer.sign(record.model_dump(mode="json"), PAYLOAD_TYPE).encode())
    flush(folder)
    finish(folder, manifest, trust)
    return fresh


def finish(folder: Path, manifest: DatasetManifest, trust: Callable[[], Trust]) -> None:
    """Put files in their places that a crash left aside, if the record names them; what it does not name goes."""
    left = sorted(folder.glob(f"*{_ASIDE}"))
    if not left:
        return
    known = read(folder, manifest, trust)
    digests = {file.path: file.sha256 for file in known.files} if known else {}
    for aside in left:
        place = aside.with_name(aside.name.removesuffix(_ASIDE))
        if digests.get(place.name) == _digest(aside):
            aside.replace(place)
        else:
            aside.unlink()
    flush(folder)


def _without(
    path: Path, file: SplitFile, wanted: Callable[[pa.Schema], pc.Expression]
) -> tuple[SplitFile, list[Tombstone]]:
    """Write a file aside without the rows that are wanted; return what it is then, and the tombstones of these rows."""
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

    table = pads.dataset(path, format="parquet")
    going = wanted(table.schema)
    rows = table.to_table(filter=going)
    if not rows.num_rows:
        return file, []
    aside = path.with_name(path.name + _ASIDE)
    kept = table.to_table(filter=~going).combine_chunks()
    pq.write_table(kept, aside, compression="zstd", compression_level=1, row_group_size=ROW_GROUP)
    flush(aside)
    made = SplitFile(path=file.path, split=file.split, rows=kept.num_rows, sha256=_digest(aside))
    return made, [_tombstone(row, file.split) for row in rows.to_pylist()]


def _tombstone(row: dict[str, Any], split: Split) -> Tombstone:
    return Tombstone(
        example_id=row["example_id"],
        split=split,
        sha256=hashlib.sha256(row["messages"].encode()).hexdigest(),
        event_key=int(row.get("event_key") or 0),
    )


def _check(path: Path, file: SplitFile) -> None:
    if not path.is_file() or _digest(path) != file.sha256:
        raise IntegrityError("E7912", f"{path} is missing or was changed", "restore it from a backup")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
