"""What somebody said, in a form in which it is found again: runs of words, and names.

A text is known by its runs of five words, so that it is found however it was shortened, escaped or wrapped; a shorter
text by all its words. What others said as well is taken out.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

RUN = 5
"""Words of a run."""
SHORTEST = 6
"""Characters of the shortest text that is looked for by itself."""
SHORTEST_NAME = 3
_WORD = re.compile(r"\w+")
_STRUCTURE = frozenset(
    {
        "trace_id", "session_id", "session", "conversation_id", "agent", "model_version", "type", "tool", "status",
        "domain", "kind", "experiment", "arm", "role", "id", "tool_call_id", "specversion", "source", "time",
        "datacontenttype", "dataschema", "subject", "user", "user_id", "unit",
    }
)  # fmt: skip
"""Keys of events and messages whose values are no text of anybody."""


class Needles:
    """What somebody said, and how they are called.

    Args:
        texts: What they said.
        names: How they are called: subject, user, sessions, traces. A name counts where it stands by itself, and if it
            has a digit and six characters: `support` may be a subject, and a model.
    """

    def __init__(self, texts: Iterable[str], names: Iterable[str] = ()) -> None:
        self._runs: dict[int, set[str]] = {}
        for text in texts:
            words = _words(text)
            if len(words) >= RUN or sum(map(len, words)) >= SHORTEST:
                size = min(len(words), RUN)
                self._runs.setdefault(size, set()).update(_runs(words, size))
        self._all_names = frozenset(names)
        self._names = _any_of(name for name in self._all_names if len(name) >= SHORTEST and any(map(str.isdigit, name)))

    def __len__(self) -> int:
        """Return how many runs there are."""
        return sum(map(len, self._runs.values()))

    def in_events(self) -> Needles:
        """Return the same for files that hold events as they came, where every name names the person."""
        made = Needles(())
        made._runs, made._names = self._runs, _any_of(name for name in self._all_names if len(name) >= SHORTEST_NAME)
        return made

    def forget(self, texts: Iterable[str]) -> None:
        """Take out what others said as well."""
        for text in texts:
            words = _words(text)
            for size, runs in self._runs.items():
                runs.difference_update(_runs(words, size))

    def hit(self, text: str) -> bool:
        """Tell whether a text holds anything of it."""
        if self._names is not None and self._names.search(text):
            return True
        words = _words(text)
        return any(not runs.isdisjoint(_runs(words, size)) for size, runs in self._runs.items() if runs)

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where a text holds anything of it, from and to which character."""
        if self._names is not None:
            yield from (found.span() for found in self._names.finditer(text))
        found_words = list(_WORD.finditer(text))
        words = [found[0].casefold() for found in found_words]
        for size, runs in self._runs.items():
            for start in range(len(words) - size + 1):
                if " ".join(words[start : start + size]) in runs:
                    yield found_words[start].start(), found_words[start + size - 1].end()


def leaves(value: Any, key: str = "") -> Iterator[str]:
    """Yield the texts of an event or a conversation, without those that only name something."""
    if isinstance(value, str):
        if key not in _STRUCTURE:
            yield from _inner(value)
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, name)
    elif isinstance(value, list):
        for child in value:
            yield from leaves(child, key)


def _inner(text: str) -> Iterator[str]:
    """Yield a text; where it is JSON, such as the arguments of a call, what that says."""
    if text[:1] in "{[" and text[-1:] in "}]":
        with contextlib.suppress(ValueError, RecursionError):
            yield from leaves(json.loads(text))
            return
    yield text


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds any of some names where it stands by itself."""
    known = "|".join(re.escape(name) for name in sorted(names))
    return re.compile(rf"(?<![\w-])(?:{known})(?![\w-])") if known else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: list[str], size: int) -> set[str]:
    return {" ".join(words[start : start + size]) for start in range(len(words) - size + 1)}
