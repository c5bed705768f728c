"""Telephone numbers: where they look like one, the library phonenumbers decides."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import phonenumbers

from tasks.curation.pii_rules import Phones
from tasks.curation.pii_secrets import Span

_INTERNATIONAL = re.compile(
    r"(?<![\w+])(?<!\d[,./-])(?!(?<=\d )\+ )"
    r"(?:\(?(?:\+|00(?=[1-9]\d{0,2}[ (.-])|011[ -](?=[1-9]))|tel:\+?|\+)[ ]?\(?[1-9]"
    r"(?:(?:[ ]?\(0\)[ ]?|[ ().\-/\t]{0,3}(?:\r?\n)?)\d){6,14}(?!\d)"
)
_NORTH_AMERICAN = re.compile(
    r"(?<![\w+.,/-])(?<!\d )(?:1[ .-])?(?:\((?P<a>[2-9]\d{2})\)[ .-]?|"
    r"(?P<b>[2-9]\d{2})(?P<s>[-.]))[2-9]?\d{2,3}[-. ]\d{4}"
    r"(?![\w]|[-/:,.]\d)"
)
_SPACED = re.compile(r"(?<![\w+.,/-])(?<!\d )(?:1 )?[2-9]\d{2} [2-9]\d{2} \d{4}(?![\w]|[-./:,]\d| \d)")
_NATIONAL = re.compile(
    r"(?<![\w+.,/-])(?<!\d )\(?0[1-9]\d{0,4}\)?[ /.-]{1,2}\d{2,8}(?:[ /.-]?\d{2,4}){0,4}(?![\w]|[-./:,]\d)"
)
_AREA = re.compile(
    r"(?<![\w+.,/-])(?<!\d )\((?!(?:19|20)\d\d\))\d{2,4}\) ?\d{3,5}[- ]?\d{2,4}(?:[- ]\d{2,4})?(?![\w]|[-./:,]\d)"
)
_NUMBER = re.compile(r"\+?\(?\d(?:[ ().\-/]{0,2}\d){6,14}(?![\w]|[-./:]\d)")
_DATE = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)\d\d(?!\d)|(?:19|20)\d\d[-/. ]\d{1,2}[-/. ]\d{1,2}(?!\d)")
_DECIMAL = re.compile(r"\+?\d{1,3}\.\d{2,}[-+]|\+?\d{1,3}\.\d+\Z")
_LAST_GROUP = re.compile(r"[^\d]+\d+\Z")


_COUNTED = re.compile(
    r"(?i)\breach\W{0,3}\Z|\b(?:sold|users|units|views|sales|revenue|costs?|price|shipped|made)\W{1,3}\Z"
)
"""Words that make a number after them how many: `reach 6100000 views`, `phones sold: 20281111`."""


def _count(text: str) -> int:
    return sum(character.isdecimal() for character in text)


_DIGITS = re.compile(r"\d(?:[ ().\-/\t\r\n]{0,5}\d){6,}")
_PREFIX = 8
"""Characters before the first digit that may be of the number: `tel: +(`."""
_BEFORE = 64
"""Characters before a number in which a word may say that it is a telephone's."""


class PhoneFinder:
    """Finds telephone numbers: international, in the forms of some regions, and any after a word such as "phone"."""

    def __init__(self, phones: Phones) -> None:
        words, requests = ("|".join(map(re.escape, each)) for each in (phones.words, phones.requests))
        self._regions = phones.regions
        self._words = tuple(word.lower() for word in (*phones.words, *phones.requests))
        self._before = re.compile(
            rf"(?i)(?:(?<![a-z])(?:{words})[^\w\n]{{0,4}}(?:[^\W\d]{{1,12}}[^\w\n]{{1,3}}){{0,4}}[+(]?"
            r"|[^\W\d_]{1,12}_?(?:phone|mobile)[\"'\\:=\s_]{1,8}"
            rf"|(?<![a-z])(?:{requests})(?: (?:me|us|him|her|them|back|now)){{0,2}}"
            rf"(?: (?:at|on|to))?[\"'\\:.=#\s]{{0,6}})\Z"
        )
        things = "|".join(map(re.escape, phones.other_things))
        self._thing = re.compile(
            rf"(?i)(?<![^\W_])(?:{things})(?:[\s_-]{{0,2}}(?:number|no|num|nr|id|code|key|ref|reference))?\.?"
            r"[\s:#=\"'\\(-]{0,4}(?:(?:is|was)\s)?\Z"
        )

    def __call__(self, text: str, start: int) -> Iterator[Span]:
        """Find the telephone numbers of a text from a place on."""
        for digits in _DIGITS.finditer(text, start):
            first, last = max(start, digits.start() - _PREFIX), min(len(text), digits.end() + 3)
            for match in _INTERNATIONAL.finditer(text, first, last):
                if not _DECIMAL.match(match.group()) and (length := _international(match.group())):
                    yield Span(match.start(), match.start() + length)
            for pattern in (_NORTH_AMERICAN, _SPACED, _NATIONAL, _AREA):
                for match in pattern.finditer(text, first, last):
                    if self._is_national(pattern, match) and not self._is_of_a_thing(text, match.start()):
                        yield Span(*match.span())
            told = _NUMBER.search(text, first, last)
            if told is not None and self._is_told(text, told):
                yield Span(*told.span())

    def _is_told(self, text: str, match: re.Match[str]) -> bool:
        """Tell whether words before a number say that it is a telephone's."""
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        lower = before.lower()
        if not any(word in lower for word in self._words) or not self._before.search(before):
            return False
        if _COUNTED.search(before):
            return False
        number = match.group()
        return not (_DATE.match(number) or _DECIMAL.match(number) or self._is_of_a_thing(text, match.start()))

    def _is_of_a_thing(self, text: str, place: int) -> bool:
        return bool(self._thing.search(text, max(0, place - 40), place))

    def _is_national(self, pattern: re.Pattern[str], match: re.Match[str]) -> bool:
        number = match.group()
        if pattern is _NORTH_AMERICAN:
            return 10 <= _count(number) <= 11
        if not 8 <= _count(number) <= 13 or _DATE.match(number.lstrip("(")):
            return False
        if pattern is _SPACED:
            return _is_valid(number, "US")
        return any(_is_valid(number, region) for region in self._regions)


@functools.lru_cache(maxsize=8192)
def _is_valid(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


@functools.lru_cache(maxsize=8192)
def _international(text: str) -> int:
    """Return how many characters of `text` are an international number; the last groups may be of something else."""
    plain = text.lstrip("(")
    skipped = len(text) - len(plain)
    if plain.startswith("tel:"):
        skipped, plain = skipped + 4, plain[4:]
    plus = plain if plain.startswith("+") else "+" + re.sub(r"^(?:00|011[ -])", "", plain)
    added = len(plus) - len(plain)
    longest = 0
    while _count(plus) >= 7:
        if _is_valid(plus, None):
            return skipped + len(plus) - added
        if not longest and plain.startswith("+") and _is_possible(plus):
            longest = skipped + len(plus) - added
        last = _LAST_GROUP.search(plus)
        if last is None or last.start() < 3:
            break
        plus = plus[: last.start()]
    return longest


def _is_possible(number: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, None))
    except phonenumbers.NumberParseException:
        return False
