"""What to look for in whole columns: RE2 patterns, each wider than the rules of its kinds together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.curation.pii_rules import read_rules
from tasks.curation.policy import Kind

_DATA = read_rules()


def _any(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


def _starts() -> str:
    shapes = [shape for shape in _DATA.shapes if shape.kind == "API_KEY"]
    long = {start for shape in shapes for start in shape.starts if len(start) > 3}
    return "|".join([_any(sorted(long)), *(shape.pattern for shape in shapes if min(map(len, shape.starts)) <= 3)])


def _shapes(kind: Kind) -> str:
    """Return what a text with a value of some kind holds: a value's form, or a word of the context and a digit."""
    shapes = [shape for shape in _DATA.shapes if shape.kind == kind]
    words = sorted({word for shape in shapes for word in shape.context})
    told = [rf"(?i:(?:^|[^a-z]|\\[nrt])(?:{_any(words)})[^a-z0-9][^0-9]{{0,40}}[0-9])"] if words else []
    return "|".join([*(f"(?:{shape.pattern})" for shape in shapes if not shape.context), *told])


_URL_WITH_USER = r"://[^\s/\"@]*:[^\s/\"@]*@"
_KEY = r"BEGIN[A-Z0-9 ]* PRIVATE KEY|PuTTY-User|eyJ|(?i:bearer|authorization)|" + _starts()
_NAMED = (
    r"(?i:passw|passph|passcode|pass[\"\\]{0,3}\s?[:=]|pwd|secret|"
    r"kennwort|contrase|mot de passe|senha|wachtwoord|parola"
    r"|пароль|密码|パスワード|credential|(?:api|access|auth|signing|encryption|master|account|storage|private|session)[\s_-]?"
    r"(?:key|token)|apikey|(?:^|[^a-z]|\\[nrt])tokens?[\"\\]{0,3}\s?[:=])"
)
_NUMBER = (
    r"\d(?:[ ()./_-]{0,3}\d){8}|\+ ?\d(?:[ ().-]{0,2}\d){6}|"
    r"\d{2,}(?:[ ()./_-]|\\[nrt]){1,3}\d{2,}(?:[ ()./_-]|\\[nrt]){1,3}\d{4}"
    r"|(?i:(?:^|[^a-z]|\\[nrt])(?:"
    + _any((*_DATA.phones.words, *_DATA.phones.requests))
    + r")[^0-9]{0,60}\d(?:[ ().-]{0,2}\d){6})"
    r"|[A-Z]{2}\d{2}[ .-]?(?:[A-Z0-9]{4}[ .-]?){2}|[a-z]{2}\d{2}[ .-]?(?:[a-z0-9]{4}[ .-]?){2}[a-z0-9]"
)
SUSPECTS: dict[tuple[Kind, ...], str] = {
    ("PRIVATE_KEY", "JWT", "API_KEY", "BEARER_TOKEN"): _KEY,
    ("API_KEY", "PASSWORD"): f"{_URL_WITH_USER}|{_NAMED}",
    ("EMAIL",): r"@[^\s\"@]*\.|@\[\d",
    ("CRYPTO_WALLET",): _shapes("CRYPTO_WALLET"),
    ("MAC_ADDRESS",): _shapes("MAC_ADDRESS"),
    ("IBAN", "CARD", "SSN", "PHONE"): _NUMBER,
    ("CARD",): _shapes("CARD"),
    ("NATIONAL_ID",): _shapes("NATIONAL_ID"),
    ("DATE_OF_BIRTH",): _shapes("DATE_OF_BIRTH"),
    ("IP_ADDRESS",): r"(?:\d{1,3}\.){3}\d|(?:[0-9A-Fa-f]{1,4}:){3}|::[0-9A-Fa-f]|[0-9A-Fa-f]::",
}
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
_DIGIT_WORD = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)"
_SEP = r"(?:[^\w\",]|_){1,3}"
SIGNS: tuple[tuple[str, str], ...] = (
    (
        "",
        f"[{_INVISIBLE}{_FORMS}{_DIGITS}]|[\u00b2\u00b3\u00b9\u2070-\u2089]{{3}}"
        f"|[0-9A-Za-z@._+-][{_LETTERS}]|[{_LETTERS}][0-9A-Za-z@]|[A-Za-z0-9][\ufe00-\ufe0f\u0300-\u036f]{{1,2}}[A-Za-z0-9]|[A-Za-z][{_BLANKS}\u3002][A-Za-z]+[@.\u3002\u2024]"
        f"|[0-9][{_BLANKS}][^\\w]{{0,2}}[0-9]+[^\\w]{{1,3}}[0-9]|[0-9][{_BLANKS}]{{1,2}}[0-9]{{1,3}}[{_BLANKS}]|[@.][{_BLANKS}]",
    ),
    ("%", r"%[2-7][0-9A-Fa-f]|%u[0-9A-Fa-f]{4}"),
    ("\\", r"\\+(?:u\{?[0-9A-Fa-f]{3,6}|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[/._@+-])"),
    (
        "&",
        r"&(?:#|(?i:commat|period|nbsp|shy|zwn?j|hyphen|dash|lowbar|amp|num|plus|colon|ensp|emsp|thinsp|lpar|rpar|sol);)",
    ),
    ("<", r"<(?:/?[A-Za-z]{1,6}[ />]|!--)"),
    ("=", r"=\\*[\r\n]|=40|[A-Za-z0-9+/]{11}="),
    ("*", r"[\w@.-]\*{1,3}[\w@-]"),
    ("+", r"[\"'] ?\+ ?\\*[\"']"),
    ("@", r"\s+@\s*\w|\w\s*@\s+\w|@[\w-]+\s+\.|@[\w.-]*" + _BREAK),
    ("", r"(?i:mail\W[^@\n]{0,40} at |\w\s+(?:arroba|arobase|chiocciola)\s+\w|[_*~-]at[_*~-])"),
    ("", r"(?i:\w\s+(?:dot|punkt)\s+\w|[_*~-]dot[_*~-])"),
    ("[({<", rf"(?i:[\[({{<] ?(?:{_AT}|{_DOT}) ?[\])}}>])"),
    (
        "-",
        r"\d[ \t]+-[ \t]*\d+[ \t]*-[ \t]*\d|\d-[ \t]+\d+[ \t]*-[ \t]*\d|\d-\d+(?:[ \t]+-|-[ \t]+)\d|\d-"
        + _BREAK
        + r"\d",
    ),
    (
        "",
        rf"\d(?:(?:[^\w\"]|_){{1,5}}\d){{6}}|[^A-Za-z0-9](?:[A-Za-z](?:[^\w\"]|_){{1,5}}){{2}}\d(?:[^\w\"]|_){{1,5}}\d"
        rf"|[A-Z]{{2}}\d\d(?:[^\w\"]|_){{2,5}}\w{{4}}(?:[^\w\"]|_){{2,5}}|\d{{4}}{_SEP}\d{{4}}{_SEP}\d{{4}}{_SEP}\d|\d{{4}}{_SEP}\d{{6}}{_SEP}\d{{4}}",
    ),
    (
        "",
        rf"\d[OolI|]{{1,3}}[0-9OolI|]|\d[OolI|]{{1,3}} [0-9OolI|]{{2}}|[^A-Za-z0-9][OolI|]\d\d|\d[ -]?{_BREAK}[ -]?\d",
    ),
    ("", rf"(?i:(?:{_DIGIT_WORD}[\s,.-]+){{4}})"),
    ("", r"(?<=[a-z0-9])[A-Z][A-Za-z0-9+/_-]{1,10}[a-z0-9][A-Z][A-Za-z0-9+/_-]{3}|[A-Z2-7]{16}"),
    ("", r"(?:[2-7][0-9A-Fa-f]){8}|(?:[2-7][0-9A-Fa-f][ ,:]){8}|(?:0x[2-7][0-9A-Fa-f][ ,]{1,2}){6}"),
)
"""What disguises show, on the JSON form of a text as well as on the text: patterns of RE2 and Python, each with the
characters without any of which no text matches it."""
ENCODED = len(SIGNS) - 2
"""From this sign on, it is base64 and the like that shows itself."""
DISGUISES = tuple(pattern.replace("(?<=[a-z0-9])", "[a-z0-9]") for _, pattern in SIGNS)
"""The same for RE2, which has no look-around."""
ANY_DISGUISE = "|".join(DISGUISES)
