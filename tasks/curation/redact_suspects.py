"""What to look for in whole columns: RE2 patterns, each wider than the rules of its kinds together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tasks.curation.pii_gates import DIGIT_WORDS, Gate, Word, by_gate, is_word
from tasks.curation.pii_rules import Shape, read_rules
from tasks.curation.pii_scan import Form
from tasks.curation.policy import Kind

_DATA = read_rules()


def _any(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


def _plain(*kinds: Kind) -> tuple[Shape, ...]:
    return tuple(shape for shape in _DATA.shapes if shape.kind in kinds and not shape.context)


def _forms(shapes: Sequence[Shape]) -> str:
    return "|".join(f"(?:{shape.pattern})" for shape in shapes)


def _told(kind: Kind, more: int) -> str:
    """Return what a text with a value has that needs words before it: one, then a digit and `more` characters."""
    words = sorted({word for shape in _DATA.shapes if shape.kind == kind for word in shape.context})
    return rf"(?i:(?:^|[^a-z]|\\[nrt])(?:{_any(words)})[^a-z0-9][^0-9]{{0,40}}[0-9](?:[-. /]?[0-9A-Z]){{{more}}})"


_LONG_STARTS = tuple(shape for shape in _plain("API_KEY") if all(map(is_word, shape.starts)))
"""Secrets that begin with what hardly any word holds."""
_SHORT_STARTS = tuple(shape for shape in _plain("API_KEY") if shape not in _LONG_STARTS)
_STARTS = _any(sorted({start for shape in _LONG_STARTS for start in shape.starts}))
_URL_WITH_USER = r"://[^\s/\"@]*:[^\s/\"@]*@"
_KEY = rf"BEGIN[A-Z0-9 ]* PRIVATE KEY|PuTTY-User|eyJ|(?i:bearer|authorization)|{_STARTS}"
_NAME = (
    r"passw|passph|passcode|pwd|secret|kennwort|contrase|mot de passe|senha|wachtwoord|parola"
    r"|пароль|密码|パスワード|credential"
    r"|(?:api|access|auth|signing|encryption|master|account|storage|private|session)[\s_-]?(?:key|token)|apikey"
)
_SAYS = r"(?:\s|\\[nrt]){0,3}(?:[=:>]|--|\\*[\"'`]|(?:is|was|ist|es|est|set|to)[^a-z])"
_OF_KEY = r"(?:[ _-](?:access|key|token|code|id)){0,2}(?: (?:for|of) [\w@.-]{1,40})?"
_NAMED = (
    rf"(?i:(?:{_NAME})[^\s\"'`=:>\\]{{0,12}}{_OF_KEY}(?:\\*[\"'`])?{_SAYS}"
    r"|pass[\"\\]{0,3}\s?[:=]|--pass\w*\s|(?:^|[^a-z]|\\[nrt])tokens?[\"\\]{0,3}\s?[:=])"
)
_CALLS = _any((*_DATA.phones.words, *_DATA.phones.requests))
_PHONE = rf"(?i:(?:^|[^a-z]|\\[nrt])(?:{_CALLS})[^0-9]{{0,60}}\d(?:[ ().-]{{0,2}}\d){{6}})"
_NUMBER = (
    r"\d(?:[ ()./_-]{0,3}\d){8}|\+ ?\d(?:[ ().-]{0,2}\d){6}|"
    r"\d{2,}(?:[ ()./_-]|\\[nrt]){1,3}\d{2,}(?:[ ()./_-]|\\[nrt]){1,3}\d{4}"
    r"|[A-Z]{2}\d{2}[ .-]?(?:[A-Z0-9]{4}[ .-]?){2}|[a-z]{2}\d{2}[ .-]?(?:[a-z0-9]{4}[ .-]?){2}[a-z0-9]"
)


class Suspect(NamedTuple):
    """A pattern of RE2, and what a text must have for it to be tried."""

    kinds: tuple[Kind, ...]
    """What it may find."""
    pattern: str
    gate: Gate
    """A text is looked at where it has all bits of one of these."""


def _of_shapes(kind: Kind, shapes: Sequence[Shape]) -> list[Suspect]:
    return [Suspect((kind,), _forms(group), gate) for gate, group in by_gate(shapes)]


SUSPECTS: tuple[Suspect, ...] = (
    Suspect(("PRIVATE_KEY", "JWT", "API_KEY", "BEARER_TOKEN"), _KEY, (Word.KEY,)),
    *_of_shapes("API_KEY", _SHORT_STARTS),
    Suspect(("API_KEY", "PASSWORD"), _NAMED, (Word.NAMED,)),
    Suspect(("PASSWORD",), _URL_WITH_USER, (Word.URL,)),
    Suspect(("EMAIL",), r"@[^\s\"@]*\.|@\[\d", (Word.AT,)),
    *_of_shapes("CRYPTO_WALLET", _plain("CRYPTO_WALLET")),
    *_of_shapes("MAC_ADDRESS", _plain("MAC_ADDRESS")),
    Suspect(
        ("IBAN", "CARD", "SSN", "PHONE"),
        _NUMBER,
        (Form.NINE, Form.ACCOUNT, Form.SEVEN | Word.PLUS),
    ),
    Suspect(("PHONE", "SSN"), _PHONE, (Form.SEVEN | Word.PHONE,)),
    Suspect(("CARD",), _told("CARD", 2), (Word.CARD_CODE,)),
    Suspect(("NATIONAL_ID",), _told("NATIONAL_ID", 4), (Word.IDENTITY,)),
    *_of_shapes("NATIONAL_ID", _plain("NATIONAL_ID")),
    Suspect(("DATE_OF_BIRTH",), _told("DATE_OF_BIRTH", 0), (Word.BIRTH,)),
    Suspect(
        ("IP_ADDRESS",),
        r"(?:\d{1,3}\.){3}\d|(?:[0-9A-Fa-f]{1,4}:){3}|::[0-9A-Fa-f]|[0-9A-Fa-f]::",
        (Form.DOTS, Form.COLONS),
    ),
)
"""RE2 patterns that a text without personal data seldom matches.

They are applied to the JSON form of a conversation, where a line break is `\\n` and a quote `\\"`: so they have no word
boundaries, and every rule's core survives JSON's escapes.
"""

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
)
_FORMS = (
    "\u2460-\u24ff\u2776-\u2793\ufe50-\ufe6b\uff01-\uff5e"
    "\U0001d400-\U0001d7ff\U0001f100-\U0001f10c\U000e0000-\U000e01ef"
)
_DIGITS = "\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59\u0be6-\u0bef"
_LETTERS = "\u0370-\u03ff\u0400-\u0556\u13a0-\u13ff"
_BLANKS = (
    "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u2010-\u2015\u2212\u00b7\u2022"
    "\u2024\u2027\ufe0e\ufe0f\u20e3\u0300-\u036f"
)
_BREAK = r"(?:\\+[nrt]|[\n\r\t])"
_AT, _DOT = r"(?:at|a|@|arroba|arobase|chiocciola)", r"(?:dot|\.|punkt|punto|point|ponto)"
_DIGIT_WORD = rf"(?:{_any(DIGIT_WORDS)})"
_ODD = r"(?:[^\w\", .-]|_|(?:[^\w\",]|_){2,3})"
_SEP = r"(?:[^\w\",]|_){1,3}"
_TYPED = (
    r"(?:\d[ .-]?){3}[OolI|](?:[ .-]?[0-9OolI|]){2}|[^A-Za-z0-9][OolI|](?:[ .-]?\d){4}"
    r"|\d[ .-]?[OolI|](?:[ .-]?[0-9OolI|]){5}"
)


class Sign(NamedTuple):
    """What a disguise shows, on the JSON form of a text as well as on the text: a pattern of RE2 and Python."""

    needs: str
    """Characters without any of which no text matches."""
    pattern: str
    gate: Gate
    """As in `Suspect`."""


SIGNS: tuple[Sign, ...] = (
    Sign(
        "",
        f"[{_INVISIBLE}{_FORMS}{_DIGITS}]|[\u00b2\u00b3\u00b9\u2070-\u2089]{{3}}"
        f"|[0-9A-Za-z@._+-][{_LETTERS}]|[{_LETTERS}][0-9A-Za-z@]|[A-Za-z0-9][\ufe00-\ufe0f\u0300-\u036f]{{1,2}}[A-Za-z0-9]"
        f"|[A-Za-z][{_BLANKS}\u3002][A-Za-z]+[@.\u3002\u2024]|[0-9][{_BLANKS}][^\\w]{{0,2}}[0-9]+[^\\w]{{1,3}}[0-9]"
        f"|[0-9][{_BLANKS}]{{1,2}}[0-9]{{1,3}}[{_BLANKS}]|[@.][{_BLANKS}]",
        (Form.BEYOND,),
    ),
    Sign("%", r"%[2-7][0-9A-Fa-f]|%u[0-9A-Fa-f]{4}", (Word.PERCENT,)),
    Sign("\\", r"\\+(?:u\{?[0-9A-Fa-f]{3,6}|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[/._@+-])", (Word.ESCAPE,)),
    Sign(
        "&",
        r"&(?:#|(?i:commat|period|nbsp|shy|zwn?j|hyphen|dash|lowbar|amp|num|plus|colon|ensp|emsp|thinsp|lpar|rpar|sol);)",
        (Word.ENTITY,),
    ),
    Sign("<", r"<(?:/?[A-Za-z]{1,6}[ />]|!--)", (Word.TAG,)),
    Sign("=", r"=(?:\\*[\r\n]|\\+[rn])|=40|[A-Za-z0-9+/]{11}=", (Word.EQUALS,)),
    Sign("*", r"[\w@.-]\*{1,3}[\w@-]", (Form.STARS,)),
    Sign("+", r"[\"'] ?\+ ?\\*[\"']", (Word.GLUE,)),
    Sign("@", r"@(?:\s+\w|[\w-]+\s+\.|[\w.-]*" + _BREAK + ")", (Word.AT,)),
    Sign("@", r"\s@\s*\w", (Word.SPACED_AT,)),
    Sign(
        "", r"(?i:mail[ :,(=-][^@\n]{0,40} at |\w\s+(?:arroba|arobase|chiocciola)\s+\w|[_*~-]at[_*~-])", (Word.TOLD_AT,)
    ),
    Sign("", r"(?i:\w\s+(?:dot|punkt)\s+\w|[_*~-]dot[_*~-])", (Word.TOLD_DOT,)),
    Sign("[({<", rf"(?i:[\[({{<] ?(?:{_AT}|{_DOT}) ?[\])}}>])", (Word.BRACKET,)),
    Sign(
        "-",
        r"\d[ \t]+-[ \t]*\d+[ \t]*-[ \t]*\d|\d-[ \t]+\d+[ \t]*-[ \t]*\d|\d-\d+(?:[ \t]+-|-[ \t]+)\d|\d-"
        + _BREAK
        + r"\d",
        (Form.SEVEN | Word.DASH,),
    ),
    Sign(
        "",
        rf"\d(?:(?:[^\w\"]|_){{1,5}}\d){{6}}|[^A-Za-z0-9](?:[A-Za-z](?:[^\w\"]|_){{1,5}}){{2}}\d(?:[^\w\"]|_){{1,5}}\d"
        rf"|[A-Z]{{2}}\d\d(?:[^\w\"]|_){{2,5}}\w{{4}}(?:[^\w\"]|_){{2,5}}|\d{{4}}(?:{_ODD}\d{{4}}{_SEP}\d{{4}}{_SEP}|{_SEP}\d{{4}}{_ODD}\d{{4}}{_SEP}|{_SEP}\d{{4}}{_SEP}\d{{4}}{_ODD})\d"
        r"|\d{4}(?: \d{4}(?:[.-]| \d{4}[.-])|-\d{4}(?:[ .]|-\d{4}[ .])|\.\d{4}(?:[ -]|\.\d{4}[ -]))\d{4}"
        rf"|\d{{4}}{_SEP}\d{{6}}{_SEP}\d{{4}}",
        (Form.SPREAD, Form.NINE, Form.ACCOUNT),
    ),
    Sign("", rf"{_TYPED}|\d[ -]?{_BREAK}[ -]?\d[0-9 -]", (Word.TYPED, Form.NINE | Word.BROKEN)),
    Sign("", rf"(?i:(?:{_DIGIT_WORD}[\s,.-]+){{4}})", (Word.SAID,)),
    Sign(
        "",
        r"(?<=[a-z0-9])[A-Z][A-Za-z0-9+/_-]{1,10}[a-z0-9][A-Z][A-Za-z0-9+/_-]{3}|[A-Z2-7]{16}",
        (Form.HUMPS, Form.RUN),
    ),
    Sign(
        "",
        r"(?:[2-7][0-9A-Fa-f]){8}|(?:[2-7][0-9A-Fa-f][ ,:]){8}|(?:0x[2-7][0-9A-Fa-f][ ,]{1,2}){6}",
        (Form.RUN, Form.PAIRS, Word.HEX),
    ),
)
ENCODED = len(SIGNS) - 2
"""From this sign on, it is base64 and the like that shows itself."""
DISGUISES = tuple(sign.pattern.replace("(?<=[a-z0-9])", "[a-z0-9]") for sign in SIGNS)
"""The patterns for RE2, which has no look-around."""
