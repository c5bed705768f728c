from __future__ import annotations

import pytest

from tasks.reporting.words import (
    against,
    compared,
    duration,
    milliseconds,
    moment,
    more_cases,
    percent,
    printable,
    shortened,
    signed_percent,
    size,
    whole,
)


def spaced(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_numbers_are_written_for_people() -> None:
    assert whole(1234567) == "1,234,567"
    assert whole(None) == "–"
    assert spaced(percent(0.9744)) == "97.4 %"
    assert spaced(signed_percent(-0.0312)) == "−3.1 %"
    assert spaced(signed_percent(0.00001)) == "0 %"
    assert spaced(signed_percent(1.187)) == "2.2 ×"
    assert spaced(milliseconds(1.8449)) == "1.84 ms"
    assert spaced(milliseconds(184.49)) == "184 ms"
    assert spaced(size(3 * 1024 * 1024)) == "3.0 MB"
    assert [spaced(duration(s)) for s in (0.34, 4.21, 200.0)] == ["340 ms", "4.2 s", "3 min 20 s"]


def test_a_change_says_against_what() -> None:
    assert spaced(against(0.031, 0.7)) == "+3.1 % on the baseline's 0.700"
    assert spaced(against(1.2, 0.331)) == "2.2 × the baseline's 0.331"
    assert against(None, 0.0) == "baseline's 0.000"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-11-20T19:04:12Z", "20 November 2026, 19:04 UTC"),
        ("2026-11-20T01:04:12+02:00", "19 November 2026, 23:04 UTC"),
        ("2026-11-20T19:04:12", "20 November 2026, 19:04 UTC"),
        ("no time", "no time"),
    ],
)
def test_times_are_shown_in_utc(time: str, text: str) -> None:
    assert moment(time) == text


def test_characters_that_hide_or_reorder_are_shown_by_their_number() -> None:
    assert printable("a\u202eb\x00\ud834\n\tc é 日本") == "a⟨U+202E⟩b⟨U+0000⟩⟨U+D834⟩\n\tc é 日本"


def test_long_text_ends_in_an_ellipsis() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"


def test_a_comparison_marks_what_is_not_in_the_other_text_as_phrases() -> None:
    pieces = compared("the fare is lost for ever", "the fare is refundable")
    assert [(piece.text, piece.kind) for piece in pieces] == [("the fare is ", "same"), ("lost for ever", "other")]
    assert "".join(piece.text for piece in compared("a  b\nc", "x")) == "a  b\nc"


def test_how_many_more_cases_is_a_number_only_where_it_makes_sense() -> None:
    assert more_cases(None) == ""
    assert more_cases(140) == "About 140 more cases would decide."
    assert more_cases(1) == "About 1 more case would decide."
    assert more_cases(191_812).startswith("Too close to the threshold to tell")
