"""Addresses, accounts, cards and social security numbers."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator, Sequence

from tasks.curation.check_digits import CHECKS, IBAN_LENGTHS, iban_is_valid, luhn_is_valid
from tasks.curation.pii_rules import Network
from tasks.curation.pii_secrets import Finder, Span, by_number, by_pattern

_EMAIL = re.compile(
    r"(?<![\w.+%&-])(?!git@[\w.-]+:)(?:[\w][\w.+%&'-]{0,63}|\"[^\"\n@]{1,62}\")"
    r"@(?:(?:[\w](?:[\w-]{0,61}[\w])?\.){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w@])|\[(?:\d{1,3}\.){3}\d{1,3}\])"
)
_ASSETS = tuple(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".svg",
        ".webp",
        ".css",
        ".js",
        ".mjs",
        ".tgz",
        ".tar",
        ".gz",
        ".whl",
        ".json",
        ".html",
        ".ts",
        ".tsx",
        ".exe",
    ]
)


def _not_an_asset(match: re.Match[str]) -> bool:
    """`icon@2x.png` is a picture's name."""
    return not match.group().lower().endswith(_ASSETS)


email = by_pattern(_EMAIL, _not_an_asset)

_IBAN_START = re.compile(
    r"(?i)(?<![A-Za-z0-9])(?P<a>[A-Z])[\W_]{0,5}(?P<b>[A-Z])[\W_]{0,5}\d[\W_]{0,5}\d(?=[\W_]{0,5}[A-Z0-9][\W_]{0,5}[A-Z0-9])"
)
_APART = re.compile(r"[\W_]")
_REGULAR = re.compile(r"[A-Z]{2}\d\d(?:(?P<s>[ .-]?)[A-Z0-9]{4})(?:(?P=s)[A-Z0-9]{4})*(?:(?P=s)[A-Z0-9]{1,3})?")


def iban(text: str, start: int) -> Iterator[Span]:
    """Find account numbers by country, length and check digits; what is written irregularly has ten digits at least."""
    for match in _IBAN_START.finditer(text, start):
        length = IBAN_LENGTHS.get((match["a"] + match["b"]).upper())
        if length is None:
            continue
        # The pattern cannot know where the last group ends, the country's length does.
        whole = _iban_of(length).match(text, match.start())
        if whole is None or not iban_is_valid(number := _APART.sub("", whole.group()).upper()):
            continue
        if _REGULAR.fullmatch(whole.group()) or sum(map(str.isdecimal, number)) >= 10:
            yield Span(*whole.span())


@functools.cache
def _iban_of(length: int) -> re.Pattern[str]:
    return re.compile(rf"(?i)[A-Z0-9](?:[\W_]{{0,5}}[A-Z0-9]){{{length - 1}}}(?![A-Za-z0-9])")


_THING = re.compile(
    r"(?i)(?<![^\W_])(?:order|invoice|ticket|sku|part|item|serial|tracking|case|ref|reference|model|product|catalog|lot|batch"
    r"|flight|reservation|version|build|po|zip|postcode|ean|upc|gtin|isbn|barcode|transaction|shipment|parcel|job|issue"
    r"|confirmation)(?:[\s_-]?(?:number|no|id|code))?\.?[\s:#=-]{0,4}\Z"
)


def is_of_a_thing(text: str, place: int) -> bool:
    """Tell whether the word before a number says that it is an order's, a part's or the like."""
    return bool(_THING.search(text, max(0, place - 32), place))


_CARD = re.compile(
    r"(?<![\w.+/])(?<!\d[-])(?:\d{12,19}|"
    r"\d{4}(?P<a>[ .-]{1,2})\d{4}(?P=a)\d{4}(?P=a)\d{1,7}|\d{4}(?P<b>[ .-]{1,2})\d{6}(?P=b)\d{4,5}"
    r"|\d{4} \d{4} \d{5}|\d{6}(?P<c>[ -])\d{10,13}|\d{8}(?P<d>[ -])\d{8})"
    r"(?![\w]|[.-]\d)"
)
_CARD_WORD = re.compile(
    r"(?i)(?:card|visa|mastercard|maestro|amex|pan|cc|karte|tarjeta|carte)\W{0,3}(?:\w{1,8}\W{1,3}){0,3}\Z"
)


def card(networks: Sequence[Network]) -> Finder:
    """Build a finder of payment cards: a network's digits and length, and the Luhn digit."""

    def is_card(match: re.Match[str]) -> bool:
        digits = "".join(filter(str.isdecimal, match.group()))
        if len(set(digits)) == 1 or not luhn_is_valid(digits) or is_of_a_thing(match.string, match.start()):
            return False
        if not any(network.fits(digits) for network in networks):
            return False
        # A Visa of 13 digits may be an article's number (EAN) as well, and is mostly that
        article = len(digits) == 13 and CHECKS["ean"](digits)
        return not article or bool(_CARD_WORD.search(match.string, max(0, match.start() - 40), match.start()))

    return by_number(_CARD, is_card)


_AREA, _GROUP, _SERIAL = r"(?!000|666|9)\d{3}", r"(?!00)\d{2}", r"(?!0000)\d{4}"
_SSN = re.compile(rf"(?<![\w+-])(?<!\d[ .]){_AREA}(?P<s>[- ./_]){_GROUP}(?P=s){_SERIAL}(?![\w-]|[ .]\d)")
_SSN_NAMED = re.compile(
    r"(?i)(?<![a-z])(?:ssn|ss#|soc(?:ial)?[ _-]?sec(?:urity)?)[^\w\n]{0,4}"
    r"(?:(?:number|no|num|is|was|of|for|last|on|file|the|with|ending|#|:|my|card)[^\w\n]{1,3}){0,5}"
    rf"(?P<v>{_AREA}[- ./_]{{0,2}}{_GROUP}[- ./_]{{0,2}}{_SERIAL})(?!\d)"
)
_plain_ssn = by_number(_SSN, lambda match: not is_of_a_thing(match.string, match.start()))
_named_ssn = by_pattern(_SSN_NAMED)


def ssn(text: str, start: int) -> Iterator[Span]:
    """Find US social security numbers: in their form, or after their name."""
    yield from _plain_ssn(text, start)
    named = text.casefold()
    if "ssn" in named or "soc" in named or "ss#" in named:
        yield from _named_ssn(text, start)


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION_BEFORE = re.compile(
    r"(?i)(?:(?<![a-z])(?:v|ver|version|release|section|sections|chapter|§|build|rev|revision|firmware|driver|sdk|api|package|library"
    r"|kernel|patch|clause|figure|table|paragraph|article|oid|requirement|rule|assembly|dll|plugin|runtime|schema|model|spec|standard)s?\.?\W{0,3}"
    r"|(?:upgraded?|updated?|bumped|downgraded?|migrated?)(?:\s[\w.-]{1,20})?\s(?:from|to)\s(?:[\d.]{3,15}\sto\s)?|[=~^><]=\s?|[A-Za-z]/|[A-Za-z]-v?)\Z"
)
_LICENSED = re.compile(
    r"(?i)(?: (?:of|for)(?: (?:the|our|your))?(?: [\w.-]{1,20}){1,3}?)? "
    r"(?:licen[cs]es?|releases?d?|versions?|spec(?:ification)?|standard|protocol|library|package|driver|firmware|sdk)\b"
)
"""What stands after a version: `2.0.0.1 of the MIT licence`."""
_LINK_LOCAL = re.compile(r"(?i)fe[89ab]|f[cd]|2[0-9a-f]{3}|3[0-9a-f]{3}")


def address(text: str, start: int) -> Iterator[Span]:
    """Find addresses of machines, version 4 and 6; loopback, "any" and masks name no machine of anybody."""
    for match in _IPV4.finditer(text, start):
        octets = match.group().split(".")
        plain = all(int(octet) < 256 and (octet == "0" or octet[0] != "0") for octet in octets)
        nobody = octets[0] in ("0", "127", "255")
        if (
            plain
            and not nobody
            and not _LICENSED.match(text, match.end())
            and not _VERSION_BEFORE.search(text, max(0, match.start() - 48), match.start())
        ):
            yield Span(*match.span())
    for match in _IPV6.finditer(text, start):
        groups = [group for group in match.group().split(":") if group]
        known = len(groups) >= 3 or (len(groups) == 2 and _LINK_LOCAL.match(groups[0]) is not None)
        if known and _is_ipv6(match.group()):  # fewer are `::1`, or `a::b` of a program
            yield Span(*match.span())


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
