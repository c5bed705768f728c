"""Find personal data and secrets in a text, also where they are written so that a pattern misses them."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from tasks.curation.pii_decode import encoded, joined, spelled
from tasks.curation.pii_secrets import Finder
from tasks.curation.pii_view import View, cleaned, plain, unescaped
from tasks.curation.policy import KINDS, Kind
from tasks.curation.redact_rules import NOT_PERSONAL, NUMBERS, RULES, Begin
from tasks.curation.redact_suspects import ENCODED, SIGNS

_ORDER = {kind: place for place, kind in enumerate(KINDS)}
_SIGNS = [(re.compile(sign.pattern), sign.needs) for sign in SIGNS]
EVERY_SIGN = range(len(SIGNS))
_MASK = "\ue000"  # private use: no rule has it, so what was found is found once
AROUND, MARGIN = 160, 40
"""Characters around a disguise that are read again, and within which a blank is looked for to begin at."""
DEPTH = 2
"""How often what is encoded is decoded."""


_Way = tuple[tuple[Callable[[View], View], ...], frozenset[Kind]]
"""Steps from a text to a view, and the kinds that are looked for in it."""


class Value(NamedTuple):
    """A personal value in a text."""

    start: int
    end: int
    kind: Kind


def find_values(
    text: str, kinds: Collection[Kind], disguised: Collection[Kind] | None = None, signs: Collection[int] = EVERY_SIGN
) -> list[Value]:
    """Return the personal values of a text in their order, without overlaps.

    Args:
        text: Any text.
        kinds: What is looked for in the text as it stands.
        disguised: What is looked for behind disguises; as `kinds`, where it is not given.
        signs: Which of `SIGNS` the text may show.
    """
    wanted = frozenset(kinds if disguised is None else disguised)
    found = _plain_values(text, frozenset(kinds))
    if wanted:
        for start, end, rewritten in _windows(text, signs):
            inner = _disguised(text[start:end], wanted, _VIEWS if rewritten else (), DEPTH)
            found += [Value(start + a, start + b, kind) for a, b, kind in inner]
    return _merged(found)


def _plain_values(text: str, kinds: frozenset[Kind]) -> list[Value]:
    """Return what the rules find; what one kind took, no later one sees."""
    found: list[Value] = []
    for begin, rules in _by_test(kinds):
        if (start := begin(text)) is None:
            continue
        for kind, find in rules:
            for a, b in list(find(text, start)):
                if _MASK in text[a:b] or (kind in NUMBERS and _is_nobodys(text, a, b)):
                    continue
                found.append(Value(a, b, kind))
                text = text[:a] + _MASK * (b - a) + text[b:]
    return found


def _is_nobodys(text: str, start: int, end: int) -> bool:
    """Tell whether a number is a part of one that is surely no person's, such as a UUID or a time."""
    near = NOT_PERSONAL.finditer(text, max(0, start - MARGIN), end + MARGIN)
    return any(match.start() < end and start < match.end() for match in near)


@functools.cache
def _by_test(kinds: frozenset[Kind]) -> list[tuple[Begin, list[tuple[Kind, Finder]]]]:
    """Return the rules of some kinds in their order, neighbours that share a test together."""
    rules = [(kind, rule) for kind, rule in RULES.items() if kind in kinds]
    groups = itertools.groupby(rules, lambda item: item[1].begin)
    return [(begin, [(kind, rule.find) for kind, rule in group]) for begin, group in groups]


class _Window(NamedTuple):
    """A piece of a text around signs of a disguise."""

    start: int
    end: int
    rewritten: bool
    """Whether a sign is of something else than base64 and the like, which no view but decoding changes."""


def _windows(text: str, signs: Collection[int]) -> Iterator[_Window]:
    """Yield the pieces of a text around its disguises, cut at blanks."""
    window: _Window | None = None
    for first, last, rewritten in sorted(_signs(text, signs)):
        if window is not None and first - AROUND <= window.end:
            window = _Window(window.start, max(window.end, last + AROUND), window.rewritten or rewritten)
            continue
        if window is not None:
            yield window
        window = _Window(_blank(text, max(0, first - AROUND)), last + AROUND, rewritten)
    if window is not None:
        yield window


def _signs(text: str, signs: Collection[int]) -> Iterator[tuple[int, int, bool]]:
    """Yield where a text shows that something may be written in another way."""
    for place in signs:
        pattern, needs = _SIGNS[place]
        if not needs or any(sign in text for sign in needs):
            yield from ((*match.span(), place < ENCODED) for match in pattern.finditer(text))


def _blank(text: str, place: int) -> int:
    """Return a place shortly before `place` that no word straddles, where there is one."""
    for earlier in range(place, max(0, place - MARGIN), -1):
        if text[earlier - 1].isspace():
            return earlier
    return max(0, place - MARGIN)


def _disguised(text: str, kinds: frozenset[Kind], views: Sequence[_Way], depth: int) -> Iterator[Value]:
    """Yield what the rules find in other views of a text, at its place in the text."""
    seen = text
    for make, looked_for in views:
        view = functools.reduce(lambda view, step: step(view), make, plain(text))
        if view.text == seen or not (wanted := kinds & looked_for):
            continue
        seen = view.text
        for a, b, kind in _plain_values(view.text, wanted):
            yield Value(*view.raw(a, b), kind)
    if depth:
        view = unescaped(cleaned(plain(text))) if views else plain(text)
        for run in encoded(view.text):
            inner = _plain_values(run.text, kinds) or list(_disguised(run.text, kinds, _VIEWS, depth - 1))
            if inner:
                yield Value(*view.raw(run.start, run.end), min(inner, key=lambda value: _ORDER[value.kind]).kind)


_ALL: frozenset[Kind] = frozenset(KINDS)
_VIEWS: tuple[_Way, ...] = (
    ((cleaned,), _ALL),
    ((cleaned, unescaped), _ALL),
    ((cleaned, unescaped, spelled), frozenset({"EMAIL", "IP_ADDRESS", "CARD", "SSN", "PHONE", "IBAN"})),
    ((cleaned, unescaped, spelled, joined), frozenset({"CARD", "SSN", "PHONE", "IBAN"})),
)


def _merged(found: Sequence[Value]) -> list[Value]:
    """Return values that overlap as one, of the kind that comes first in `KINDS`."""
    merged: list[Value] = []
    for value in sorted(found):
        if merged and value.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Value(last.start, max(last.end, value.end), min(last.kind, value.kind, key=_ORDER.__getitem__))
        else:
            merged.append(value)
    return merged
