"""The rules that are data: every one finds its own examples, and a broken one is refused when it is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from registry.errors import CurationError
from tasks.curation.pii_rules import FOLDER, Network, Shape, read_rules
from tasks.curation.redact_suspects import SUSPECTS

EXAMPLES = [(shape.kind, text) for shape in read_rules().shapes for text in shape.examples]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_the_search_in_columns_lets_every_example_through(kind: str, text: str) -> None:
    column = pa.array([f'[{{"content":"a\\n{text} b"}}]'])
    patterns = [suspect.pattern for suspect in SUSPECTS if kind in suspect.kinds]
    assert any(pc.match_substring_regex(column, pattern)[0].as_py() for pattern in patterns)


def test_a_rule_needs_its_context_and_its_check_digit() -> None:
    rule = Shape(
        name="x", kind="NATIONAL_ID", pattern=r"\d{9}", context=("sin",), check="luhn", examples=("SIN 046454286",)
    )
    assert list(rule.find("my SIN is 046454286")) == [(10, 19)]
    assert list(rule.find("using 046454286")) == []
    assert list(rule.find("my SIN is 046454287")) == []


def test_a_network_knows_its_prefixes_and_lengths() -> None:
    network = Network(name="x", prefixes=("51-55", "2221-2720"), lengths=(16,), example="5555555555554444")
    assert network.fits("5500000000000000")
    assert network.fits("2720990000000000")
    assert not network.fits("2721000000000000")
    assert not network.fits("550000000000000")


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('{name: x, kind: NATIONAL_ID, pattern: "[", examples: [a]}', "E7230", "no regular expression"),
        ('{name: x, kind: NATIONAL_ID, pattern: "(?=a)b", examples: [b]}', "E7230", "look-around"),
        ('{name: x, kind: SHOE_SIZE, pattern: "a", examples: [a]}', "E7230", "kind"),
        ('{name: x, kind: NATIONAL_ID, pattern: "a", check: magic, examples: [a]}', "E7230", "is no check"),
        ('{name: x, kind: NATIONAL_ID, pattern: "ab", examples: [cd]}', "E7231", "fail their own examples"),
        ('{name: x, kind: NATIONAL_ID, pattern: "ab", examples: [ab], others: [x ab]}', "E7231", "x: 'x ab'"),
    ],
)
def test_a_broken_rule_is_refused(line: str, code: str, says: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "rules")
    (tmp_path / "rules" / "identities.yaml").write_text(f"rules:\n  - {line}\n")
    with pytest.raises(CurationError, match=says) as caught:
        read_rules(tmp_path / "rules")
    assert caught.value.code == code
