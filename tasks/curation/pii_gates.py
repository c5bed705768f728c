"""What a text must have for a pattern of `redact_suspects` to be worth trying on it."""

from __future__ import annotations

import enum
import functools
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.compiled import compiled
from tasks.curation.pii_rules import Shape, read_rules
from tasks.curation.pii_scan import (
    FIRST_WORD,
    Automaton,
    Form,
    automaton,
    byte_kinds,
    scan_runs,
    scan_tokens,
    scan_words,
)
from tasks.curation.policy import Kind

SCAN_FROM_BYTES = 1_500_000
"""Columns smaller than this are not worth a compiler: there every pattern is tried on every text."""

Gate = tuple[int, ...]
"""A text passes where it has all bits of any of these."""


class Word(enum.IntFlag):
    """Groups of words and signs of which a text has one."""

    KEY = 1 << FIRST_WORD
    NAMED, URL, PHONE, IDENTITY, CARD_CODE, BIRTH = (1 << bit for bit in range(FIRST_WORD + 1, FIRST_WORD + 7))
    PLUS, GLUE, EQUALS, AT, SPACED_AT, PERCENT = (1 << bit for bit in range(FIRST_WORD + 7, FIRST_WORD + 13))
    ENTITY, TAG, ESCAPE, TOLD_AT, TOLD_DOT, BRACKET = (1 << bit for bit in range(FIRST_WORD + 13, FIRST_WORD + 19))
    DASH, TYPED, BROKEN, SAID, HEX = (1 << bit for bit in range(FIRST_WORD + 19, FIRST_WORD + 24))


_DATA = read_rules()
_HEXADECIMAL = np.array([chr(byte) in "0123456789abcdefABCDEF" for byte in range(256)])
DIGIT_WORDS = "zero oh one two three four five six seven eight nine double triple".split()  # noqa: SIM905
_KEYS_OF = "api access auth signing encryption master account storage private session".split()  # noqa: SIM905
_LETTERS = re.compile("[A-Za-z]")
_AT_WORDS = ("arroba", "arobase", "chiocciola")
_BRACKETED = (*_AT_WORDS, "at", "@", "dot", ".", "punkt", "punto", "point", "ponto", "a]", "a)", "a}", "a>", "a ")


def is_word(start: str) -> bool:
    """Tell whether what a value begins with is rare enough to look for it alone."""
    return len(start) > 3 or (len(start) == 3 and not start.isalnum() and start[0].isalnum())


def _key_words() -> Iterator[str]:
    yield from ("private key", "putty-user", "eyj", "bearer", "authorization")
    for shape in _DATA.shapes:
        if shape.kind == "API_KEY":
            yield from filter(is_word, shape.starts)


def _contexts(kind: Kind) -> Iterator[str]:
    for shape in _DATA.shapes:
        if shape.kind == kind:
            yield from (f" {word} " for word in shape.context)


def _signs() -> dict[int, list[str]]:
    """Return what is looked for in the bytes as they stand; letters count as small ones, digits as 0."""
    marks, blanks = "_*~-", (" ", "\n", "\t", "\\n", "\\t")
    return {
        Word.KEY: list(_key_words()),
        Word.URL: ["://"],
        Word.PHONE: [f"{word}{sign}" for word in _DATA.phones.requests for sign in " :\"'\\.=#\n\t"],
        Word.PLUS: ["+0", "+ 0"],
        Word.GLUE: [f"{quote}{gap}+" for quote in "\"'" for gap in ("", " ")],
        Word.EQUALS: ["="],
        Word.AT: ["@"],
        Word.SPACED_AT: [f"{blank}@" for blank in blanks],
        Word.PERCENT: ["%"],
        Word.ENTITY: ["&"],
        Word.TAG: ["<"],
        Word.ESCAPE: ["\\" + sign for sign in "ux0/._@+-"],
        Word.TOLD_AT: [
            *(f"mail{sign}" for sign in " :,(=-"),
            *(f"{mark}at{other}" for mark in marks for other in marks),
            *_AT_WORDS,
        ],
        Word.TOLD_DOT: [
            *(f"{blank}{word}" for blank in blanks for word in ("dot", "punkt")),
            *(f"{mark}dot" for mark in marks),
        ],
        Word.BRACKET: [f"{sign}{gap}{word}" for sign in "[({<" for gap in ("", " ") for word in _BRACKETED],
        Word.DASH: ["0 -", "0- ", "0\t-", "0-\t", "0-\\", "0-\n", "0-\r"],
        Word.TYPED: [
            *(f"0{one}{other}" for one in "oli|" for other in "0oli|"),
            *(pair for sign in "oli|" for pair in (f"00{sign}", f"{sign}00")),
        ],
        Word.BROKEN: [f"0{sign}{end}" for sign in ("", " ", "-") for end in ("\\n", "\\r", "\\t", "\n", "\r", "\t")],
        Word.HEX: ["0x"],
    }


def _words() -> dict[int, list[str]]:
    """Return what is looked for among words; a blank stands for any character that is no letter and no digit."""
    named = "passw passph passcode pwd secret kennwort contrase senha wachtwoord parola credential apikey token"
    return {
        Word.NAMED: [
            *named.split(), "pass ", "mot de passe", "пароль", "密码", "パスワード",
            *(f"{first}{gap}{last}" for first in _KEYS_OF for gap in ("", " ") for last in ("key", "token")),
        ],
        Word.PHONE: [f" {word}{end}" for word in _DATA.phones.words for end in (" ", "0") if len(word) < 5]
        + [f" {word}" for word in _DATA.phones.words if len(word) > 4],
        Word.IDENTITY: list(_contexts("NATIONAL_ID")),
        Word.CARD_CODE: list(_contexts("CARD")),
        Word.BIRTH: list(_contexts("DATE_OF_BIRTH")),
        Word.SAID: ["".join(said) for said in itertools.product(DIGIT_WORDS, (" ", "  "), DIGIT_WORDS)],
    }  # fmt: skip


def _folds() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what each byte counts as among signs, and among words."""
    signs = np.arange(256, dtype=np.uint8)
    signs[65:91] += 32
    signs[48:58] = 48
    words = signs.copy()
    words[[byte for byte in range(256) if byte > 127 or not chr(byte).isalnum()]] = 32
    return signs, words


@functools.cache
def _automata() -> tuple[Automaton, Automaton]:
    sign_fold, word_fold = _folds()
    signs, words = _signs(), _words()
    for bit, group in words.items():  # a word without a letter of ours is looked for as it stands
        foreign = [word.strip() for word in group if len(_LETTERS.findall(word)) < 2]
        signs.setdefault(bit, []).extend(form for word in foreign for form in (word, word.title(), word.upper()))
        words[bit] = [word for word in group if len(_LETTERS.findall(word)) > 1]
    return _folded(signs, sign_fold), _folded(words, word_fold)


def _folded(groups: Mapping[int, Sequence[str]], fold: NDArray[np.uint8]) -> Automaton:
    encoded = {bit: [bytes(fold[list(word.encode())]) for word in words] for bit, words in groups.items()}
    return automaton(encoded, fold)


def bits_of(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Return the bits of `Form` and of words of each text; None where the column is too small for it to pay."""
    size = column.nbytes
    if size < SCAN_FROM_BYTES and (size < SCAN_FROM_BYTES >> 3 or "numba" not in sys.modules):
        return None
    texts = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    wide = pa.types.is_large_string(texts.type)
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64 if wide else np.int32)[texts.offset : texts.offset + len(texts) + 1]
    seen = np.zeros(len(texts), dtype=np.int64)
    read = np.frombuffer(data or b"", dtype=np.uint8)
    signs, words = _automata()
    starts = offsets.astype(np.int64)
    compiled(scan_words)(read, starts, *signs, *words, seen)
    compiled(scan_runs)(read, starts, byte_kinds(), seen)
    compiled(scan_tokens)(read, starts, byte_kinds(), _HEXADECIMAL, seen)
    return seen


def forms_of(texts: Iterable[str]) -> list[int]:
    """Return the bits of `Form` of a few texts, without a compiler."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    seen = np.zeros(len(encoded), dtype=np.int64)
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    scan_runs(data, offsets, byte_kinds(), seen)
    scan_tokens(data, offsets, byte_kinds(), _HEXADECIMAL, seen)
    return [int(bits) for bits in seen]


def passing(bits: NDArray[np.int64], gate: Gate) -> NDArray[np.bool_]:
    """Tell which texts pass a gate."""
    passes = np.zeros(len(bits), dtype=bool)
    for needed in gate:
        passes |= (bits & needed) == needed
    return passes


# --- gates -----------------------------------------------------------------------------------------------------------

_SELECTIVE = (
    Form.TOKEN, Form.RUN, Form.CODE, Form.PAIRS, Form.DOTS | Form.NINE, Form.DOTS | Form.SEVEN, Form.DOTS,
    Form.COLONS, Form.ACCOUNT, Form.NINE, Form.SEVEN,
)  # fmt: skip
"""Forms, the rarest in ordinary texts first."""


def by_gate(shapes: Iterable[Shape]) -> list[tuple[Gate, tuple[Shape, ...]]]:
    """Group shapes by what the examples of each have; 0 in the gate, which every text passes, where one has no form."""
    groups: dict[Gate, list[Shape]] = {}
    for shape in shapes:
        forms = (next((form for form in _SELECTIVE if bits & form == form), 0) for bits in forms_of(shape.examples))
        groups.setdefault(tuple(sorted({int(form) for form in forms})), []).append(shape)
    return [(gate, tuple(group)) for gate, group in groups.items()]
