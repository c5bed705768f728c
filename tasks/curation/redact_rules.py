"""The rules that tell personal data and secrets from numbers and words that merely look like them.

Each rule is a pattern and, where the kind has one, a check that only true values pass: Luhn and known issuers for
cards, length and mod 97 for IBANs, ranges for US social security numbers and addresses. A false alarm costs a learnable
word, a miss stores somebody's data: patterns are wide where a check digit decides, narrow where nothing does (phones).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tasks.curation import pii_people, pii_secrets
from tasks.curation.pii_phone import PhoneFinder
from tasks.curation.pii_rules import read_rules
from tasks.curation.pii_secrets import Finder, Span
from tasks.curation.policy import Kind

Begin = Callable[[str], int | None]

_DATA = read_rules()
LEAST_DIGITS, BEFORE_DIGITS = 5, 64
_NOT_DIGITS = bytes(byte for byte in range(256) if not 0x30 <= byte <= 0x39)
_SEVEN_DIGITS = re.compile(r"\d(?:[\W_]{0,5}\d){6}|\d{2}[/-]\d{3}")


def _many_digits(text: str) -> int | None:
    if text.isascii() and len(text.encode().translate(None, _NOT_DIGITS)) < LEAST_DIGITS:
        return None  # decided without a pattern, as of most texts
    found = _SEVEN_DIGITS.search(text)
    return max(0, found.start() - BEFORE_DIGITS) if found else None


def _mark(sign: str, before: int) -> Begin:
    """Return a test for values that hold `sign` and begin at most `before` characters earlier."""

    def begin(text: str) -> int | None:
        place = text.find(sign)
        return max(0, place - before) if place >= 0 else None

    return begin


def _anywhere(test: Callable[[str], bool]) -> Begin:
    return lambda text: 0 if test(text) else None


def _always(text: str) -> int | None:
    return 0


def _finder(kind: Kind, own: Finder | None = None) -> Finder:
    """Build a finder of one kind from its code and all its data."""
    shapes = [shape for shape in _DATA.shapes if shape.kind == kind]
    plain = [shape for shape in shapes if not shape.starts and not shape.context]
    told = [(word.lower(), shape) for shape in shapes for word in shape.context]
    starts = [(start, shape) for shape in shapes for start in shape.starts]

    def find(text: str, start: int) -> Iterator[Span]:
        if own is not None:
            yield from own(text, start)
        lower = text.lower()
        begun = {shape.name: shape for sign, shape in starts if sign in text}
        begun |= {shape.name: shape for word, shape in told if word in lower}
        for shape in (*plain, *begun.values()):
            for first, last in shape.find(text, lower):
                if kind != "NATIONAL_ID" or not pii_people.is_of_a_thing(text, first):
                    yield Span(first, last)

    return find


class Rule(NamedTuple):
    """How one kind is found."""

    begin: Begin
    """A cheap test: where a value may begin at the earliest, None where there is none, as in nearly every text."""
    find: Finder
    """The exact rule."""


def _has(*words: str) -> Begin:
    def test(text: str) -> bool:
        lower = text.lower()
        return any(word in lower for word in words)

    return _anywhere(test)


RULES: dict[Kind, Rule] = {
    "PRIVATE_KEY": Rule(_has("private key", "putty-user"), pii_secrets.private_key),
    "JWT": Rule(_mark("eyJ", 1), pii_secrets.jwt),
    "API_KEY": Rule(_always, _finder("API_KEY", pii_secrets.assigned_key)),
    "PASSWORD": Rule(
        _has(
            "://",
            "pass",
            "pwd",
            "secret",
            "kennwort",
            "contrase",
            "senha",
            "wachtwoord",
            "parola",
            "пароль",
            "密码",
            "パス",
        ),
        pii_secrets.password,
    ),
    "BEARER_TOKEN": Rule(_has("bearer", "authorization"), pii_secrets.bearer),
    "EMAIL": Rule(_mark("@", 66), pii_people.email),
    "CRYPTO_WALLET": Rule(_always, _finder("CRYPTO_WALLET")),
    "MAC_ADDRESS": Rule(_always, _finder("MAC_ADDRESS")),
    "IBAN": Rule(_many_digits, pii_people.iban),
    "CARD": Rule(_always, _finder("CARD", pii_people.card(_DATA.networks))),
    "SSN": Rule(_many_digits, pii_people.ssn),
    "NATIONAL_ID": Rule(_always, _finder("NATIONAL_ID")),
    "DATE_OF_BIRTH": Rule(_always, _finder("DATE_OF_BIRTH")),
    "PHONE": Rule(_many_digits, PhoneFinder(_DATA.phones)),
    "IP_ADDRESS": Rule(_anywhere(lambda text: text.count(".") >= 3 or text.count(":") >= 2), pii_people.address),
}
NUMBERS: frozenset[Kind] = frozenset({"IBAN", "CARD", "SSN", "NATIONAL_ID", "DATE_OF_BIRTH", "PHONE"})
"""Kinds that are digits, of which a text is full that are nobody's."""
NOT_PERSONAL = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"  # UUID
    r"|(?<![0-9A-Za-z])(?=\d{0,31}[a-fA-F])[0-9a-fA-F]{32,}(?![0-9A-Za-z])"  # digest
    r"|(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d"
    r"(?::[0-5]\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?(?!\d)"  # time
    r"|(?i:isbn|issn|doi|imei)[-: ]{0,3}(?:1[03][-: ]{1,2})?[\dX][\dX /.-]{7,24}[\dX]"
)
"""Numbers that are surely no person's, and are not looked into."""
