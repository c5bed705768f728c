"""A text as its reader sees it: invisible characters gone, look-alikes plain, escapes and encodings undone.

Every character of a `View` knows which piece of the raw text it came from, so that what a rule finds in the view is
replaced in the raw text, disguise and all. Nothing here decides what is personal.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple


class View(NamedTuple):
    """A text made from another."""

    text: str
    starts: Sequence[int]
    """Where the piece of the raw text begins that each character stands for."""
    ends: Sequence[int]
    """Where that piece ends."""

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the raw text of the characters from `start` to `end`; there is at least one."""
        return self.starts[start], self.ends[end - 1]


def plain(text: str) -> View:
    """Return a text as it is."""
    return View(text, range(len(text)), range(1, len(text) + 1))


New = Callable[[re.Match[str]], str | None]


def substituted(view: View, pattern: re.Pattern[str], new: New) -> View:
    """Return a view with `new(match)` in place of each match; None leaves it as it is."""
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    last = 0
    for match in pattern.finditer(view.text):
        if (value := new(match)) is None or not match.group():
            continue
        begin, end = match.span()
        pieces += (view.text[last:begin], value)
        starts += view.starts[last:begin]
        ends += view.ends[last:begin]
        starts += [view.starts[begin]] * len(value)
        ends += [view.ends[end - 1]] * len(value)
        last = end
    if not last:
        return view
    return View("".join([*pieces, view.text[last:]]), [*starts, *view.starts[last:]], [*ends, *view.ends[last:]])


# --- characters ------------------------------------------------------------------------------------------------------

_INVISIBLE = re.compile(
    "(?<=[0-9A-Za-z@._-])[\ufe0e\ufe0f]?[\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff]+|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef]+"
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_BORDERING = re.compile(
    "(?<=[0-9A-Za-z@._+-])[\u0370-\u0556\u13a0-\u13ff]+|[\u0370-\u0556\u13a0-\u13ff]+(?=[0-9A-Za-z@_])"
)
_TWINS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХԚԜаеѕіјорсухԁԛԝһгпҮүΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυτκχօհոցսԍӀ",
    "ABESIJKMHOPCTYXQWaesijopcyxdqwhrnYyABEZHIKMNOPTYXaivoputkxohngugl",
)
"""Letters of other alphabets that look like ours, where they stand beside ours."""
_SAME = {"。": ".", "․": ".", "‧": ".", "・": ".", "‚": ",", "⁄": "/", "∕": "/", "ı": "i", "ɡ": "g", "ß": None}


@functools.lru_cache(maxsize=4096)
def _character(match: str) -> str | None:
    """Return the ASCII twin of a character: its compatibility form, its value as a digit, a plain space or dash."""
    if match in _SAME:
        return _SAME[match]
    category = unicodedata.category(match)
    if category == "Nd":
        return str(unicodedata.decimal(match))
    if category == "Zs":
        return " "
    if category == "Pd" or match == "\u2212":
        return "-"
    form = unicodedata.normalize("NFKC", match)
    if form.isascii() and form:
        return form
    if (digit := unicodedata.digit(match, None)) is not None:  # circled and the like
        return str(digit)
    return None


def cleaned(view: View) -> View:
    """Return a view without invisible characters, with plain digits, letters, spaces and dashes."""
    if view.text.isascii():
        return view
    view = substituted(view, _INVISIBLE, lambda match: "")
    view = substituted(view, _NOT_ASCII, lambda match: _character(match.group()))
    return substituted(view, _BORDERING, lambda match: match.group().translate(_TWINS))


# --- escapes ---------------------------------------------------------------------------------------------------------

_ESCAPED = re.compile(
    r"(?P<percent>%[0-7][0-9A-Fa-f])|(?P<bytes>(?:%[89A-Fa-f][0-9A-Fa-f])+)|(?:%|\\+)u(?P<surrogates>[dD][89abAB]"
    r"[0-9A-Fa-f]{2}(?:%|\\+)u[dD][c-fC-F][0-9A-Fa-f]{2})|(?:%|\\+)u(?P<code>[0-9A-Fa-f]{4})"
    r"|\\+u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|\\+(?:x|U0000)(?P<hex>[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})"
    r"|\\(?P<octal>[0-3][0-7]{2})(?!\d)|\\+(?P<blank>[nrt])|\\(?P<mark>[\"'/.\-_@+*()\[\]{}#!|<>~`:=&])"
    r"|(?P<entity>&(?:#\d{1,7};?|#[xX][0-9A-Fa-f]{1,6};?|[A-Za-z]{2,24};))"
    r"|(?P<tag></?(?:a|b|i|u|em|strong|span|wbr|font|code|mark|sup|sub|small|big|tt|kbd|bdi|bdo)"
    r"(?:\s[^<>]{0,120})?/?>|<!--(?:[^-]|-(?!->)){0,200}-->)"
    r"|(?P<soft>=\r?\n)|(?P<quoted>=(?:40|2[ED])(?=[A-Za-z][\w-]*(?:\.|=2E)[A-Za-z]{2,}))"
    r"|(?P<glue>(?<=[\w@.-])(?:\"\s?\+\s?\"|'\s?\+\s?')(?=[\w@.-])|(?<=[\w@.-])\*{1,3}(?=[\w@.-]))"
)
_SIGNS = (  # what each alternative above holds, looked for before the pattern
    "%", "\\", "&", "<", "=\n", "=\r", "=40", "=2E", "=2D", '"', "'", "*",
)  # fmt: skip


def _unescaped(match: re.Match[str]) -> str | None:
    kind, value = match.lastgroup, match.group(match.lastgroup or 0)
    if kind in ("tag", "soft", "glue"):
        return ""
    if kind == "mark":
        return value
    if kind == "blank":
        return "\n" if value != "t" else "\t"
    return _printable(_code(str(kind), value))


def _code(kind: str, value: str) -> str | None:
    """Return the characters that an escape stands for, None where it stands for none."""
    if kind == "entity":
        text = html.unescape(value)
        return None if text == value else text
    if kind in ("bytes", "surrogates"):
        octets = bytes.fromhex(re.sub(r"[%\\u]", "", value))
        return octets.decode("utf-8" if kind == "bytes" else "utf-16-be", errors="replace")
    number = int(value.lstrip("%="), 8 if kind == "octal" else 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else None


def _printable(text: str | None) -> str | None:
    return text if text is not None and (text.isprintable() or text in "\n\r\t" or not text.isascii()) else None


DEPTH = 3
"""How often escapes within escapes are undone."""


def unescaped(view: View) -> View:
    """Return a view whose percent, JSON, HTML and quoted-printable escapes are undone, those within them too."""
    for _ in range(DEPTH):
        before = view.text
        if not any(sign in before for sign in _SIGNS):
            break
        view = cleaned(substituted(view, _ESCAPED, _unescaped))
        if view.text == before:
            break
    return view
