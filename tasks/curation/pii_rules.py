"""Rules that are data: the YAML files in `rules/`, read, checked and compiled once.

A rule that does not compile, names no check, or misses one of its own examples is refused when it is read, so that a
new locale is one line of YAML that cannot silently find nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import yaml
from pydantic import AfterValidator, Field, ValidationError

from registry.errors import CurationError
from registry.records import Record
from tasks.curation.check_digits import CHECKS, luhn_is_valid
from tasks.curation.policy import Kind

FOLDER = Path(__file__).with_name("rules")
CONTEXT = 48
"""A word of the context stands at most so many characters before its value."""


def _compiles(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    if "(?=" in pattern or "(?!" in pattern or "(?<" in pattern or compiled.groups:
        raise ValueError(f"{pattern!r} has a look-around or a capturing group, which the search in columns has not")
    if compiled.search(""):
        raise ValueError(f"{pattern!r} is found in an empty text")
    return pattern


def _is_check(name: str) -> str:
    if name not in CHECKS:
        raise ValueError(f"{name!r} is no check: {', '.join(sorted(CHECKS))}")
    return name


class Shape(Record):
    """One entry of `secrets.yaml` or `identities.yaml`."""

    name: str
    kind: Kind
    pattern: Annotated[str, AfterValidator(_compiles)]
    """The whole value; letters and digits beside it are no part of it."""
    starts: tuple[str, ...] = ()
    """A text without any of these is not looked at."""
    context: tuple[str, ...] = ()
    """Words of which one must stand before the value."""
    check: Annotated[str, AfterValidator(_is_check)] | None = None
    examples: tuple[str, ...] = Field(min_length=1)
    others: tuple[str, ...] = ()

    def find(self, text: str, lower: str | None = None) -> Iterator[tuple[int, int]]:
        """Yield where the values of this shape begin and end; `lower` is the text in small letters, if known."""
        lower = text.lower() if lower is None else lower
        if self.starts and not any(start in text for start in self.starts):
            return
        if self.context and not any(word in lower for word in _lowered(self.context)):
            return
        check = CHECKS[self.check] if self.check else None
        for match in _bounded(self.pattern).finditer(text):
            if (check is None or check(match.group())) and self._in_context(text, match.start()):
                yield match.span()

    def _in_context(self, text: str, place: int) -> bool:
        return not self.context or bool(_context(self.context).search(text, max(0, place - CONTEXT), place))


@functools.cache
def _lowered(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)


@functools.cache
def _bounded(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_])(?<![0-9][.,-])(?:{pattern})(?![A-Za-z0-9_]|[.,-][0-9])")


@functools.cache
def _context(words: tuple[str, ...]) -> re.Pattern[str]:
    # a word in capitals, such as SIN, is one only so
    either = "|".join(f"(?-i:{re.escape(word)})" if word.isupper() else re.escape(word) for word in words)
    return re.compile(rf"(?i)(?<![^\W_])(?:{either})(?![^\W_])")


class Network(Record):
    """One entry of `cards.yaml`."""

    name: str
    prefixes: tuple[str, ...] = Field(min_length=1)
    """Digits, or a range of them such as 51-55."""
    lengths: tuple[int, ...] = Field(min_length=1)
    example: str

    def fits(self, digits: str) -> bool:
        """Tell whether a number of these digits is of this network; the check digit is not looked at."""
        return len(digits) in self.lengths and any(
            first <= digits[: len(first)] <= (last or first)
            for first, _, last in (prefix.partition("-") for prefix in self.prefixes)
        )


class Phones(Record):
    """What is in `phones.yaml`."""

    regions: tuple[str, ...]
    words: tuple[str, ...]
    requests: tuple[str, ...]
    other_things: tuple[str, ...]


class _Shapes(Record):
    rules: tuple[Shape, ...]


class _Networks(Record):
    networks: tuple[Network, ...]


_Form = TypeVar("_Form", bound=Record)


class Rules(NamedTuple):
    """All that is read."""

    shapes: tuple[Shape, ...]
    networks: tuple[Network, ...]
    phones: Phones


@functools.cache
def read_rules(folder: Path = FOLDER) -> Rules:
    """Read all rules.

    Raises:
        CurationError: E7230 where a file is no YAML or not of the form; E7231 where a rule fails its own examples.
    """
    shapes = tuple(rule for name in ("secrets.yaml", "identities.yaml") for rule in _read(folder / name, _Shapes).rules)
    networks = _read(folder / "cards.yaml", _Networks).networks
    wrong = [f"{shape.name}: {text!r}" for shape in shapes for text in _failing(shape)]
    wrong += [
        f"{network.name}: {network.example!r}"
        for network in networks
        if not network.fits(network.example) or not luhn_is_valid(network.example)
    ]
    if wrong:
        what = f"rules for personal data fail their own examples: {'; '.join(wrong[:5])}"
        raise CurationError("E7231", what, f"correct the patterns or the examples in {folder}")
    return Rules(shapes, networks, _read(folder / "phones.yaml", Phones))


def _failing(shape: Shape) -> list[str]:
    missed = [text for text in shape.examples if not any(shape.find(text))]
    return missed + [text for text in shape.others if any(shape.find(text))]


def _read(path: Path, form: type[_Form]) -> _Form:
    try:
        return form.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        what = " ".join(str(error).split())[:400]
        raise CurationError("E7230", f"{path.name} holds no rules: {what}", f"correct {path}") from error
