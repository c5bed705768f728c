"""Reading the lines of a partition in blocks, so that memory is bounded whatever a line's length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from registry.errors import ExtractionError
from tasks.extraction.inputs import Partition, Piece

BLOCK_BYTES = 2 * 1024 * 1024
"""How much text is decoded at a time."""


class Block(NamedTuple):
    """Some whole lines, one after the other."""

    piece: int
    """Index of the piece in its partition."""
    start: int
    """Byte offset of the piece in its file."""
    data: bytes
    """The lines with their newlines; the last may lack it."""
    offset: int
    """Byte offset of `data` in the file's (decompressed) text."""
    first_line: int
    """Number of the first line, from 1, counted from the start of the piece."""
    cut: int = 0
    """0, or the true length of the one line in `data`, of which the rest was skipped because it is too long."""

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))


def read_blocks(partition: Partition, longest: int) -> Iterator[Block]:
    """Yield the text of `partition` in blocks of whole lines.

    A line of more than `longest` bytes and several blocks comes alone and cut, with its true length in `cut`.

    Raises:
        ExtractionError: E7002 if a file cannot be read to its end, such as a damaged archive.
    """
    for index, piece in enumerate(partition.pieces):
        try:
            yield from _whole_lines(_chunks(piece), index, piece.start, longest)
        except (OSError, pa.ArrowException) as error:
            raise ExtractionError(
                "E7002",
                f"{piece.name} cannot be read to its end ({str(error).splitlines()[0]})",
                "check that the file is complete, and read it again",
            ) from None


def _chunks(piece: Piece) -> Iterator[bytes]:
    """Yield the (decompressed) bytes of `piece`."""
    if piece.codec is not None:
        with pa.input_stream(piece.path, compression=piece.codec, buffer_size=BLOCK_BYTES) as stream:
            while chunk := stream.read(BLOCK_BYTES):
                yield chunk
        return
    left = piece.end - piece.start
    with Path(piece.path).open("rb", buffering=0) as file:
        file.seek(piece.start)
        while chunk := file.read(min(BLOCK_BYTES, left)):
            left -= len(chunk)
            yield chunk


def _whole_lines(chunks: Iterator[bytes], piece: int, start: int, longest: int) -> Iterator[Block]:
    """Join `chunks` into blocks that end on line ends; `start` is where the first chunk starts."""
    offset, number, tail, skipped = start, 1, b"", 0
    for chunk in chunks:
        if skipped and b"\n" in chunk:  # the end of a line of which only the start was kept
            rest, chunk = chunk.split(b"\n", 1)
            size = len(tail) + skipped + len(rest)
            yield Block(piece, start, tail, offset, number, size)
            offset, number, tail, skipped = offset + size + 1, number + 1, b"", 0
        end = chunk.rfind(b"\n") + 1
        if end:
            data = tail + chunk[:end]
            yield Block(piece, start, data, offset, number)
            offset, number, tail = offset + len(data), number + data.count(b"\n"), chunk[end:]
        elif len(tail) > longest:
            skipped += len(chunk)
        else:
            tail += chunk
    if tail:
        yield Block(piece, start, tail, offset, number, len(tail) + skipped if skipped else 0)
