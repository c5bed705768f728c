"""Recall and precision on a labelled set, and what is found behind disguises."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest

from benchmarks.personal_data import EVASIONS, OF_ADDRESSES, OF_NUMBERS, VALUES, labelled
from tasks.curation.pii import Value, find_values
from tasks.curation.policy import KINDS
from tasks.curation.redact import redact, redact_text

COUNT = 120


def _through_a_table(texts: list[str]) -> list[str]:
    """Redact texts the way a dataset is: behind the search in columns."""
    messages = [json.dumps([{"role": "user", "content": text}], ensure_ascii=False) for text in texts]
    table = pa.table({"example_id": texts, "messages": pa.array(messages, pa.large_string())})
    return [json.loads(each)[0]["content"] for each in redact(table).table["messages"].to_pylist()]


def test_every_kind_is_in_the_labelled_set() -> None:
    assert set(VALUES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_precision_of_a_kind(kind: str) -> None:
    texts = list(labelled(kind, COUNT, random.Random(f"{kind} 7")))
    after = _through_a_table([each.text for each in texts])
    found = [f"[{kind}]" in text and each.value not in text for each, text in zip(texts, after, strict=True)]
    true = sum(hit for hit, each in zip(found, texts, strict=True) if each.kind)
    false = [each.text for text, each in zip(after, texts, strict=True) if not each.kind and text != each.text]
    assert true >= 0.99 * COUNT
    assert true >= 0.97 * (true + len(false)), false


WRITTEN = {
    "EMAIL": ("write to {} ok?", "jane.doe@example.com", OF_ADDRESSES),
    "CARD": ("it is {} ok?", "4111 1111 1111 1111", OF_NUMBERS),
    "SSN": ("My SSN is {} ok?", "123-45-6789", OF_NUMBERS),
    "IBAN": ("it is {} ok?", "DE89 3704 0044 0532 0130 00", OF_NUMBERS),
    "PHONE": ("call me at {} ok?", "415-555-2671", OF_NUMBERS),
    "API_KEY": ("it is {} ok?", "sk_live_" + "4eC39HqLyjWD4eC39HqLyjWD", {}),
    "IP_ADDRESS": ("it is {} ok?", "203.0.113.77", {}),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_nearly_every_evasion_is_seen_through(kind: str) -> None:
    frame, value, own = WRITTEN[kind]
    ways: dict[str, Callable[[str], str]] = {**EVASIONS, **{f"own {name}": way for name, way in own.items()}}
    texts = [frame.format(way(value)) for way in ways.values()]
    missed = [name for name, text in zip(ways, _through_a_table(texts), strict=True) if f"[{kind}]" not in text]
    assert len(missed) <= 0.1 * len(ways), missed


def test_a_disguised_value_is_replaced_whole_and_what_stands_around_it_stays() -> None:
    assert redact_text("a%20b write to jane%40example%2Ecom, please") == "a%20b write to [EMAIL], please"
    assert redact_text("it is 4\u200b111 1111\u00ad 1111 1111.") == "it is [CARD]."
    assert redact_text("look: amFuZS5kb2VAZXhhbXBsZS5jb20= there") == "look: [EMAIL] there"


def test_values_that_two_views_find_are_one() -> None:
    text = "ja\u200bne@example.com"  # as it stands, the address would begin after the blank that nobody sees
    assert find_values(text, KINDS) == [Value(0, len(text), "EMAIL")]


def test_what_is_only_encoded_stays_as_it_is() -> None:
    for text in ("a%20b%20c", "&lt;b&gt; &amp; more", "dGhpcyBpcyBqdXN0IGEgdGVzdA==", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"):
        assert redact_text(text) == text


def test_only_the_wanted_kinds_are_found_behind_a_disguise() -> None:
    counts: Counter[str] = Counter()
    assert redact_text("jane%40example.com", counts, ("CARD",)) == "jane%40example.com"
    assert not counts
