"""Spellings of one source, and what lies below another."""

from __future__ import annotations

import pytest

from registry.source_names import canonical, canonical_pattern, places, shown

OURS = "https://acme.example/agents/us-1"


@pytest.mark.parametrize(
    "spelling",
    [
        "https://acme.example/agents/us-1/", "HTTPS://acme.example/agents/us-1", "https://ACME.example/agents/us-1",
        "https://acme.example/agents/us%2D1", "https://acme.example/agents/us%252d1", "https://acme.example:443//agents/us-1",
        " https://acme.example/agents/us-1 ", "https://acme.example/agents/us\u200b-1", "https://acme.example./agents/us-1",
        "https://acme.example/agents/us-1?x=1", "https://acme.example/agents/us-1#a", "https://a@acme.example/agents/us-1",
        "https://acme.example/agents/x/../us-1/.", "https://acme.example/agents/us-\uff11", "https://acme.example/agents/us-1%00",
        "https://acme.example/agents/us-1\ufe0f", "https://acme.example/agents/us-1%20%3Fx", "https://acme.example/agents/us\u3164-1",
    ],
)  # fmt: skip
def test_another_spelling_is_the_same_source(spelling):
    assert canonical(spelling) == OURS
    assert canonical(OURS) == OURS


@pytest.mark.parametrize(
    "other",
    ["https://acme.example/agents/US-1", "http://acme.example/agents/us-1", "https://acme.example:444/agents/us-1",
     "https://acme.example/agents/us-12", "https://acme.example.org/agents/us-1", "/agents/us-1"],
)  # fmt: skip
def test_another_source_stays_another(other):
    assert canonical(other) == other


@pytest.mark.parametrize(
    "name", ["", "/", "?x", "\u3164", "urn:x:y", "sha256:ab", "mailto:Jane@acme.example", "two words"]
)
def test_what_has_nothing_to_fold_stays_as_it_is(name):
    assert canonical(name) == name


def test_a_source_lies_below_what_its_path_begins_with():
    assert places(f"{OURS}/eu/") == (
        f"{OURS}/eu", OURS, "https://acme.example/agents", "https://acme.example",
    )  # fmt: skip
    assert places("/a/b/c") == ("/a/b/c", "/a/b", "/a")
    assert places("a/b") == ("a/b", "a")
    assert places("urn:x:y") == ("urn:x:y",)


def test_a_pattern_is_spelled_as_the_names_are_and_keeps_its_signs():
    assert canonical_pattern("HTTPS://*.Acme.Example/us%2D?/") == "https://*.acme.example/us-?"
    assert [canonical_pattern(each) for each in ("/Ours/*", "*", "/")] == ["/Ours/*", "*", "/"]


def test_what_cannot_be_seen_is_shown_as_its_code():
    assert shown("/us\u200b-1\x1b[2J\n\ufe0f é") == r"/us\u200b-1\x1b[2J\n\ufe0f é"
