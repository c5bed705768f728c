"""Fingerprints are the same bits with numpy and compiled, and see what matters of a conversation."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from tasks.curation.fingerprint import BANDS, compared_text, fingerprint_texts

EDGES = [
    "",
    "a",
    "a b",
    "...",
    "x" * 5000,
    " a",
    "日本語のテキスト abc",
    "a日b",
    "日",
    "é b c d",
    "👍 ok then",
    "a\x1e\x1eb",
]


def _random_texts(count: int) -> list[str]:
    generator = random.Random(1)
    return ["".join(generator.choices("ab zé日本.,\n\x1e A👍", k=generator.randrange(60))) for _ in range(count)]


def test_numpy_and_compiled_give_the_same_bits() -> None:
    texts = EDGES + _random_texts(300)
    small, compiled = fingerprint_texts(texts, compile_from=10**12), fingerprint_texts(texts, compile_from=0)
    for one, other in zip(small, compiled, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize("compile_from", [0, 10**12])
def test_no_rows_give_empty_fingerprints(compile_from: int) -> None:
    prints = fingerprint_texts([], compile_from)
    assert prints.bands.shape == (BANDS, 0)
    assert len(prints.exact) == len(prints.shingles) == len(prints.counts) == 0


def test_case_and_white_space_make_no_difference_and_punctuation_does() -> None:
    exact = fingerprint_texts(["Hello  World\n!", "hello world !", "hello world ?"]).exact
    assert exact[0] == exact[1] != exact[2]


def test_a_text_of_n_words_has_n_minus_2_shingles() -> None:
    assert fingerprint_texts(["", "a", "a b", "a b c", "a b c d e", "日本語の"]).counts.tolist() == [0, 1, 1, 1, 3, 2]


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    together, alone = fingerprint_texts(["one two three four", "five six seven"]), fingerprint_texts(["five six seven"])
    assert together.exact[1] == alone.exact[0]
    assert np.array_equal(together.bands[:, 1], alone.bands[:, 0])


def test_system_turns_are_not_compared_and_tool_calls_are() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "book", "arguments": '{"to": "Rome"}'}}
    turns = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    text = compared_text(json.dumps([{"role": "system", "content": "long prompt"}, *turns]))
    assert text == compared_text(json.dumps(turns)) == 'hi\x1ebook {"to": "Rome"}'


def test_unicode_forms_and_typographic_quotes_make_no_difference() -> None:
    messages = [
        json.dumps([{"role": "user", "content": text}]) for text in ("cafe\u0301 “ok”", 'CAFÉ "ok"', "ｃａｆé ”ok”")
    ]
    assert len({compared_text(each) for each in messages}) == 1
