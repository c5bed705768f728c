"""The pass before the patterns: it counts rightly, and no text that a pattern finds something in is left out."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest

from benchmarks.personal_data import EVASIONS, OF_ADDRESSES, OF_NUMBERS, VALUES, labelled
from tasks.curation import pii_gates
from tasks.curation.pii_gates import Word, bits_of, forms_of
from tasks.curation.pii_scan import Form
from tasks.curation.policy import KINDS
from tasks.curation.redact import redact

FORMS = {
    "call 555 1234": Form.SEVEN,
    "4111 1111 1": Form.SEVEN | Form.NINE,
    "2026-11-21": 0,  # eight digits, and a date
    "AB123456C": Form.CODE | Form.ACCOUNT,
    "0123456789abcdef": Form.RUN | Form.SEVEN | Form.NINE,
    "getUserDetails": Form.HUMPS,
    "ab:cd:ef:01:23:45": Form.PAIRS | Form.COLONS,
    "1.2.3 ...": Form.DOTS,
    "fd::cout": Form.COLONS,
    "foo::vector": 0,
    "DE89 x": Form.ACCOUNT,
    "a**b": Form.STARS,
    "**a** b": 0,
    "é": Form.BEYOND,
    "an ordinary sentence, with 3 words more.": 0,
}


@pytest.mark.parametrize(("text", "forms"), FORMS.items())
def test_a_form_is_seen(text: str, forms: int) -> None:
    assert forms_of([text]) == [int(forms)]


def test_words_are_found_whole_and_over_escaped_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pii_gates, "SCAN_FROM_BYTES", 1)
    texts = ["a\\nSIN 1", "using 1", "my Password: x", "four\\tone", "ghp_x", "пароль: x"]
    bits = bits_of(pa.chunked_array([texts], pa.large_string()))
    assert bits is not None
    words = [{word for word in Word if one & word} for one in bits.tolist()]
    assert words == [{Word.IDENTITY}, set(), {Word.NAMED}, {Word.SAID}, {Word.KEY}, {Word.NAMED}]


def test_the_pass_leaves_out_nothing_that_is_found_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [each.text for kind in KINDS for each in labelled(kind, 60, random.Random(f"{kind} gates"))]
    for value, own in (("jane.doe@example.com", OF_ADDRESSES), ("4111 1111 1111 1111", OF_NUMBERS)):
        texts += [f"it is {way(value)} ok?" for way in {**EVASIONS, **own}.values()]
    messages = [json.dumps([{"role": "user", "content": text}], ensure_ascii=False) for text in texts]
    table = pa.table({"example_id": texts, "messages": pa.array(messages, pa.large_string())})
    after = []
    for least in (1 << 60, 1):
        monkeypatch.setattr(pii_gates, "SCAN_FROM_BYTES", least)
        after.append(redact(table).table["messages"].to_pylist())
    assert after[0] == after[1]
    assert sum(old != new for old, new in zip(messages, after[1], strict=True)) >= 60 * len(VALUES)
