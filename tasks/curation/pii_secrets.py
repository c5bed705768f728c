"""Secrets: private keys, tokens, passwords and what is assigned to a name that says it is one."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[A-Za-z]")


class Span(NamedTuple):
    """A piece of a text that must not be stored."""

    start: int
    end: int


Finder = Callable[[str, int], Iterator[Span]]
"""Finds the values of a text from a place on; what stands before it still counts as context."""


def by_pattern(pattern: re.Pattern[str], check: Callable[[re.Match[str]], bool] | None = None) -> Finder:
    """Build a finder from a pattern; the span is the group `v` where the pattern has one, else the whole match."""
    group: int | str = "v" if "v" in pattern.groupindex else 0

    def find(text: str, start: int) -> Iterator[Span]:
        for match in pattern.finditer(text, start):
            if check is None or check(match):
                yield Span(*match.span(group))

    return find


_LONG_NUMBER = re.compile(r"\d(?:[ .\-/_\t]{0,2}\d){8,}")


def by_number(pattern: re.Pattern[str], check: Callable[[re.Match[str]], bool]) -> Finder:
    """Build a finder from a pattern whose matches are digits with little between them: it looks at those alone."""

    def find(text: str, start: int) -> Iterator[Span]:
        for number in _LONG_NUMBER.finditer(text, start):
            for match in pattern.finditer(text, number.start(), min(len(text), number.end() + 3)):
                if check(match):
                    yield Span(*match.span())

    return find


def _mixed(secret: str) -> bool:
    """Tell a generated secret from a word: it has letters and digits."""
    return bool(_DIGIT.search(secret)) and bool(_LETTER.search(secret))


# --- private keys ----------------------------------------------------------------------------------------------------

_PRIVATE_KEY = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}(?P<body>.*?)"
    r"(?:(?P<end>-{4,5} ?END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5})|(?=-{4,5} ?BEGIN)|\Z)",
    re.DOTALL,
)
_LINES = re.compile(
    r"(?:\s|\\+[nr])+(?:[A-Z][A-Za-z-]+: [^\n\\]*(?:\s|\\+[nr])+)*(?:[A-Za-z0-9+/=]{2,}(?:\s*?\n|\\+[nr]|\Z)\s*)+"
)
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{20}|(?:\n|\\n)\s*[A-Za-z0-9+/=]{3,}\s*(?:\n|\\n|$)")
_PUTTY = re.compile(
    r"PuTTY-User-Key-File-\d:.*?Private-(?:Lines: \d+\s+"
    r"(?:[A-Za-z0-9+/=]+\s+)*(?:Private-)?MAC: [0-9a-f]+|MAC: [0-9a-f]+)",
    re.DOTALL,
)


def private_key(text: str, start: int) -> Iterator[Span]:
    """Find private keys with their armour; an armour around nothing, as in a manual, is none."""
    for match in _PRIVATE_KEY.finditer(text, start):
        if match["end"]:
            if _KEY_BODY.search(match["body"]):
                yield Span(*match.span())
        elif lines := _LINES.match(text, match.start("body")):  # cut off: what are lines of a key
            yield Span(match.start(), lines.end())
    for match in _PUTTY.finditer(text, start):
        yield Span(*match.span())


# --- tokens ----------------------------------------------------------------------------------------------------------

_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}\.[A-Za-z0-9_-]+")


def _is_token(match: re.Match[str]) -> bool:
    """A JWS has a payload that is JSON too, a JWE five parts; both name an algorithm in their header."""
    parts = match.group().split(".")
    if len(parts) == 5 or (len(parts) == 3 and parts[1].startswith(("eyJ", "ey"))):
        return _header(parts[0]) or (len(parts[1]) > 6 and len(parts[-1]) >= 10)
    return False


def _header(part: str) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header)


jwt = by_pattern(_JWT, _is_token)

_BEARER = re.compile(
    r"(?i)\bbearer[\s:]+[\"']?(?P<v>[A-Za-z0-9._~+/-]{16,}=*)"
    r"|\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:basic|token)\s+(?P<w>[A-Za-z0-9._~+/-]{8,}=*)"
)


def bearer(text: str, start: int) -> Iterator[Span]:
    """Find what an HTTP header authorises with."""
    for match in _BEARER.finditer(text, start):
        group = "v" if match["v"] else "w"
        if _DIGIT.search(match[group]):
            yield Span(*match.span(group))


# --- what is assigned ------------------------------------------------------------------------------------------------

_QUOTE = r"\\?[\"'`]"
_KEY_NAMES = (
    r"(?:x[_-])?api[\s_-]?(?:key|token|secret)|apikey|access[\s_-]?(?:key|token)|auth(?:entication|orization)?[\s_-]?(?:key|token)"
    r"|(?:client|app|consumer|shared|signing|webhook|jwt|session|encryption|master|account|storage)[\s_-]?(?:secret|key)(?:[\s_-]?key)?"
    r"|secret[\s_-]?(?:access[\s_-]?)?(?:key|token)|(?:refresh|session|id|bearer|personal[\s_-]access|csrf|bot|deploy)[\s_-]?token"
    r"|private[\s_-]?(?:key|token)|token|credential"
)
_SAYS_SO = (
    r"pass(?:word|wd|phrase|code)|passwort|kennwort|contrase(?:ñ|n)a|mot de passe|senha|"
    r"wachtwoord|parola|пароль|密码|パスワード"
    r"|pwd|secret|(?:db|user|root|admin|login|ftp|smtp|mysql|postgres)[_-]?pass|pass"
)
_KEY_ASSIGNED = re.compile(
    rf"(?i)(?<![A-Za-z])(?P<name>{_KEY_NAMES})s?(?:{_QUOTE})?(?:\s{{0,3}}(?:=>?|:=?)|\s(?:is|was)\s?:?)\s{{0,3}}(?P<q>{_QUOTE})?"
    r"(?P<v>[A-Za-z0-9_\-./+=~]{16,400})"
)
_PASSWORD_ASSIGNED = re.compile(
    rf"(?i)(?:(?<![A-Za-z])|(?=pass(?:word|wd)|pwd))(?P<name>{_SAYS_SO})(?:\s(?:for|of)\s[\w@.-]{{1,40}})?(?:{_QUOTE})?"
    rf"(?:\s{{0,3}}(?P<sign>=>?|:=?|->)|\s(?:is|was|ist|es|est|set to|to)\s?:?|\s(?=[\"'`])|(?<=--password)\s)\s{{0,3}}"
    rf"(?:(?P<q>{_QUOTE})(?P<quoted>[^\"'`\n]{{4,256}}?)(?P=q)"
    r"|(?P<v>[^\s\"'`<>]{4,256}))"
)
_URL_PASSWORD = re.compile(r"(?<=://)(?P<v>[^\s/:@\"'<>]{0,256}:[^\s/@\"'<>]{1,256})(?=@[\w.\[-])")
_NO_SECRET = re.compile(
    r"(?i)(?:none|null|nil|true|false|undefined|required|optional|string|hidden|redacted|masked|secret|example|placeholder"
    r"|password|passwd|changed?|reset|expired|invalid|incorrect|wrong|correct|protected|empty|missing|unknown|n/a|tbd"
    r"|(?:your|my|the|some|enter|insert|new|old|current)[\s_-].*|.*(?:_here|_password|_secret|_token|_key)|x+|\*+|\.+|-+|_+|•+)\Z"
)
_CODE = re.compile(
    r"[\[({<$%]|\$?\{|[A-Za-z_][\w.]*\(|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\Z|[A-Za-z_]\w*\[|https?:|[./~]|\w+(?:-\w+){2,}\Z(?<!\d)"
)
_TRAILING = ".,;:)]}!?&\\"
_SYMBOL = re.compile(r"[!@#$%^&*?+=~|]")
_AWS_SECRET = re.compile(
    r"(?i:aws.{0,20}?(?:secret|access).{0,20}?key)[\"']?\s{0,3}[=:]\s{0,3}\\?[\"']?(?P<v>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

_aws_secret = by_pattern(_AWS_SECRET, lambda match: _mixed(match["v"]))
_url_password = by_pattern(_URL_PASSWORD)


def assigned_key(text: str, start: int) -> Iterator[Span]:
    """Find what is assigned to the name of a key or token: long, with letters and digits, and no code."""
    lower = text.lower()
    if not any(word in lower for word in ("key", "token", "secret", "credential")):
        return
    yield from _aws_secret(text, start)
    for match in _KEY_ASSIGNED.finditer(text, start):
        value = match["v"].rstrip(_TRAILING)
        plain = match["name"].lower() in ("token", "credential") or match["name"].lower().endswith("id token")
        if len(value) < 16 or not _mixed(value) or (plain and (len(value) < 20 or _UUID.match(value))):
            continue
        if match["q"] or not (_CODE.match(value) or _NO_SECRET.match(value)):
            yield Span(match.start("v"), match.start("v") + len(value))


def password(text: str, start: int) -> Iterator[Span]:
    """Find passwords in addresses and after a word that says that it is one."""
    yield from _url_password(text, start)
    for match in _PASSWORD_ASSIGNED.finditer(text, start):
        if match["quoted"] is not None:
            if _is_password(match["quoted"], quoted=True):
                yield Span(*match.span("quoted"))
            continue
        value = match["v"]
        value = value if value[-1] in "!?" and _SYMBOL.search(value[:-1]) else value.rstrip(_TRAILING)
        if _is_password(value, quoted=False, assigned=bool(match["sign"])):
            yield Span(match.start("v"), match.start("v") + len(value))


def _is_password(value: str, *, quoted: bool, assigned: bool = True) -> bool:
    """Tell a password from a word about passwords: it has digits or signs among its letters, or stands in quotes."""
    if len(value) < 4 or _NO_SECRET.match(value) or len(set(value)) < 3:
        return False
    if quoted:
        return " " not in value and not _CODE.match(value) and (len(value) >= 6 or _mixed(value))
    if _CODE.match(value) and not (_SYMBOL.match(value) and _mixed(value)):
        return False
    if not _LETTER.search(value):
        return assigned and len(value) >= 6 and value.isdecimal()
    digits = bool(_DIGIT.search(value)) and len(value) >= 5
    return digits or bool(_SYMBOL.search(value[1:]))
