"""Bad and hostile lines: each is refused with its reason, and all others are taken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from registry.errors import ExtractionError
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import CODES, check_reject_share

TEXT = '"Find a train to Bern."'
DEEP = '{"y":' * 10_000 + "1" + "}" * 10_000


def raw(event: dict[str, Any], old: str, new: str) -> str:
    """Return an event as JSON with some of its text replaced, so that it need not be JSON any more."""
    text = json.dumps(event)
    assert old in text
    return text.replace(old, new)


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any], str, str]] = [
    ("not JSON", lambda e: "no event at all", "E7021", "Expecting value"),
    ("half a line", lambda e: json.dumps(e)[:200], "E7021", "at character"),
    ("two values", lambda e: json.dumps(e) + " {}", "E7021", "Extra data"),
    ("single quotes", lambda e: str(e), "E7021", "double quotes"),
    ("a number", lambda e: "42", "E7022", "number"),
    ("null", lambda e: "null", "E7022", "null"),
    ("an array", lambda e: json.dumps([e]), "E7022", "array"),
    ("JSON but no event", lambda e: '{"name": "value"}', "E7023", "specversion is missing"),
    ("invalid UTF-8", lambda e: json.dumps(e).encode().replace(b"Bern.", b"B\xffrn"), "E7020", "invalid start byte"),
    ("invalid UTF-8 in an ignored key", lambda e: b'{"x": "\xc3", ' + json.dumps(e).encode()[1:], "E7020", "byte 7"),
    ("UTF-16", lambda e: json.dumps(e).encode("utf-16-le"), "E7030", "NUL byte"),
    ("a NUL byte", lambda e: raw(e, TEXT, '"a\x00b"'), "E7030", "NUL byte"),
    ("an escaped NUL", lambda e: raw(e, TEXT, r'"a\u0000b"'), "E7030", "data.task.instruction"),
    ("an escaped NUL in a key", lambda e: raw(e, '"to"', r'"t\u0000o"'), "E7030", "a key of data.steps[0].arguments"),
    ("a lone surrogate", lambda e: raw(e, TEXT, r'"a \ud800 b"'), "E7029", "data.task.instruction"),
    ("a lone low surrogate", lambda e: raw(e, TEXT, r'"\udc00"'), "E7029", "data.task.instruction"),
    ("a lone surrogate in an ignored key", lambda e: raw(e, '"agent"', r'"x": "\ud83d", "agent"'), "E7029", "data.x"),
    ("NaN", lambda e: raw(e, '"quality_score": 90', '"quality_score": NaN'), "E7026", "NaN"),
    ("Infinity", lambda e: raw(e, '"confidence": 0.8', '"confidence": -Infinity'), "E7026", "-Infinity"),
    ("1e999 in arguments", lambda e: raw(e, '"to": "Bern"', '"to": 1e999'), "E7032", "data.steps[0].arguments.to"),
    ("10,000-deep nesting", lambda e: raw(e, '"to": "Bern"', '"to": ' + "[" * 10_000 + "]" * 10_000),
     "E7027", "10005 levels"),
    ("10,000-deep nesting in an ignored key", lambda e: raw(e, '"agent"', f'"x": {DEEP}, "agent"'),
     "E7027", "10002 levels"),
    ("101-deep arguments", lambda e: raw(e, '"to": "Bern"', '"to": ' + "[" * 96 + "]" * 96), "E7027", "101 levels"),
    ("unbalanced 10,000-deep nesting", lambda e: "[" * 10_000, "E7027", "10000 levels"),
    ("a 300 kB event", lambda e: raw(e, TEXT, '"' + "x" * 300_000 + '"'), "E7028", "262144"),
    ("wrong specversion", lambda e: e | {"specversion": "0.3"}, "E7024", "'0.3'"),
    ("specversion as a number", lambda e: e | {"specversion": 1.0}, "E7025", "specversion is a number"),
    ("no id", lambda e: {k: v for k, v in e.items() if k != "id"}, "E7023", "id is missing"),
    ("empty source", lambda e: e | {"source": ""}, "E7023", "source is empty"),
    ("null type", lambda e: e | {"type": None}, "E7023", "type is missing"),
    ("no data", lambda e: {k: v for k, v in e.items() if k != "data"}, "E7023", "data is missing"),
    ("null data", lambda e: e | {"data": None}, "E7023", "data is missing"),
    ("time is no time", lambda e: e | {"time": "yesterday"}, "E7031", "'yesterday'"),
    ("time is no date", lambda e: e | {"time": "2026-02-30T00:00:00Z"}, "E7031", "2026-02-30"),
    ("data_base64 is not base64", lambda e: {**{k: v for k, v in e.items() if k != "data"}, "data_base64": "?"},
     "E7021", "base64"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "says"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_line_is_refused_with_its_reason_and_its_neighbours_are_taken(event, read, line, code, says):
    broken = line(event(id="broken"))
    found = read(event(id="before"), broken, event(id="after"))

    (reject,) = found.rejects
    assert (reject.code, reject.line) == (code, 2)
    assert says in reject.reason
    assert reject.offset == len(json.dumps(event(id="before"))) + 1
    assert found.examples["event_id"].to_pylist() == ["before", "after"]
    assert (found.events.read, found.events.rejected, found.events.by_reason) == (3, 1, {code: 1})


WRONG_TYPES: dict[str, list[Any]] = {
    "id": [1, [], {}, True],
    "source": [1, []],
    "type": [1, {}],
    "time": [1767225600, [], {}],
    "subject": [7, []],
    "data": ["text", 1, [], True],
    "data__trace_id": [1.5, [], {}, True],
    "data__agent": [1, {}],
    "data__model_version": [4, []],
    "data__task": ["text", [], 1],
    "data__task__type": [1, []],
    "data__task__domain": [1, []],
    "data__task__instruction": [1, [], {}],
    "data__steps": ["text", {}, 1],
    "data__status": [1, True, []],
    "data__quality_score": ["90", True, [], {}],
    "data__confidence": ["high", False, []],
    "data__feedback": ["good", 1, True],
    "data__session_id": [1.5, []],
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in WRONG_TYPES.items() for value in values])
def test_a_wrong_type_in_a_used_field_is_refused_with_the_path_of_the_field(event, read, path, value):
    found = read(event(**{path: value}))

    (reject,) = found.rejects
    assert reject.code == "E7025"
    assert path.replace("__", ".") in reject.reason


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("text", "data.steps[1]"),
        (None, "data.steps[1]"),
        ({"type": 1}, "data.steps[1].type"),
        ({"type": "tool_call", "tool": {}}, "data.steps[1].tool"),
    ],
)
def test_a_wrong_step_is_refused_with_its_place(event, read, step, path):
    found = read(event(data__steps=[{"type": "user_message", "observation": "Hello"}, step]))

    assert found.rejects[0].code == "E7025"
    assert path in found.rejects[0].reason


def test_numbers_that_no_double_holds_are_missing_scores_and_not_rejects(event, read):
    found = read(
        raw(event(id="a"), '"quality_score": 90', '"quality_score": 1e999'),
        raw(event(id="b"), '"quality_score": 90', '"quality_score": -1' + "0" * 5_000),
        raw(event(id="c"), '"confidence": 0.8', '"confidence": 1e400'),
        event(id="d", data__quality_score=170),
        event(id="e", data__quality_score=-1, data__confidence=1.01),
    )

    assert not found.rejects
    assert found.examples["quality"].to_pylist() == [None, None, 90.0, None, None]
    assert found.examples["confidence"].to_pylist() == [0.8, 0.8, None, 0.8, None]
    assert found.events.by_reason == {"score_not_finite": 3, "score_out_of_range": 3}


def test_numbers_that_no_double_holds_in_ignored_keys_do_not_matter(event, read):
    assert not read(raw(event(), '"agent"', '"latency_ms": 1e999, "agent"')).rejects


@pytest.mark.parametrize(
    "time",
    ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789Z",
     "2026-01-01t00:00:00z", "2016-12-31T23:59:60Z", "2026-01-01T00:00:00-11:30", None, ...],
)  # fmt: skip
def test_strange_but_legal_times_are_taken(event, read, time):
    found = read(event(time=time))

    assert not found.rejects
    assert "time_without_zone" not in found.events.by_reason


def test_a_time_without_a_zone_is_utc_and_counted(event, read):
    found = read(event(id="a", time="2026-01-01T00:00:00"), event(id="b"))

    assert found.events.by_reason == {"time_without_zone": 1}
    assert found.examples["time"][0].as_py().isoformat() == "2026-01-01T00:00:00+00:00"


def test_harmless_oddities_are_taken(event, read):
    found = read(
        b"\xef\xbb\xbf" + json.dumps(event(id="BOM")).encode(),
        json.dumps(event(id="CRLF")) + "\r",
        "  " + json.dumps(event(id="blanks")) + "\t",
        "",
        "   \r",
        json.dumps(event(id="escapes")).replace("Bern.", r"\u0042ern \ud83d\ude00 \\u0000"),
        raw(event(id="duplicate key"), '"subject"', '"id": "duplicate key", "subject"'),
        event(id="extra", extra={"x": [1]}, data__ground_truth="secret"),
        event(id="numbers", data__trace_id=12, data__session_id=7, data__output=42),
        raw(event(id="big integer"), '"to": "Bern"', '"to": ' + "9" * 30),
        event(id=" "),
    )

    assert not found.rejects
    assert found.events.read == 9
    assert found.examples["event_id"].to_pylist() == [
        "BOM", "CRLF", "blanks", "escapes", "duplicate key", "extra", "numbers", "big integer", " ",
    ]  # fmt: skip
    assert "\\u0000" in found.messages[3][0]["content"]
    assert "9" * 30 in found.messages[7][1]["tool_calls"][0]["function"]["arguments"]


def test_a_hundred_levels_are_taken_and_deep_arguments_in_a_text_stay_text(event, read):
    deep = '{"a":' * 10_000 + "1" + "}" * 10_000
    found = read(
        raw(event(id="a"), '"to": "Bern"', '"to": ' + "[" * 95 + "]" * 95),
        event(id="b", data__steps=[{"type": "tool_call", "tool": "run", "arguments": deep, "observation": "ok"}]),
    )

    assert not found.rejects
    arguments = found.messages[1][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"input": deep}


def test_data_in_base64_is_read(event, read):
    whole = event()
    packed = event(id="e-2", data=..., data_base64=base64.b64encode(json.dumps(whole["data"]).encode()).decode())
    found = read(whole, packed)

    assert found.messages[0] == found.messages[1]


def test_other_types_are_left_alone_whatever_their_data(event, read):
    found = read(
        event(type="preference.recorded", data={"prompt": 1, "chosen": [], "source": {}}),
        event(type="order.placed", data="text", time=5),
        event(type="order.placed", data=...),
    )

    assert found.events.ignored == 3
    assert found.events.by_reason == {"order.placed": 2, "preference.recorded": 1}


def test_a_reject_keeps_the_line_without_loss(event, read):
    broken = json.dumps(event()).encode().replace(b"Bern", b"B\xff\x00\\xff")
    found = read(broken, "{", "\ud7ff no event é")

    first, second, third = found.rejects
    assert base64.b64decode(first.raw_base64) == broken
    assert "\\xff" in first.raw
    assert (second.raw, second.raw_base64) == ("{", None)
    assert third.raw == "\ud7ff no event é"
    assert [reject.bytes for reject in found.rejects] == [len(broken), 1, len("\ud7ff no event é".encode())]


def test_a_line_longer_than_memory_allows_is_cut_and_what_follows_is_read(event, read):
    policy = ExtractionPolicy(max_raw_bytes=2_000_000)
    huge = b'{"x": "' + b"y" * 9_000_000 + b'"}'
    found = read(event(id="before"), huge, event(id="after"), b"{", policy=policy)

    first, second = found.rejects
    assert (first.code, first.line, first.bytes) == ("E7028", 2, len(huge))
    assert 0 < len(first.raw) <= 2_000_000
    assert huge.startswith(first.raw.encode())
    assert second.line == 4
    assert found.examples["event_id"].to_pylist() == ["before", "after"]


def test_every_code_of_a_reject_is_tried_here():
    assert {case[2] for case in BROKEN} | {"E7025"} == set(CODES)


def test_too_many_rejects_stop_the_run_with_the_numbers_and_the_reasons(event, read):
    good = [event(id=str(number)) for number in range(95)]
    check_reject_share(read(*good, *["{"] * 5).events, ExtractionPolicy())  # 5 of 100 is not above 5 %

    with pytest.raises(ExtractionError) as found:
        check_reject_share(read(*good, *["{"] * 5, "[]").events, ExtractionPolicy())
    assert found.value.code == "E7010"
    assert "6 of 101 lines (5.9%)" in found.value.what
    assert "5 E7021 not JSON, 1 E7022" in found.value.what

    with pytest.raises(ExtractionError, match="E7011: none of the 2 lines is an event"):
        check_reject_share(read("{", "}").events, ExtractionPolicy())
    with pytest.raises(ExtractionError, match="E7012"):
        check_reject_share(read("", " ").events, ExtractionPolicy())
