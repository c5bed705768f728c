"""Somebody's words in files of all kinds: found however they were cut, escaped or wrapped, and nothing else."""

from __future__ import annotations

import base64
import gzip
import html
import json
import sqlite3

import pyarrow as pa
import pytest

from registry.erasure.needles import Needles, leaves
from registry.erasure.scrubbing import BLANK, holds, scrub_file, scrubbed, scrubbed_text

SENTENCE = 'My neighbour Zoë keeps a "violet heron" & two owls\nunder the pier'
OTHER = "the parcel that you sent me was broken when it came"


@pytest.fixture
def needles():
    return Needles([SENTENCE, "Zoë Quibble"], ["customer-77", "ann"])


def test_a_text_is_found_whole_and_in_part_and_in_other_letters(needles):
    assert needles.hit(SENTENCE)
    assert needles.hit("user: my NEIGHBOUR zoë keeps a…")
    assert needles.hit("… two owls under the pier")
    assert not needles.hit(OTHER)
    assert not needles.hit("keeps two owls")


def test_a_short_text_counts_with_all_its_words(needles):
    assert needles.hit("signed, Zoë Quibble, today")
    assert not needles.hit("Zoë said so")


def test_a_name_counts_where_it_stands_by_itself(needles):
    assert needles.hit("of customer-77: late")
    assert needles.hit("customer-77/2")
    assert not needles.hit("customer-770 and xcustomer-77 and customer-77-b")


def test_a_name_that_may_be_anything_counts_in_raw_events_alone():
    needles = Needles([], ["support", "ann"])
    assert not needles.hit('{"model": "support"}')
    assert needles.in_events().hit('{"subject": "support", "id": 3')
    assert needles.in_events().hit('{"user":"ann"}')
    assert not needles.in_events().hit("supporting annie")


def test_what_others_said_too_is_nobodys(needles):
    assert len(needles) > 0
    needles.forget([f"once more: {SENTENCE}"])
    assert not needles.hit(SENTENCE)
    assert needles.hit("Zoë Quibble")


def test_the_texts_of_an_event_are_all_but_the_names_of_things():
    event = {
        "id": "e1", "type": "x", "subject": "s", "data": {
            "agent": "support", "output": "so it is", "steps": [{"tool": "find", "arguments": '{"q": "deep in it"}'}],
        },
    }  # fmt: skip
    assert sorted(leaves(event)) == ["deep in it", "so it is"]


def test_json_keeps_its_form_and_loses_the_values(needles, tmp_path):
    value = {"a": [1, SENTENCE, OTHER], "b": {"c": f"{OTHER}. {SENTENCE[:40]}…"}, "n": None}
    assert scrubbed(value, needles) == {"a": [1, BLANK, OTHER], "b": {"c": BLANK}, "n": None}
    for indent in (None, 1):
        file = tmp_path / f"report-{indent}.json"
        file.write_text(json.dumps(value, indent=indent))
        assert scrub_file(file, needles)
        assert file.read_text() == json.dumps(scrubbed(value, needles), indent=indent, ensure_ascii=False)
        assert not scrub_file(file, needles)


def test_what_holds_nothing_stays_byte_for_byte(needles, tmp_path):
    file = tmp_path / "report.json"
    file.write_text('{ "é" :  "\\u00e9 \\/ &amp;" }')
    assert not scrub_file(file, needles)
    assert file.read_text() == '{ "é" :  "\\u00e9 \\/ &amp;" }'


def test_escapes_of_json_hide_nothing(needles):
    line = json.dumps({"raw": json.dumps({"output": SENTENCE})[:-3], "n": 1})
    assert json.loads(scrubbed_text(line, needles)) == {"raw": BLANK, "n": 1}


def test_the_exact_bytes_of_a_rejected_line_go_as_well(needles):
    row = {"raw_base64": base64.b64encode(b"\xff" + SENTENCE.encode()).decode(), "line": 3}
    assert json.loads(scrubbed_text(json.dumps(row), needles)) == {"raw_base64": BLANK, "line": 3}


def test_of_lines_only_those_that_hold_it_go(needles):
    lines = [json.dumps({"message": OTHER}), f"12:00 {' '.join(SENTENCE.split())} (ratchet)", "12:01 done"]
    assert scrubbed_text("\n".join(lines), needles).split("\n") == [lines[0], BLANK, lines[2]]


def test_a_page_loses_texts_and_attributes_and_keeps_its_marks(needles):
    text = html.escape(SENTENCE)
    page = f'<p title="{text}">{OTHER}</p><td>{text}</td><script>let a = "{OTHER}";</script>'
    made = f'<p title="{BLANK}">{OTHER}</p><td>{BLANK}</td><script>let a = "{OTHER}";</script>'
    assert scrubbed_text(page, needles) == made


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
def test_packed_files_are_opened_and_packed_again(packed, needles, tmp_path):
    file = tmp_path / "log.packed"
    lines = f"{OTHER}\n{' '.join(SENTENCE.split())}\n".encode()
    if packed == "gzip":
        file.write_bytes(gzip.compress(lines))
    else:
        with pa.output_stream(file, compression="zstd") as stream:
            stream.write(lines)
    assert holds(file, needles)
    assert scrub_file(file, needles)
    assert not holds(file, needles)
    with pa.input_stream(file, compression=packed) as stream:
        assert stream.read().decode() == f"{OTHER}\n{BLANK}\n"


def test_no_page_of_a_database_holds_it_afterwards(needles, tmp_path):
    file = tmp_path / "prefect.db"
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE artifact (id TEXT PRIMARY KEY, data TEXT, number INTEGER)")
    rows = [("a", json.dumps({"text": SENTENCE * 50, "n": 1}), 7), ("b", OTHER, 8), ("c", SENTENCE, 9)]
    database.executemany("INSERT INTO artifact VALUES (?, ?, ?)", rows)
    database.commit()
    assert holds(file, needles)
    assert scrub_file(file, needles)
    assert not holds(file, needles)
    found = database.execute("SELECT * FROM artifact ORDER BY id").fetchall()
    assert found == [("a", f'{{"text": "{BLANK}", "n": 1}}', 7), ("b", OTHER, 8), ("c", f"{BLANK}\n{BLANK}", 9)]
    database.close()
    assert [path.name for path in tmp_path.iterdir() if b"violet heron" in path.read_bytes()] == []


def test_a_binary_file_is_told_and_left_alone(needles, tmp_path):
    file = tmp_path / "turns.npy"
    file.write_bytes(b"\x00\x01" + " ".join(SENTENCE.split()).encode())
    assert holds(file, needles)
    assert not scrub_file(file, needles)
