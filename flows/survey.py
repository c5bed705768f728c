"""The first step of making a dataset, one partition at a time: events → redacted rows and numbers on disk.

    extract → features → redact → fingerprint → scratch

Of a partition only numbers and file names come back. Its raw text is in memory while the partition is worked on and
nowhere else, but for lines that are no events, which `rejects.jsonl` must keep as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from tasks.curation import scratch
from tasks.curation.policy import Kind
from tasks.curation.prepare import prepare
from tasks.curation.scratch import Part
from tasks.extraction.extract import Extracted, LineCounts, PieceLines, extract_blocks
from tasks.extraction.inputs import Partition
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Reject, write_rejects
from tasks.extraction.resolve import Numbers, numbered
from tasks.filtering.features import features

FEEDBACK = "feedback.arrow"
_OF_FEEDBACK = "feedback_"
RESOLVED = tuple(name for name in Numbers._fields if name != "counts" and not name.startswith(_OF_FEEDBACK))
RESOLVED_FEEDBACK = tuple(name for name in Numbers._fields if name.startswith(_OF_FEEDBACK))
NUMBERS = (*RESOLVED, "confidence", "subject_key", "session_key", "prompt_key")
"""Columns of the examples that the global steps ask for."""
FEATURE = "feature_"
"""Prefix of the features' columns in scratch."""


class SurveyPiece(NamedTuple):
    """One partition to survey."""

    partition: Partition
    policy: ExtractionPolicy
    kinds: tuple[Kind, ...]
    folder: str
    """Where the parts go."""
    rejects: str
    """Where the raw text of rejected lines may go until `rejects.jsonl` is whole."""
    buckets: int
    bars: Callable[[str], bool] | None = None
    """Tells whether a source may not teach; None where all may."""


class Surveyed(NamedTuple):
    """A part of a partition: what is in scratch, and what was counted."""

    part: Part
    counts: LineCounts
    lines: tuple[PieceLines, ...]
    redacted: dict[str, int]
    rejects: str | None
    """File of its rejects, None if it has none."""


def survey(piece: SurveyPiece) -> list[Surveyed]:
    """Survey a partition; a compressed one may give several parts."""
    return [
        _survey_part(piece, extracted, number)
        for number, extracted in enumerate(extract_blocks(piece.partition, piece.policy, piece.bars))
    ]


def _survey_part(piece: SurveyPiece, extracted: Extracted, number: int) -> Surveyed:
    name = f"part-{piece.partition.index:05d}-{number:04d}"
    examples = extracted.examples
    columns = {column: examples[column] for column in NUMBERS}
    for feature, values in zip(*_features(examples), strict=True):
        columns[FEATURE + feature] = values
    folder = Path(piece.folder) / name
    part, redacted = prepare(examples, pa.table(columns), piece.kinds, folder, piece.buckets)
    with pa.ipc.new_file(str(folder / FEEDBACK), extracted.feedback.schema) as writer:
        writer.write_table(extracted.feedback)
    rejects = None
    if extracted.rejects:
        rejects = str(Path(piece.rejects) / name)
        Path(rejects).write_bytes(msgspec.msgpack.encode(extracted.rejects))
    return Surveyed(part, extracted.counts, extracted.lines, redacted, rejects)


def _features(examples: pa.Table) -> tuple[list[str], list[pa.ChunkedArray]]:
    table = features(examples)
    return table.column_names, table.columns


def resolve_numbers(surveyed: Sequence[Surveyed]) -> Iterator[Numbers]:
    """Yield what `tasks.extraction.resolve` needs of each part."""
    for each in surveyed:
        columns: dict[str, Any] = {name: scratch.numbers([each.part], name) for name in RESOLVED}
        with pa.OSFile(str(Path(each.part.folder) / FEEDBACK)) as source:
            feedback = pa.ipc.open_file(source).read_all()
        for name in RESOLVED_FEEDBACK:
            columns[name] = np.array(feedback[name.removeprefix(_OF_FEEDBACK)].to_numpy())
        yield Numbers(**columns, counts=each.counts)


def collect_rejects(surveyed: Sequence[Surveyed], out: Path) -> Path:
    """Write `rejects.jsonl`, whole or not at all, with the line numbers of the files."""

    def rejects() -> Iterator[Reject]:
        every: list[tuple[Sequence[Reject], Sequence[PieceLines]]] = [([], each.lines) for each in surveyed]
        for place, each in enumerate(surveyed):
            if each.rejects is not None:
                found = msgspec.msgpack.decode(Path(each.rejects).read_bytes(), type=list[Reject])
                yield from numbered([*every[:place], (found, each.lines), *every[place + 1 :]])

    path = out / "rejects.jsonl"
    aside = path.with_suffix(".jsonl.part")
    write_rejects(rejects(), aside)
    aside.replace(path)
    return path
