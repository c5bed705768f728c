"""Work in progress on disk: a part of the examples, redacted, beside the numbers that the global steps need.

    PART/rows.arrow       the redacted rows, in the order of example_id; one record batch a bucket
    PART/numbers.arrow    a numeric column a fact, same order
    PART/bands.bin        LSH keys, band after band: read one band at a time
    PART/shingles.bin     hashed word 3-grams of all rows, one row after the other

A bucket is a range of example_id, the same in all parts, so that rows can be put in their final order bucket by bucket
with no more than one bucket in memory. No raw personal data is in any of these files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.curation.fingerprint import BANDS, Fingerprints
from tasks.curation.kernels import I64, U32, U64

ROWS, NUMBERS, BAND_KEYS, SHINGLES = "rows.arrow", "numbers.arrow", "bands.bin", "shingles.bin"


class Part(NamedTuple):
    """One part on disk."""

    folder: str
    rows: int
    strata: tuple[tuple[str, str], ...] = ()
    """Domain and difficulty of the codes in the column `stratum`."""
    ends: tuple[int, ...] = ()
    """Where each bucket's rows end."""


def write_part(folder: Path, rows: pa.Table, numbers: pa.Table, prints: Fingerprints, buckets: int) -> Part:
    """Write a part.

    Args:
        folder: Where; made here.
        rows: Redacted rows, sorted by `example_id`.
        numbers: Numeric columns of the same rows.
        prints: Fingerprints of the same rows.
        buckets: How many ranges of example_id there are, a power of two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, numbers = _with_strata(rows, numbers)
    numbers = numbers.append_column("exact", pa.array(prints.exact))
    numbers = numbers.append_column("shingles", pa.array(prints.counts.astype(np.uint32)))
    ends = bucket_ends(numbers["id_key"].to_numpy(), buckets)
    flat, nothing = rows.combine_chunks(), pa.RecordBatch.from_pylist([], schema=rows.schema)
    with pa.ipc.new_file(str(folder / ROWS), rows.schema) as writer:  # compressing takes longer than writing more
        for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
            batches = flat.slice(start, end - start).to_batches()
            writer.write_batch(batches[0] if batches else nothing)
    with pa.ipc.new_file(str(folder / NUMBERS), numbers.schema) as writer:
        writer.write_table(numbers)
    prints.bands.tofile(folder / BAND_KEYS)
    prints.shingles.tofile(folder / SHINGLES)
    return Part(str(folder), rows.num_rows, names, tuple(ends.tolist()))


def _with_strata(rows: pa.Table, numbers: pa.Table) -> tuple[tuple[tuple[str, str], ...], pa.Table]:
    """Return the names of the rows' strata, and the numbers with the code of each row's stratum."""
    domain = rows["domain"].combine_chunks().dictionary_encode()
    difficulty = rows["difficulty"].combine_chunks().dictionary_encode()
    levels = len(difficulty.dictionary)
    cell = domain.indices.to_numpy().astype(np.int64) * max(levels, 1) + difficulty.indices.to_numpy()
    cells, code = np.unique(cell, return_inverse=True)
    names = tuple((domain.dictionary[c // levels].as_py(), difficulty.dictionary[c % levels].as_py()) for c in cells)
    return names, numbers.append_column("stratum", pa.array(code.reshape(-1).astype(np.uint32)))


def id_keys(example_ids: pa.ChunkedArray) -> U64:
    """Return the first 64 bits of each example_id (a sha256 in hexadecimal), by which rows are ordered."""
    heads = "".join(value[:16] for value in example_ids.to_pylist())
    return np.frombuffer(bytes.fromhex(heads), dtype=">u8").astype(np.uint64)


def bucket_ends(sorted_keys: U64, buckets: int) -> I64:
    """Return where each bucket ends in sorted keys; bucket b holds the keys from b · 2⁶⁴ / buckets on."""
    borders = np.array([(b << 64) // buckets for b in range(1, buckets)], dtype=np.uint64)
    return np.concatenate([np.searchsorted(sorted_keys, borders), [len(sorted_keys)]]).astype(np.int64, copy=False)


def total_rows(parts: Sequence[Part]) -> int:
    """Return how many rows the parts have together."""
    return sum(part.rows for part in parts)


def numbers(parts: Sequence[Part], name: str) -> NDArray[np.generic]:
    """Return one numeric column of all parts, one after the other; nulls are NaN."""
    if not parts:
        return np.zeros(0)
    columns = []
    for part in parts:
        with pa.memory_map(str(Path(part.folder) / NUMBERS)) as source:
            table = pa.ipc.open_file(source).read_all()
            columns.append(np.array(table[name].to_numpy()))  # a copy: the map is dropped at once
    return np.concatenate(columns)


def strata(parts: Sequence[Part]) -> tuple[I64, list[tuple[str, str]]]:
    """Return the stratum of every row, and the names of the strata, sorted."""
    names = sorted({name for part in parts for name in part.strata})
    place = {name: code for code, name in enumerate(names)}
    codes = numbers(parts, "stratum").astype(np.int64)
    start = 0
    for part in parts:
        codes[start : start + part.rows] = np.array([place[name] for name in part.strata] or [0])[
            codes[start : start + part.rows]
        ]
        start += part.rows
    return codes, names


def sources(parts: Sequence[Part]) -> tuple[I64, list[str]]:
    """Return the code of every row's source, and the names of the sources by code."""
    place: dict[str, int] = {}
    codes = [np.zeros(0, dtype=np.int64)]
    for part in parts:
        with pa.memory_map(str(Path(part.folder) / ROWS)) as file:  # of which the other columns are never touched
            encoded = pa.ipc.open_file(file).read_all()["event_source"].combine_chunks().dictionary_encode()
            here = [place.setdefault(name, len(place)) for name in encoded.dictionary.to_pylist()]
            codes.append(np.array(here, dtype=np.int64)[encoded.indices.to_numpy()])
    return np.concatenate(codes), list(place)


def band(parts: Sequence[Part], number: int) -> U64:
    """Return the LSH keys of one band, of all rows."""
    keys = [
        np.fromfile(Path(part.folder) / BAND_KEYS, dtype=np.uint64, count=part.rows, offset=8 * number * part.rows)
        for part in parts
    ]
    assert 0 <= number < BANDS
    return np.concatenate(keys) if keys else np.zeros(0, dtype=np.uint64)


def bucket_rows(part: Part, bucket: int) -> slice:
    """Return which of a part's rows are in a bucket."""
    return slice(part.ends[bucket - 1] if bucket else 0, part.ends[bucket])


class BucketReader:
    """Reads the rows of buckets; each part's file is opened once."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._stack = contextlib.ExitStack()
        self._files: dict[int, pa.ipc.RecordBatchFileReader] = {}

    def __enter__(self) -> BucketReader:
        """Return the reader; files are opened when needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    def read(self, part: int, bucket: int) -> pa.RecordBatch:
        """Return the rows of one bucket of one part, copied out of the file."""
        if part not in self._files:
            source = self._stack.enter_context(pa.OSFile(str(Path(self._parts[part].folder) / ROWS)))
            self._files[part] = pa.ipc.open_file(source)
        return self._files[part].get_batch(bucket)


class ShingleReader:
    """Reads the shingles of single rows, wherever they are, without mapping files into memory."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._files: dict[int, int] = {}

    def __enter__(self) -> ShingleReader:
        """Return the reader; files are opened when needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)

    def read(self, part: I64, start: I64, count: I64) -> Iterator[U32]:
        """Yield the shingles of rows, given each one's part, first shingle and number of shingles."""
        for number, first, size in zip(part.tolist(), start.tolist(), count.tolist(), strict=True):
            if number not in self._files:
                self._files[number] = os.open(Path(self._parts[number].folder) / SHINGLES, os.O_RDONLY | os.O_CLOEXEC)
            yield np.frombuffer(os.pread(self._files[number], 4 * size, 4 * first), dtype=np.uint32)
