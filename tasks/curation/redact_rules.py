"""The rules that tell personal data and secrets from numbers and words that merely look like them.

Each rule is a pattern and, where the kind has one, a check that only true values pass: Luhn and known issuers for
cards, length and mod 97 for IBANs, ranges for US social security numbers and addresses. A false alarm costs a learnable
word, a miss stores somebody's data: patterns are wide where a check digit decides, narrow where nothing does (phones).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tasks.curation.check_digits import IBAN_LENGTHS, iban_is_valid, luhn_is_valid
from tasks.curation.policy import Kind


class Span(NamedTuple):
    """A piece of a text that must not be stored."""

    start: int
    end: int


Begin = Callable[[str], int | None]
Finder = Callable[[str, int], Iterator[Span]]
"""Finds the values of a text from a place on; what stands before it still counts as context."""

_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[A-Za-z]")


def _digits(text: str) -> str:
    return "".join(_DIGIT.findall(text))


def _mixed(secret: str) -> bool:
    """Tell a generated secret from a word: it has letters and digits."""
    return bool(_DIGIT.search(secret)) and bool(_LETTER.search(secret))


def _by_pattern(pattern: re.Pattern[str], check: Callable[[re.Match[str]], bool] | None = None) -> Finder:
    """Build a finder from a pattern; the span is the group `v` where the pattern has one, else the whole match."""
    group: int | str = "v" if "v" in pattern.groupindex else 0

    def find(text: str, start: int) -> Iterator[Span]:
        for match in pattern.finditer(text, start):
            if check is None or check(match):
                yield Span(*match.span(group))

    return find


# --- secrets, by their public shapes -------------------------------------------------------------------------------

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{10,}")
_API_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}"  # Slack
    r"|(?<=hooks\.slack\.com/services/)T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,}"
    r"|sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"  # OpenAI and those who copied it; a digit, so that no CSS class fits
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r")"
)
_AWS_SECRET = re.compile(
    r"(?i:aws.{0,20}?(?:secret|access).{0,20}?key)[\"']?\s{0,3}[=:]\s{0,3}\\?[\"']?(?P<v>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
)
_BEARER = re.compile(r"\b[Bb]earer\s+(?P<v>[A-Za-z0-9._~+/-]{16,}=*)")
_URL_PASSWORD = re.compile(r"(?<=://)(?P<v>[^\s/:@\"'<>]{1,256}:[^\s/@\"'<>]{1,256})(?=@[\w.\[-])")
_ASSIGNED = re.compile(
    r"(?i)(?:password|passwd|passphrase|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token)"
    r"\\?[\"']?\s{0,3}(?:[=:]|\bis\b)\s{0,3}\\?[\"']?(?P<v>[^\s\"',;<>()\[\]{}\\]{6,256})"
)


_url_password = _by_pattern(_URL_PASSWORD)
_assigned = _by_pattern(_ASSIGNED, lambda match: _mixed(match["v"]))
_known_key = _by_pattern(_API_KEY)
_aws_secret = _by_pattern(_AWS_SECRET, lambda match: _mixed(match["v"]))


def _password(text: str, start: int) -> Iterator[Span]:
    yield from _url_password(text, start)
    yield from _assigned(text, start)


def _api_key(text: str, start: int) -> Iterator[Span]:
    yield from _known_key(text, start)
    yield from _aws_secret(text, start)


# --- people ----------------------------------------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![\w.+%-])(?!git@[\w.-]+:)[\w][\w.+%'-]{0,63}@(?:[\w](?:[\w-]{0,61}[\w])?\.){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w@])"
)


def _not_an_asset(match: re.Match[str]) -> bool:
    """`icon@2x.png` is a picture's name."""
    return not match.group().lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"))


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])(?P<country>[A-Z]{2})\d{2}(?=[ -]?[A-Z0-9]{4})")


def _iban(text: str, start: int) -> Iterator[Span]:
    for match in _IBAN_START.finditer(text, start):
        length = IBAN_LENGTHS.get(match["country"])
        if length is None:
            continue
        # The pattern cannot know where the last group ends, the country's length does.
        whole = re.compile(rf"(?:[ -]?[A-Z0-9]){{{length}}}(?![A-Za-z0-9])").match(text, match.start())
        if whole and iban_is_valid(re.sub(r"[ -]", "", whole.group())):
            yield Span(*whole.span())


_CARD = re.compile(
    r"(?<![\w.])(?<!\d[-])(?:\d{13,19}|\d{4}(?P<a>[ -])\d{4}(?P=a)\d{4}(?P=a)\d{1,7}"
    r"|\d{4}(?P<b>[ -])\d{6}(?P=b)\d{4,5})"
    r"(?![\w-]|\.\d)"
)
_ISSUERS = re.compile(r"4|5[0-8]|2[2-7]|3[0-9]|6[0-9]")
_PLAIN_CARD_LENGTHS = {"3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "2": (16,), "6": (16, 17, 18, 19)}


def _is_card(match: re.Match[str]) -> bool:
    digits = _digits(match.group())
    if not _ISSUERS.match(digits) or len(digits) not in _PLAIN_CARD_LENGTHS.get(digits[0], ()):
        return False
    return len(set(digits)) > 1 and luhn_is_valid(digits)


_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}(?P<s>[- ])(?!00)\d{2}(?P=s)(?!0000)\d{4}(?![\w-])")
_SSN_NAMED = re.compile(
    r"(?i)\b(?:ssn|social security(?: number| no\.?)?)\W{0,4}(?:is\W{1,3}|number\W{1,3})?"
    r"(?P<v>(?!000|666|9)\d{3}[- .]?(?!00)\d{2}[- .]?(?!0000)\d{4})(?!\d)"
)


_plain_ssn, _named_ssn = _by_pattern(_SSN), _by_pattern(_SSN_NAMED)


def _ssn(text: str, start: int) -> Iterator[Span]:
    yield from _plain_ssn(text, start)
    named = text.casefold()
    if "ssn" in named or "social" in named:
        yield from _named_ssn(text, start)


_PHONE = re.compile(
    r"(?<![\w+.,/-])(?<!\d )(?:"
    r"(?:\+|00(?=[1-9]\d{0,2}[ (-]))[1-9](?:[ ().-]{0,2}\d){7,14}"  # international
    r"|(?:1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}(?P<s>[-.]))\d{3}[-. ]\d{4}"  # North America
    r"|[2-9]\d{2} [2-9]\d{2} \d{4}"
    r"|\(?0[1-9]\d{0,3}\)?[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}"  # national, with the leading zero
    r")(?![\w]|[-./:,]\d)"
)
_PHONE_NAMED = re.compile(
    r"(?i)(?<![a-z])(?:phone|telephone|tel|mobile|cell|cellphone|fax|whatsapp|call|text|dial|reach)"
    r"(?:[ _-]?(?:number|no|me|us))?(?: (?:at|on|is|to))?[\"'\\:.=#\s]{0,6}"
    r"(?P<v>\(?\d(?:[ ().-]{0,2}\d){6,14})(?![\w]|[-./:]\d)"
)
_DATE = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)\d\d|(?:19|20)\d\d[-/. ]\d{1,2}[-/. ]\d{1,2}")


def _is_phone(match: re.Match[str]) -> bool:
    number = match["v"] if "v" in match.re.groupindex else match.group()
    return 7 <= len(_digits(number)) <= 15 and not _DATE.match(number.lstrip("(+"))


_plain_phone = _by_pattern(_PHONE, lambda match: _is_phone(match) and len(_digits(match.group())) >= 8)
_named_phone = _by_pattern(_PHONE_NAMED, _is_phone)


def _phone(text: str, start: int) -> Iterator[Span]:
    yield from _plain_phone(text, start)
    yield from _named_phone(text, start)


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION_BEFORE = re.compile(r"(?i)(?:\bv|version|release|section|chapter|§|build)\.?\s*$")


def _address(text: str, start: int) -> Iterator[Span]:
    for match in _IPV4.finditer(text, start):
        octets = match.group().split(".")
        plain = all(int(octet) < 256 and (octet == "0" or octet[0] != "0") for octet in octets)
        # loopback and "any" name no machine of anybody; a version number is no address
        nobody = octets[0] in ("0", "127") or match.group() == "255.255.255.255"
        if plain and not nobody and not _VERSION_BEFORE.search(text[max(0, match.start() - 12) : match.start()]):
            yield Span(*match.span())
    for match in _IPV6.finditer(text, start):
        groups = [group for group in match.group().split(":") if group]
        if len(groups) >= 3 and _is_ipv6(match.group()):  # fewer are `::1`, or `a::b` of a program
            yield Span(*match.span())


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


_KEY_STARTS = (
    "AKIA", "ASIA", "AROA", "AIDA", "AGPA", "ANPA", "ANVA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat_", "glpat-", "xox", "xapp-", "hooks.slack", "sk-", "k_live_", "k_test_", "AIza", "hf_", "npm_", "SG.",
)  # fmt: skip
LEAST_DIGITS, BEFORE_DIGITS = 5, 64
_NOT_DIGITS = bytes(byte for byte in range(256) if not 0x30 <= byte <= 0x39)
_SEVEN_DIGITS = re.compile(r"\d(?:[ ().-]{0,2}\d){6}|\d{2}[/-]\d{3}")


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


class Rule(NamedTuple):
    """How one kind is found."""

    begin: Begin
    """A cheap test: where a value may begin at the earliest, None where there is none, as in nearly every text."""
    find: Finder
    """The exact rule."""


RULES: dict[Kind, Rule] = {
    "PRIVATE_KEY": Rule(_mark("-----BEGIN", 0), _by_pattern(_PRIVATE_KEY)),
    "JWT": Rule(_mark("eyJ", 0), _by_pattern(_JWT)),
    "API_KEY": Rule(
        _anywhere(lambda text: any(start in text for start in _KEY_STARTS) or "aws" in text.lower()), _api_key
    ),
    "PASSWORD": Rule(
        _anywhere(
            lambda text: (
                "://" in text or any(word in text.lower() for word in ("pass", "pwd", "secret", "key", "token"))
            )
        ),
        _password,
    ),
    "BEARER_TOKEN": Rule(_mark("earer", 1), _by_pattern(_BEARER, lambda match: bool(_DIGIT.search(match["v"])))),
    "EMAIL": Rule(_mark("@", 64), _by_pattern(_EMAIL, _not_an_asset)),
    "IBAN": Rule(_many_digits, _iban),
    "CARD": Rule(_many_digits, _by_pattern(_CARD, _is_card)),
    "SSN": Rule(_many_digits, _ssn),
    "PHONE": Rule(_many_digits, _phone),
    "IP_ADDRESS": Rule(_anywhere(lambda text: text.count(".") >= 3 or text.count(":") >= 2), _address),
}

_KEY_SUSPECT = (
    r"://[^\s/\"@]*:[^\s/\"@]*@|-----BEGIN|eyJ"
    r"|A(?:KIA|SIA|ROA|IDA|GPA|NPA|NVA|BIA|CCA)|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|hooks\.slack|sk-"
    r"|[rs]k_(?:live|test)_|AIza|hf_|npm_|SG\.|[Bb]earer\s"
    r"|(?i:passw|passphrase|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token)"
)
_NUMBER_SUSPECT = (
    r"\d(?:[ ().\\/-]{0,2}\d){8}"
    r"|(?i:phone|tel|mobile|cell|fax|whatsapp|call|text|dial|reach)[^0-9]{0,14}\d(?:[ ().-]{0,2}\d){6}"
    r"|[A-Z]{2}\d{2}[ -]?[A-Z0-9]{4}[ -]?[A-Z0-9]{4}"
)
SUSPECTS: dict[tuple[Kind, ...], str] = {
    ("PRIVATE_KEY", "JWT", "PASSWORD", "API_KEY", "BEARER_TOKEN"): _KEY_SUSPECT,
    ("EMAIL",): r"@[^\s\"@]*\.",
    ("IBAN", "CARD", "SSN", "PHONE"): _NUMBER_SUSPECT,
    ("IP_ADDRESS",): r"(?:\d{1,3}\.){3}\d|(?:[0-9A-Fa-f]{1,4}:){3}|::[0-9A-Fa-f]|[0-9A-Fa-f]::",
}
"""RE2 patterns, each wider than the rules of its kinds together, that a text without personal data seldom matches.

They are applied to the JSON form of a conversation, where a line break is `\\n` and a quote `\\"`: so they have no word
boundaries, and every rule's core survives JSON's escapes.
"""
