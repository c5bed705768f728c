"""The event format as it is documented: what docs/events.md shows and lists is what is read."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from registry.scores import BAD, GOOD, KINDS, NOTES, feedback_score
from tasks.extraction.conversation import HANDLERS, Builder

TEXT = (Path(__file__).parents[3] / "docs" / "events.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _rows(title: str) -> list[list[str]]:
    """Return the cells of the rows of a section's table, without its head."""
    lines = [line for line in _section(title).splitlines() if line.startswith("|")]
    return [line.strip("|").split(" | ") for line in lines[2:]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_trace_of_the_document_becomes_the_conversation_of_the_document(event, read):
    data, messages = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", _section("Steps"), re.DOTALL))
    found = read(event(data=data))
    assert found.messages == [messages]
    assert found.events.by_reason == {}


def test_every_type_of_step_is_in_the_document_beside_those_that_are_taken_alike():
    rows = [_names(row[0]) for row in _rows("Steps")]
    assert sorted(name for names in rows for name in names) == sorted(str(name) for name in HANDLERS)
    for names in rows:
        assert len({HANDLERS[name] for name in names}) == 1
    assert len(rows) == len(set(HANDLERS.values())) == 7
    assert Builder.other not in HANDLERS.values()


def test_every_kind_of_feedback_and_every_word_is_in_the_document():
    rows = [_names(row[0]) for row in _rows("Quality")]
    assert sorted(name for names in rows for name in names) == sorted(KINDS)
    assert all(f"`{word}`" in _section("Quality") for word in (*GOOD, *BAD) if not word.startswith("thumbs_"))
    assert all(f"`{note}`" in _section("Quality") for note in NOTES)


@pytest.mark.parametrize(
    ("row", "value", "quality"),
    [(0, True, 100), (0, -1, 0), (0, "yes", 100), (2, 1, 0), (2, 2, 25), (2, 5, 100), (3, 0.25, 25), (4, 64, 64)],
)
def test_all_kinds_of_a_row_have_the_scale_of_the_document(row, value, quality):
    for kind in _names(_rows("Quality")[row][0]):
        notes: Counter[str] = Counter()
        assert feedback_score(kind, value, notes) == pytest.approx(quality)
        assert not notes
