"""Times: the fast and the exact way agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import hypothesis.strategies as st
from hypothesis import given, settings

from tasks.extraction.times import microseconds, read_times


def test_times_are_microseconds_since_1970():
    # 2026-01-05 is 56 years with 14 leap days and 4 days after 1970-01-01: 56·365 + 14 + 4 = 20,458 days.
    day = 20_458 * 86_400 * 1_000_000
    assert microseconds("2026-01-05T00:00:00Z") == day
    assert microseconds("2026-01-05T00:00:00.7139999Z") == day + 713_999
    assert microseconds("2026-01-05T01:30:00+01:30") == day
    assert microseconds("2026-01-04T23:59:60Z") == day
    assert microseconds("2026-01-05T00:00:00") == day
    assert microseconds("1970-01-01T00:00:00Z") == 0


def test_what_is_no_time_is_not_read():
    for text in ("", "today", "2026", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
                 "2026-01-01T00:00:00+25:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
                 "0000-01-01T00:00:00Z", "2026-01-01T00:00:00Z ", "٢٠٢٦-01-01T00:00:00Z"):  # fmt: skip
        assert microseconds(text) is None, text
        assert read_times([text]).unreadable == [0], text


FORMS = st.builds(
    lambda moment, zone, form: moment.replace(tzinfo=timezone(timedelta(minutes=zone))).isoformat(timespec=form),
    st.datetimes(datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-01-01")),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes", "hours"]),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(FORMS | st.none(), min_size=1, max_size=4))
def test_reading_all_at_once_and_one_by_one_agree(texts):
    together = read_times(texts)
    beside_a_bad_one = read_times([*texts, "no time"])
    assert beside_a_bad_one.unreadable == [len(texts)]
    assert together.column.to_pylist() == beside_a_bad_one.column.to_pylist()[:-1]
    for text, number in zip(texts, together.column.to_pylist(), strict=True):
        assert (text is None) == (number is None)
        if text is not None:
            assert number == datetime.fromisoformat(text).astimezone(UTC)


def test_no_times_at_all_are_no_times():
    assert read_times([]).column.to_pylist() == []
    assert read_times([None]).column.to_pylist() == [None]
