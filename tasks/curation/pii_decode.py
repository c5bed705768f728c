"""What is written in another way: spelled out, spread out, or encoded as base64, base32 or hexadecimal."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from tasks.curation.pii_view import View, substituted

# --- spelled out -----------------------------------------------------------------------------------------------------

_DOT, _AT = "dot|punkt|punto|point|ponto", "at|arroba|arobase|chiocciola"
_MARKED_AT = re.compile(rf"(?i)\s*(?:[\[({{<]\s*(?:@|a|{_AT})\s*[\])}}>]|(?<=\w)[_*~-]+(?:at)[_*~-]+(?=\w))\s*")
_MARKED_DOT = re.compile(rf"(?i)\s*(?:[\[({{<]\s*(?:\.|{_DOT})\s*[\])}}>]|(?<=\w)[_*~-]+(?:dot)[_*~-]+(?=\w))\s*")
_SPELLED_DOT = re.compile(rf"(?i)(?<=[\w])(?:\s+(?:{_DOT})\s+)(?=[\w])")
_MARK = "\ue001"  # a dot that was spelled out
_MARKS = re.compile(_MARK)
_SPELLED_AT = re.compile(
    rf"(?i)(?P<local>[\w.+{_MARK}-]{{1,64}})(?P<at>\s+(?:{_AT})\s+|\s*@\s*)"
    rf"(?=[\d.-]*[A-Za-z][\w-]*(?:[.{_MARK}][\w-]+){{0,4}}{_MARK}[A-Za-z]{{2,24}}(?!\w))"
)
_TOLD_AT = re.compile(
    r"(?i)(?<=mail|tact|each|rite|send)(?P<lead>[^@\n]{0,30}?\s)(?P<local>[\w.+-]{2,64})(?P<at>\s+at\s+)"
    r"(?=[\w-]+(?:\.[\w-]+){0,3}\.[A-Za-z]{2,24}(?!\w))"
)
_SPACED_AT = re.compile(
    r"(?P<local>[\w.+-]{1,64})(?:\s+@\s*|\s*@\s+|@)(?P<domain>[\w-]{1,63}(?:(?:\.|\s+\.\s+|\n\s*\.)[\w-]{1,63}){0,4}"
    r"(?:\.|\s+\.\s+|\n\s*\.)[A-Za-z]{2,24})(?!\w)"
)
_NOT_NAMES = frozenset(
    [
        "a",
        "all",
        "also",
        "am",
        "an",
        "and",
        "are",
        "available",
        "back",
        "be",
        "buy",
        "check",
        "click",
        "directly",
        "download",
        "find",
        "found",
        "get",
        "go",
        "here",
        "him",
        "her",
        "home",
        "host",
        "hosted",
        "in",
        "is",
        "it",
        "join",
        "live",
        "located",
        "look",
        "looking",
        "me",
        "meet",
        "more",
        "my",
        "now",
        "office",
        "on",
        "online",
        "only",
        "or",
        "order",
        "out",
        "page",
        "people",
        "please",
        "post",
        "register",
        "search",
        "see",
        "shop",
        "sign",
        "site",
        "start",
        "stay",
        "stop",
        "store",
        "team",
        "that",
        "the",
        "them",
        "there",
        "these",
        "they",
        "this",
        "today",
        "us",
        "visit",
        "was",
        "we",
        "website",
        "were",
        "what",
        "where",
        "with",
        "work",
        "working",
        "works",
        "you",
        "your",
    ]
)
"""Words that stand before "at" without being anybody's name."""


def _named(match: re.Match[str]) -> bool:
    return match["local"].lower().strip("._-") not in _NOT_NAMES


_DIGIT_WORDS = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_DIGIT_WORD = "zero|oh|one|two|three|four|five|six|seven|eight|nine"
_SAID = re.compile(rf"(?i)(?<!\w)(?:(?:(?:double|triple)[\s-]+)?(?:{_DIGIT_WORD}|\d)(?:[\s,.-]+|(?!\w))){{7,}}")
_SAID_DIGIT = re.compile(rf"(?i)(?:(double|triple)[\s-]+)?({_DIGIT_WORD}|\d)")


def _said(match: re.Match[str]) -> str | None:
    said = match.group().rstrip(" \t\n,.-")
    digits = [
        _DIGIT_WORDS.get(word.lower(), word) * {"": 1, "double": 2, "triple": 3}[times.lower()]
        for times, word in _SAID_DIGIT.findall(said)
    ]
    if said.isdecimal() or not any(character.isalpha() for character in said):
        return None
    return "".join(digits) + match.group()[len(said) :]


def spelled(view: View) -> View:
    """Return a view in which "jane at example dot com" is an address and "four one one" are digits."""
    view = substituted(view, _SAID, _said)
    view = substituted(view, _MARKED_DOT, lambda match: _MARK)
    view = substituted(view, _MARKED_AT, lambda match: "@")
    view = substituted(view, _SPELLED_DOT, lambda match: _MARK)
    if _MARK in view.text:
        view = substituted(view, _SPELLED_AT, lambda match: match["local"] + "@" if _named(match) else None)
        view = substituted(view, _MARKS, lambda match: ".")
    if " at " in view.text.lower():
        view = substituted(
            view, _TOLD_AT, lambda match: match["lead"] + match["local"] + "@" if _named(match) else None
        )
    return substituted(view, _SPACED_AT, _closed_up) if "@" in view.text else view


def _closed_up(match: re.Match[str]) -> str | None:
    if not _named(match) or not re.search(r"\s", match.group()):
        return None
    return match["local"] + "@" + re.sub(r"\s", "", match["domain"])


# --- spread out ------------------------------------------------------------------------------------------------------

_LOOSE = r"[\W_]{1,5}"
_TYPED = re.compile(r"(?<![A-Za-z])(?=[OolI|\W]*\d)[0-9OolI|]+(?:[ .-][0-9OolI|]+)*(?![A-Za-z])")
_LETTERS = str.maketrans("OolI|", "00111")
_AROUND_DASH = re.compile(r"(?<=\d)(?:[ \t]*-[ \t]*\r?\n?[ \t]*|[ \t]+-[ \t]*)(?=\d)")
_ONE_BY_ONE = re.compile(rf"(?<![\w.])\+?\d(?:{_LOOSE}\d){{6,}}(?!\w)")
_GROUPS = re.compile(
    rf"(?<![\w.])(?:\d{{4}}(?:{_LOOSE}\d{{4}}){{2}}{_LOOSE}\d{{1,7}}|\d{{4}}{_LOOSE}\d{{6}}{_LOOSE}\d{{4,5}})(?![\w])"
)
_BROKEN = re.compile(r"(?<=\d)[ \t]*\r?\n[ \t]*(?=\d)")
_SEPARATED = re.compile(r"\d[\W_]{1,4}\d")


def joined(view: View) -> View:
    """Return a view in which digits that stand apart are together again: one by one, in fours, or over two lines."""
    view = substituted(view, _TYPED, _typed)
    if not _SEPARATED.search(view.text):
        return view
    view = substituted(view, _ONE_BY_ONE, _together)
    view = substituted(view, _AROUND_DASH, lambda match: "-")
    view = substituted(view, _GROUPS, lambda match: re.sub(r"[\W_]", "", match.group()))
    return substituted(view, _BROKEN, lambda match: "")


def _typed(match: re.Match[str]) -> str | None:
    run = match.group()
    return run.translate(_LETTERS) if len(run) > 8 and not run.isdecimal() else None


def _together(match: re.Match[str]) -> str:
    """Return digits without what stands between them; dashes that alone mark groups stay: `1 2 3 - 4 5 - 6 7 8 9`."""
    text = match.group()
    between = set(re.findall(r"[^0-9+]", text))
    keep = "-" if len(between) > 1 and 0 < text.count("-") < 5 else ""
    return "".join(character for character in text if character.isdecimal() or character in keep or character == "+")


# --- encoded ---------------------------------------------------------------------------------------------------------

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}(?:\s?\r?\n[A-Za-z0-9+/_-]{2,})*={0,2}(?![A-Za-z0-9])")
_BASE32 = re.compile(r"(?<![A-Za-z0-9])[A-Z2-7]{14,}={0,6}(?![A-Za-z0-9])")
_HEX = re.compile(
    r"(?<![A-Za-z0-9])(?:0[xX])?(?:[0-9A-Fa-f]{2}){8,}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])(?:0[xX])?[0-9A-Fa-f]{2}(?:[ ,:]{1,2}(?:0[xX])?[0-9A-Fa-f]{2}){8,}(?![A-Za-z0-9])"
)
LONGEST = 1 << 20
"""Characters of a run that is still decoded."""


class Encoded(NamedTuple):
    """A run of a text, and what it says."""

    start: int
    end: int
    text: str


def encoded(text: str) -> Iterator[Encoded]:
    """Find what is text again when it is decoded."""
    for pattern, decode in ((_BASE64, _from_base64), (_HEX, _from_hex), (_BASE32, _from_base32)):
        for match in pattern.finditer(text):
            if match.end() - match.start() > LONGEST:
                continue
            try:
                said = decode(match.group()).decode()
            except (ValueError, binascii.Error):
                continue
            if len(said) >= 6 and all(character.isprintable() or character in "\n\r\t" for character in said):
                yield Encoded(*match.span(), said)


def _from_base64(run: str) -> bytes:
    run = re.sub(r"\s", "", run).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(run + "=" * (-len(run) % 4), validate=True)


def _from_base32(run: str) -> bytes:
    run = run.rstrip("=")
    return base64.b32decode(run + "=" * (-len(run) % 8))


def _from_hex(run: str) -> bytes:
    return bytes.fromhex(re.sub(r"0[xX]|[ ,:]", "", run))
