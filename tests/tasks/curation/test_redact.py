"""Personal data and secrets are replaced; what merely looks like them is not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.curation.check_digits import iban_is_valid, luhn_is_valid
from tasks.curation.policy import KINDS
from tasks.curation.redact import redact, redact_messages, redact_text
from tasks.curation.redact_rules import RULES
from tasks.curation.redact_suspects import SUSPECTS

FOUND = {
    "EMAIL": [
        "mail jane.doe+x@example.co.uk now", "JOSÉ@münchen.de", "<a_b@sub.domain.org>", "x@y.io.",
    ],
    "PHONE": [
        "+1 (415) 555-2671", "(555) 123-4567", "415-555-2671", "tel: 5551234567", "call me at 555 123 4567",
        "+49 30 901820", "06 12 34 56 78", "020 7946 0958", "phone number is 5551234", "+44 20 7946 0958",
    ],
    "CARD": [
        "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "card 6011111111111117.",
    ],
    "IBAN": [
        "DE89 3704 0044 0532 0130 00 thanks", "GB82WEST12345698765432", "NL91ABNA0417164300",
    ],
    "SSN": [
        "123-45-6789", "my SSN is 123456789", "ssn 123 45 6789",
    ],
    "IP_ADDRESS": [
        "from 203.0.113.7", "192.168.1.10:8080", "2001:db8::8a2e:370:7334",
    ],
    "API_KEY": [
        "AKIAIOSFODNN7EXAMPLE", "ghp_a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
        "github_pat_A1b2A1b2A1b2A1b2A1b2A1b2A1b2A1b2", "xoxb-123456789012-abcdef", "sk-proj-abc123def456ghi789jkl",
        "sk_live_4eC39HqLyjWD4eC39HqLyjWD", "AIzaSy1Sy1Sy1Sy1Sy1Sy1Sy1Sy1Sy1Sy1Sy1ab",
        "hf_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ],
    "JWT": [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl",
    ],
    "BEARER_TOKEN": [
        "Authorization: Bearer abcdef1234567890abcd",
    ],
    "PASSWORD": [
        "postgres://bob:s3cret@db.example.com/x", "password=hunter2abc", "{\"password\": \"hunter22\"}",
    ],
    "PRIVATE_KEY": [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMI",
    ],
}  # fmt: skip

LOOKS_LIKE = [
    "flight HAT001 on 2024-05-20 at 15:00:00", "2024-05-20 15:00", "01-02-2024 10:00", "05/20/2024",
    "2024-05-15T06:04:00", "$1,234.56", "1,000,000,000 people", "credit_card_4421486", "certificate_7504069",
    "reservation ZFA04Y", "order 4111111111111112", "1234567890123456", "1718000000000", "0000000000000000",
    "ISBN 978-3-16-148410-0", "version 1.2.3.4", "v10.0.0.1", "listen on 127.0.0.1", "999.1.2.3", "std::vector a::b",
    "12:30:45", "icon@2x.png", "git@github.com:org/repo", "lodash@4.17.21", "@app.route",
    "sk-loading-spinner-container-xl", "call 911", "123e4567-e89b-12d3-a456-426614174000", "3.14159265358979",
    "flight UA 1234 5678", "total 100 200 3000", "call me at 9", "bearer of bad news", "the secret is patience",
    "password: required", "DE89 3704 0044 0532 0130 01", "000-12-3456", "AB12CDEF", "task-12345", "1-2-3-4-5",
    "eyJ is how they start",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_a_value_of_every_kind_becomes_its_placeholder(kind: str, text: str) -> None:
    counts: Counter[str] = Counter()
    assert f"[{kind}]" in redact_text(text, counts)
    assert counts == {kind: 1}


@pytest.mark.parametrize("text", LOOKS_LIKE)
def test_what_merely_looks_like_personal_data_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("text", [text for texts in FOUND.values() for text in texts])
def test_the_pre_filter_is_wider_than_the_rules_also_in_json(text: str) -> None:
    for shown in (text, f"line\n{text}\nline", f'a "{text}" b'):
        column = pa.array([json.dumps([{"role": "user", "content": shown}], ensure_ascii=False)])
        assert any(pc.match_substring_regex(column, suspect.pattern)[0].as_py() for suspect in SUSPECTS)


def test_every_kind_has_a_rule_and_a_pre_filter() -> None:
    assert set(RULES) == set(KINDS) == {kind for suspect in SUSPECTS for kind in suspect.kinds}


def test_redacting_twice_changes_nothing_more() -> None:
    text = " and ".join(text for texts in FOUND.values() for text in texts)
    once = redact_text(text)
    assert redact_text(once) == once


def test_luhn_by_hand() -> None:
    # 4 5 3 9 1 4 8 8 0 3 4 3 6 4 6 7, doubled from the second last: 8 5 6 9 2 4 7 8 0 3 8 3 3 4 3 7 = 80
    assert luhn_is_valid("4539148803436467")
    assert not luhn_is_valid("4539148803436468")


def test_iban_by_hand() -> None:
    # NL91ABNA0417164300 → ABNA0417164300NL91 → 10 11 23 10 0417164300 23 21 91; mod 97 = 1
    assert int("101123100417164300232191") % 97 == 1
    assert iban_is_valid("NL91ABNA0417164300")
    assert not iban_is_valid("NL92ABNA0417164300")
    assert not iban_is_valid("NL91ABNA041716430")


def test_tool_calls_stay_valid_json_and_roles_stay() -> None:
    arguments = json.dumps({"phone": 5551234567, "note": "mail a@b.com", "list": [4111111111111111, 2]})
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    counts: Counter[str] = Counter()
    redacted = json.loads(redact_messages([json.dumps(messages)], counts)[0])
    assert json.loads(redacted[1]["tool_calls"][0]["function"]["arguments"]) == {
        "phone": "[PHONE]", "note": "mail [EMAIL]", "list": ["[CARD]", 2],
    }  # fmt: skip
    assert counts == {"PHONE": 1, "EMAIL": 1, "CARD": 1}
    assert redacted[1]["tool_calls"][0]["id"] == "call_0"


def _table(**columns: list[str | None]) -> pa.Table:
    return pa.table(
        {
            name: pa.array(values, pa.large_string() if name == "messages" else pa.string())
            for name, values in columns.items()
        }
    )


def test_a_table_is_redacted_in_every_column_and_gets_new_digests() -> None:
    clean = json.dumps([{"role": "user", "content": "é\nplain"}], ensure_ascii=False, separators=(",", ":"))
    dirty = clean.replace("plain", "a@b.com")
    table = _table(
        example_id=["x", "y"], messages=[clean, dirty], subject=["c@d.org", None], domain=["travel", "qa"],
        event_id=["e-000000123456", "k@l.net"],
    )  # fmt: skip
    redacted = redact(table)
    rows = redacted.table.to_pylist()
    assert rows[0]["messages"] == clean
    assert rows[0]["example_id"] == "x"
    assert rows[1]["messages"] == clean.replace("plain", "[EMAIL]")
    assert rows[1]["example_id"] == hashlib.sha256(rows[1]["messages"].encode()).hexdigest()
    assert rows[0]["subject"] == "[EMAIL]"
    assert rows[0]["event_id"] == "e-000000123456"
    assert rows[1]["event_id"] == "sha256:" + hashlib.sha256(b"k@l.net").hexdigest()[:32]
    assert redacted.counts == {"EMAIL": 3}


def test_only_the_kinds_that_the_policy_names_are_replaced() -> None:
    table = _table(example_id=["x"], messages=[json.dumps([{"role": "user", "content": "a@b.com 123-45-6789"}])])
    assert redact(table, ["SSN"]).counts == {"SSN": 1}
    assert redact(table, []).table is table
