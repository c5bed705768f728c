"""What is left to redact in the rows of a parent version."""

from __future__ import annotations

from typing import Any

import pytest

from registry.records import DatasetManifest
from tasks.curation.policy import Kind
from tasks.curation.prepare import kinds_left


def _parent(code_version: str, policy: dict[str, Any]) -> DatasetManifest:
    return DatasetManifest(
        name="d", version="1.0.0", digest="0", splits={"train": 1}, source_digest="0", code_version=code_version,
        policy=policy,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redacted", "code_version", "left"),
    [
        (["EMAIL", "PHONE"], "2", ()), (["PHONE", "CARD", "EMAIL"], "2", ()),
        (["EMAIL"], "2", ("EMAIL", "PHONE")), ([], "2", ("EMAIL", "PHONE")),
        (["EMAIL", "PHONE"], "1", ("EMAIL", "PHONE")),
    ],
)  # fmt: skip
def test_a_parent_is_redacted_again_unless_this_code_did_as_much(
    redacted: list[Kind], code_version: str, left: tuple[Kind, ...]
) -> None:
    parent = _parent(code_version, {"curation": {"redact": redacted}})
    assert kinds_left(("EMAIL", "PHONE"), parent, "2") == left


def test_a_parent_that_does_not_say_its_policy_is_redacted_and_no_kinds_need_nothing() -> None:
    assert kinds_left(("EMAIL",), _parent("2", {}), "2") == ("EMAIL",)
    assert kinds_left((), _parent("2", {"curation": {"redact": ["EMAIL"]}}), "2") == ()
