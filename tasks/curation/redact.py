"""Replace personal data and secrets by typed placeholders, before anything is written.

Most conversations hold none: RE2 patterns (`redact_rules.SUSPECTS`) pass over whole columns, and only the rows that
they hit are decoded and examined by the exact rules. The raw value is kept nowhere; a count of each kind remains.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.curation.policy import KINDS, Kind
from tasks.curation.redact_rules import RULES, SUSPECTS, Begin, Finder, Span

ID_KINDS: tuple[Kind, ...] = ("PRIVATE_KEY", "JWT", "PASSWORD", "API_KEY", "BEARER_TOKEN", "EMAIL")
"""Kinds that are looked for in identifiers. Not the numeric ones: an id is often a number, and no rule could tell."""
ID_COLUMNS = ("event_source", "event_id", "trace_id")
TEXT_COLUMNS = ("domain", "task_type", "subject", "session", "prompt", "model_version", "agent")

_STRUCTURE = frozenset({"role", "type", "tool_call_id", "id"})
_BARE_PLACEHOLDER = re.compile(r"([:\[,]\s*)(\[(?:" + "|".join(KINDS) + r")\])(?=\s*[,}\]])")


class Redacted(NamedTuple):
    """A table without personal data, and how many values of each kind were replaced in it."""

    table: pa.Table
    counts: dict[str, int]


def redact_text(text: str, counts: Counter[str] | None = None, kinds: Collection[Kind] = frozenset(KINDS)) -> str:
    """Replace every value of `kinds` in `text` by its placeholder, and add to `counts`."""
    for begin, rules in _by_test(frozenset(kinds)):
        if (start := begin(text)) is None:
            continue
        for kind, find in rules:
            if spans := sorted(find(text, start)):
                text, found = _replace(text, kind, spans)
                if counts is not None:
                    counts[kind] += found
    return text


@functools.cache
def _by_test(kinds: frozenset[Kind]) -> list[tuple[Begin, list[tuple[Kind, Finder]]]]:
    """Return the rules of some kinds in their order, neighbours that share a test together."""
    rules = [(kind, rule) for kind, rule in RULES.items() if kind in kinds]
    groups = itertools.groupby(rules, lambda item: item[1].begin)
    return [(begin, [(kind, rule.find) for kind, rule in group]) for begin, group in groups]


def _replace(text: str, kind: Kind, spans: Sequence[Span]) -> tuple[str, int]:
    """Return `text` with a placeholder in place of each span, and how many there were."""
    pieces, last, found = [], 0, 0
    for start, end in spans:
        if start >= last:  # else two patterns of one kind found the same value
            pieces += [text[last:start], f"[{kind}]"]
            last, found = end, found + 1
    return "".join([*pieces, text[last:]]), found


def _redact_arguments(text: str, counts: Counter[str], kinds: Collection[Kind]) -> str:
    """Redact a tool call's arguments and keep them valid JSON: a bare number becomes a quoted placeholder."""
    redacted = redact_text(text, counts, kinds)
    return redacted if redacted == text or not _is_json(text) else _quoted(redacted)


def _quoted(redacted: str) -> str:
    return redacted if _is_json(redacted) else _BARE_PLACEHOLDER.sub(r'\1"\2"', redacted)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _redact_value(value: Any, key: str, counts: Counter[str], kinds: Collection[Kind]) -> Any:
    if isinstance(value, str):
        if key in _STRUCTURE:
            return value
        return (_redact_arguments if key == "arguments" else redact_text)(value, counts, kinds)
    if isinstance(value, dict):
        return {name: _redact_value(item, name, counts, kinds) for name, item in value.items()}
    if isinstance(value, list):
        return [_redact_value(item, key, counts, kinds) for item in value]
    return value


def redact_messages(messages: str, counts: Counter[str], kinds: Collection[Kind] = KINDS) -> str:
    """Redact a conversation given as JSON; roles and call ids stay as they are."""
    before = counts.total()
    redacted = _redact_value(msgspec.json.decode(messages), "", counts, kinds)
    if counts.total() == before:
        return messages  # not one byte changes where nothing was found
    return msgspec.json.encode(redacted).decode()


def redact(examples: pa.Table, kinds: Collection[Kind] = KINDS) -> Redacted:
    """Redact every text column of a table of examples; the `example_id` of a row that changed becomes its new digest.

    Args:
        examples: Rows with `messages` (JSON), `example_id`, and any of `TEXT_COLUMNS` and `ID_COLUMNS`.
        kinds: What is looked for.

    Returns:
        The table with the same rows and columns, and the number of values replaced, by kind.
    """
    counts: Counter[str] = Counter()
    if not kinds:
        return Redacted(examples, {})
    examples = _redact_messages(examples, counts, kinds)
    ids = [kind for kind in ID_KINDS if kind in kinds]
    for name in (*TEXT_COLUMNS, *ID_COLUMNS):
        if name in examples.column_names:
            change, wanted = (_pseudonym, ids) if name in ID_COLUMNS else (redact_text, kinds)
            examples = _replaced(examples, name, *_changed(examples[name], change, counts, wanted))
    return Redacted(examples, {kind: counts[kind] for kind in KINDS if counts[kind]})


def _redact_messages(examples: pa.Table, counts: Counter[str], kinds: Collection[Kind]) -> pa.Table:
    rows, values = _changed(examples["messages"], redact_messages, counts, kinds)
    digests = [hashlib.sha256(value.encode()).hexdigest() for value in values]
    return _replaced(_replaced(examples, "messages", rows, values), "example_id", rows, digests)


Change = Callable[[str, Counter[str], Collection[Kind]], str]


def _changed(
    column: pa.ChunkedArray, change: Change, counts: Counter[str], kinds: Collection[Kind]
) -> tuple[list[int], list[str]]:
    """Return the rows of a column that `change` changes, and their new values."""
    rules = {pattern: [kind for kind in some if kind in kinds] for some, pattern in SUSPECTS.items()}
    rules = {pattern: some for pattern, some in rules.items() if some}
    if not rules:
        return [], []
    hits = np.flatnonzero(_suspicious(column, "|".join(rules)))
    suspects = column.take(pa.array(hits))
    which = np.array([_matches(suspects, pattern) for pattern in rules]).T.tolist()
    rows, values = [], []
    for row, before, marks in zip(hits.tolist(), suspects.to_pylist(), which, strict=True):
        looked_for = frozenset(kind for mark, some in zip(marks, rules.values(), strict=True) if mark for kind in some)
        after = change(before, counts, looked_for)
        if after != before:
            rows.append(row)
            values.append(after)
    return rows, values


def _suspicious(column: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    """Tell which texts match; of short ones, of which many are alike, each is looked at once."""
    if column.type != pa.string():
        return _matches(column, pattern)
    encoded = column.combine_chunks().dictionary_encode()
    places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    found: NDArray[np.bool_] = np.append(_matches(encoded.dictionary, pattern), [False])[places]
    return found


def _matches(column: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    matches = pc.fill_null(pc.match_substring_regex(column, pattern), fill_value=False)
    found: NDArray[np.bool_] = matches.to_numpy(zero_copy_only=False)
    return found


def _replaced(table: pa.Table, name: str, rows: Sequence[int], values: Sequence[str]) -> pa.Table:
    """Return `table` with `values` in the rows of a column, without touching the other rows one by one."""
    if not rows:
        return table
    position, field = table.schema.get_field_index(name), table.schema.field(name)
    place = np.arange(table.num_rows)
    place[rows] = table.num_rows + np.arange(len(rows))
    both = pa.concat_arrays([table.column(position).combine_chunks(), pa.array(values, field.type)])
    return table.set_column(position, field, both.take(pa.array(place)))


def _pseudonym(identifier: str, counts: Counter[str], kinds: Collection[Kind]) -> str:
    """Return an identifier that holds an e-mail address or a secret as its digest, so that it still identifies."""
    found: Counter[str] = Counter()
    if redact_text(identifier, found, kinds) == identifier:
        return identifier
    counts.update(found)
    return "sha256:" + hashlib.sha256(identifier.encode()).hexdigest()[:32]
