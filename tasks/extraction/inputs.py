"""Which files are read, what they hold, and how they are cut into partitions."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from registry.errors import ExtractionError, listed

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
"""File endings that are decompressed, with Arrow's name of the codec."""
_PLAIN = (".jsonl", ".ndjson", ".json")
FOLDER_ENDINGS = (*_PLAIN, *(plain + packed for plain in _PLAIN for packed in COMPRESSED))
"""What is read of a folder; other files in it are left alone."""
DIGEST_CHUNK = 64 * 1024 * 1024
BLOCK = 1024 * 1024
SPOOL = "ratchet-stdin-"
"""How the copy of standard input is called; messages and rejects call it `-`."""


class Input(NamedTuple):
    """One file of events."""

    path: str
    """Where the bytes are."""
    name: str
    """How messages and rejects call it: the path as given, or `-`."""
    size: int
    """Bytes on disk."""
    spooled: bool = False
    """True for standard input, which was copied to a private file; `discard` removes it."""

    @property
    def codec(self) -> str | None:
        """Arrow's name of the compression, or None."""
        return COMPRESSED.get(Path(self.path).suffix)


class Piece(NamedTuple):
    """Whole lines of one file: the bytes from `start` up to `end`."""

    path: str
    name: str
    start: int
    end: int
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """What one worker reads at a time."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(piece.end - piece.start for piece in self.pieces)


def find_inputs(paths: Sequence[str | Path], scratch: Path | None = None) -> list[Input]:
    """Return the event files that `paths` name, sorted by name, each file once.

    Args:
        paths: Files, folders (read to any depth), globs, or `-` for standard input. Of folders and globs, empty files
            are left out: rotating logs begin with one.
        scratch: Where standard input is copied to; the system's temporary folder by default.

    Raises:
        ExtractionError: E7001 with everything that is missing, empty or unreadable, all at once.
    """
    failures: list[str] = [] if paths else ["no input was named"]
    found: dict[Path, Input] = {}
    for given in map(str, paths):
        if given == "-":
            named = [_spool(scratch)]
        else:
            files = _files(given, failures)
            named = [Input(str(path), "-" if path.name.startswith(SPOOL) else str(path), 0) for path in files]
        for item in named:
            path = Path(item.path)
            if failure := _unreadable(path):
                failures.append(f"{item.name} {failure}")
                discard([item])
            else:
                found.setdefault(path.resolve(), item._replace(size=path.stat().st_size))
    if failures:
        discard(list(found.values()))
        raise ExtractionError(
            "E7001", f"events cannot be read: {listed(failures)}", "name files, folders or globs of JSON Lines, or -"
        )
    return sorted(found.values(), key=lambda item: item.name)


def _files(given: str, failures: list[str]) -> list[Path]:
    """Return the files behind one argument; what is wrong with it goes to `failures`."""
    path = Path(given)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.name.endswith(FOLDER_ENDINGS) and file.is_file())
        if not files:
            failures.append(f"{given} holds no file named {', '.join(FOLDER_ENDINGS[:3])}")
        return _with_content(given, files, failures)
    if path.exists() or not any(sign in given for sign in "*?["):
        return [path]
    files = sorted(file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if file.is_file())
    if not files:
        failures.append(f"{given} matches no file")
    return _with_content(given, files, failures)


def _with_content(given: str, files: list[Path], failures: list[str]) -> list[Path]:
    found = [file for file in files if file.stat().st_size]
    if files and not found:
        failures.append(f"{given} has empty files only")
    return found


def _spool(scratch: Path | None) -> Input:
    """Copy standard input to a file that only this user can read."""
    handle, path = tempfile.mkstemp(prefix=SPOOL, suffix=".jsonl", dir=scratch)
    with os.fdopen(handle, "wb") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, BLOCK)
    return Input(path, "-", 0, spooled=True)


def _unreadable(path: Path) -> str | None:
    """Return why `path` cannot be read, or None."""
    if path.exists() and not path.is_file():  # it is read twice, which a pipe does not bear
        return "is no regular file; pipe it into -"
    if any("\udc80" <= character <= "\udcff" for character in str(path)):
        return "has a name that is not UTF-8; rename it"
    try:
        with path.open("rb") as stream:
            return None if stream.read(1) else "is empty"
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def discard(inputs: Sequence[Input]) -> None:
    """Remove the copy of standard input; call it when the run is over."""
    for item in inputs:
        if item.spooled:
            Path(item.path).unlink(missing_ok=True)


def input_digests(inputs: Sequence[Input]) -> list[str]:
    """Return a digest of the content of each input, in hexadecimal.

    A file is digested in chunks of 64 MiB, chunks side by side in two threads; its digest is the sha256 of its chunks'
    sha256.
    """
    with ThreadPoolExecutor(2) as pool:
        files = []
        for item in inputs:
            starts = range(0, item.size, DIGEST_CHUNK)
            chunks = pool.map(_chunk_digest, [item.path] * len(starts), starts)
            files.append(hashlib.sha256(b"".join(chunks)).hexdigest())
    return files


def combined_digest(digests: Sequence[str]) -> str:
    """Return the sha256 of the sorted digests of inputs."""
    return hashlib.sha256(b"".join(sorted(map(bytes.fromhex, digests)))).hexdigest()


def _chunk_digest(path: str, start: int) -> bytes:
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        stream.seek(start)
        left = DIGEST_CHUNK
        while left and (block := stream.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest.digest()


def split_inputs(inputs: Sequence[Input], partition_bytes: int) -> list[Partition]:
    """Cut `inputs` into partitions of about `partition_bytes` on line ends; small files share one.

    The cut depends on the sizes and line ends of the files alone, never on the number of workers. A compressed file
    is a partition of its own and is streamed (`tasks.extraction.extract.extract_blocks` bounds its memory).
    """
    partitions: list[tuple[Piece, ...]] = []
    packed: list[Piece] = []
    size = 0
    for item in inputs:
        pieces = list(_pieces(item, partition_bytes))
        alone = item.codec is not None or len(pieces) > 1
        if packed and (alone or size + item.size > partition_bytes):
            partitions.append(tuple(packed))
            packed, size = [], 0
        if alone:
            partitions.extend((piece,) for piece in pieces)
        else:
            packed += pieces
            size += item.size
    if packed:
        partitions.append(tuple(packed))
    return [Partition(index, pieces) for index, pieces in enumerate(partitions)]


def _pieces(item: Input, partition_bytes: int) -> Iterator[Piece]:
    """Yield the pieces of one file, each ending on a line end."""
    if item.codec is not None:
        yield Piece(item.path, item.name, 0, item.size, item.codec)
        return
    start = 0
    with Path(item.path).open("rb") as stream:
        while start < item.size:
            end = _line_end(stream, start + partition_bytes, item.size)
            yield Piece(item.path, item.name, start, end)
            start = end


def _line_end(stream: BinaryIO, position: int, size: int) -> int:
    """Return the offset behind the first newline at or after `position - 1`, or `size`."""
    if position >= size:
        return size
    stream.seek(position - 1)
    at = position - 1
    while block := stream.read(BLOCK):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return size
