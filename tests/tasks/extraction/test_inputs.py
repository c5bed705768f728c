"""Finding files, their digest, and cutting them into partitions."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from registry.errors import ExtractionError
from tasks.extraction.extract import extract, extract_blocks, merged
from tasks.extraction.inputs import combined_digest, discard, find_inputs, input_digests, split_inputs
from tasks.extraction.policy import ExtractionPolicy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.ndjson", "deep/c.jsonl"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b"d\n"))
    (tmp_path / "notes.txt").write_text("not read\n")
    return tmp_path


def names(paths: list[str], root: Path) -> list[str]:
    return [str(Path(item.name).relative_to(root)) for item in find_inputs(paths)]


def test_files_folders_and_globs_are_found_once_and_in_order_of_name(folder):
    assert names([str(folder)], folder) == ["a.ndjson", "b.jsonl", "d.jsonl.gz", "deep/c.jsonl"]
    assert names([f"{folder}/**/*.jsonl", f"{folder}/b.jsonl"], folder) == ["b.jsonl", "deep/c.jsonl"]
    assert names([f"{folder}/notes.txt"], folder) == ["notes.txt"]


def test_relative_globs_start_in_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [item.name for item in find_inputs(["*.jsonl"])] == ["b.jsonl"]


def test_all_that_cannot_be_read_is_said_at_once(folder):
    (folder / "empty.jsonl").touch()
    (folder / "void").mkdir()
    wrong = ["missing.jsonl", "empty.jsonl", "void", "x*.jsonl", "b.jsonl"]
    with pytest.raises(ExtractionError) as found:
        find_inputs([str(folder / name) for name in wrong])
    assert found.value.code == "E7001"
    for words in ("missing.jsonl does not exist", "empty.jsonl is empty", "void holds no file", "x*.jsonl matches no"):
        assert words in found.value.what
    assert "b.jsonl" not in found.value.what


def test_a_pipe_and_a_name_that_is_not_utf8_are_refused(folder):
    os.mkfifo(folder / "pipe.jsonl")
    odd = os.fsdecode(os.fsencode(folder) + b"/\xff.jsonl")
    Path(odd).write_text("{}\n")
    for given, says in (("pipe.jsonl", "is no regular file; pipe it into -"), (odd, "has a name that is not UTF-8")):
        with pytest.raises(ExtractionError, match=f"E7001: .*{says}"):
            find_inputs([str(folder / given)])


def test_no_input_is_an_error():
    with pytest.raises(ExtractionError, match="no input was named"):
        find_inputs([])


def test_standard_input_is_copied_to_a_private_file_and_removed_after(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a line\n")))
    (item,) = find_inputs(["-"], scratch=tmp_path)
    assert (item.name, item.size, item.spooled) == ("-", 7, True)
    assert Path(item.path).stat().st_mode & 0o077 == 0
    discard([item])
    assert not list(tmp_path.iterdir())


def test_an_empty_standard_input_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(ExtractionError, match="- is empty"):
        find_inputs(["-"], scratch=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_digest_is_of_the_contents_whatever_their_names_and_order(tmp_path):
    contents = {"a": b"one\n", "b": b"two\n"}
    swapped = {"y": b"two\n", "z": b"one\n"}
    changed = {"a": b"one\n", "b": b"two \n"}
    digests = []
    for number, files in enumerate((contents, swapped, changed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in files.items():
            (folder / f"{name}.jsonl").write_bytes(data)
        digests.append(combined_digest(input_digests(find_inputs([str(folder)]))))
    assert digests[0] == digests[1] != digests[2]


def test_partitions_end_on_line_ends_and_hold_every_byte_once(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(b"x" * (number % 700) + b"\n" for number in range(4_000)) + b"no line end")
    data = path.read_bytes()
    for size in (65_536, 100_001, len(data) - 1, len(data), 10**9):
        pieces = [piece for part in split_inputs(find_inputs([path]), size) for piece in part.pieces]
        assert b"".join(data[piece.start : piece.end] for piece in pieces) == data
        assert all(data[piece.start - 1] == 10 for piece in pieces[1:])
        assert all(piece.end - piece.start < size + 702 for piece in pieces)


def test_small_files_share_a_partition_and_compressed_ones_do_not(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.jsonl").write_bytes(b"x" * 29_999 + b"\n")
    (tmp_path / "3.jsonl").unlink()
    (tmp_path / "3.jsonl.gz").write_bytes(gzip.compress(b"x\n"))
    parts = split_inputs(find_inputs([tmp_path]), 65_536)
    assert [[Path(piece.name).name for piece in part.pieces] for part in parts] == [
        ["0.jsonl", "1.jsonl"], ["2.jsonl"], ["3.jsonl.gz"], ["4.jsonl", "5.jsonl"],
    ]  # fmt: skip
    assert [part.index for part in parts] == [0, 1, 2, 3]


@pytest.fixture
def lines(event) -> bytes:
    """Return 300 lines with rejects, blanks, duplicates and feedback among them, without a line end at the end."""
    made: list[bytes] = []
    for number in range(300):
        made.append(json.dumps(event(id=f"e{number % 280}", data__trace_id=f"t{number}")).encode())
        if number % 7 == 0:
            made.append(b"broken %d" % number)
        if number % 11 == 0:
            made.append(b"")
        if number % 5 == 0:
            data = {"trace_id": f"t{number}", "kind": "stars", "value": 3}
            made.append(json.dumps(event(id=f"f{number}", type="feedback.recorded", data=data)).encode())
    return b"\n".join(made)


def test_the_result_does_not_depend_on_how_the_input_is_cut_or_packed(paths, lines, tmp_path):
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(lines)
    packed = {"events.jsonl.gz": gzip.compress(lines), "events.jsonl.zst": pa.compress(lines, "zstd", asbytes=True)}
    found = [paths(plain), paths(plain, policy=ExtractionPolicy(partition_bytes=65_536))]
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        found.append(paths(tmp_path / name))
    whole = found[0]
    assert len(found[1].parts) > 2
    assert whole.events.rejected == 43
    assert whole.events.duplicate == 20
    for other in found[1:]:
        assert other.events == whole.events
        assert [r[1:7] for r in other.rejects] == [r[1:7] for r in whole.rejects]
        np.testing.assert_array_equal(other.resolution.quality, whole.resolution.quality)
        assert other.resolution.keep.tolist() == whole.resolution.keep.tolist()
        same = [name for name in whole.examples.column_names if name != "position"]
        assert other.examples.select(same).combine_chunks() == whole.examples.select(same).combine_chunks()


def test_line_numbers_of_rejects_are_those_of_the_file(paths, lines, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines)
    found = paths(path, policy=ExtractionPolicy(partition_bytes=65_536))
    every = lines.split(b"\n")
    assert [every[reject.line - 1].decode() for reject in found.rejects] == [reject.raw for reject in found.rejects]


def test_a_compressed_file_is_streamed_in_parts(lines, tmp_path):
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(lines[:100_000] + b"\n") + gzip.compress(lines * 40))  # two members
    (partition,) = split_inputs(find_inputs([path]), 65_536)
    policy = ExtractionPolicy(partition_bytes=4_000_000)
    parts = list(extract_blocks(partition, policy))
    assert len(parts) >= 2
    assert merged(parts).counts.read == extract(partition, ExtractionPolicy()).counts.read


@pytest.mark.parametrize("name", ["broken.jsonl.gz", "broken.jsonl.zst"])
def test_a_damaged_archive_is_one_error(name, tmp_path, lines):
    packed = gzip.compress(lines) if name.endswith("gz") else pa.compress(lines, "zstd", asbytes=True)
    for data in (packed[:-30], b"not compressed\n"):
        (tmp_path / name).write_bytes(data)
        (partition,) = split_inputs(find_inputs([tmp_path / name]), 65_536)
        with pytest.raises(ExtractionError, match=f"E7002: .*{name} cannot be read to its end"):
            extract(partition, ExtractionPolicy())
