"""Replace personal data and secrets by typed placeholders, before anything is written.

Most conversations hold none: one RE2 pattern (`redact_rules.SUSPECT`) passes over the whole column and only its hits are
decoded and examined by the exact rules. The raw value is kept nowhere; what remains is a count of each kind.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.curation.policy import KINDS, Kind
from tasks.curation.redact_rules import RULES, SUSPECT

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


def redact_text(text: str, counts: Counter[str] | None = None, kinds: Collection[Kind] = KINDS) -> str:
    """Replace every value of `kinds` in `text` by its placeholder, and add to `counts`."""
    for kind, rule in RULES.items():
        if kind not in kinds or not rule.may_have(text):
            continue
        pieces: list[str] = []
        last = 0
        for start, end in sorted(rule.find(text)):
            if start < last:
                continue  # two patterns of one kind found the same value
            pieces += [text[last:start], f"[{kind}]"]
            last = end
            if counts is not None:
                counts[kind] += 1
        if pieces:
            text = "".join([*pieces, text[last:]])
    return text


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
    redacted = _redact_value(json.loads(messages), "", counts, kinds)
    if counts.total() == before:
        return messages  # not one byte changes where nothing was found
    return json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))


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
    changes = dict.fromkeys(TEXT_COLUMNS, lambda value: redact_text(value, counts, kinds))
    changes |= dict.fromkeys(ID_COLUMNS, lambda value: _pseudonym(value, counts, kinds))
    for name, change in changes.items():
        if name in examples.column_names:
            rows, values = _changed(examples[name], change)
            examples = _replaced(examples, name, rows, values)
    return Redacted(examples, {kind: counts[kind] for kind in KINDS if counts[kind]})


def _redact_messages(examples: pa.Table, counts: Counter[str], kinds: Collection[Kind]) -> pa.Table:
    rows, values = _changed(examples["messages"], lambda value: redact_messages(value, counts, kinds))
    digests = [hashlib.sha256(value.encode()).hexdigest() for value in values]
    return _replaced(_replaced(examples, "messages", rows, values), "example_id", rows, digests)


def _changed(column: pa.ChunkedArray, change: Callable[[str], str]) -> tuple[list[int], list[str]]:
    """Return the rows of a column that `change` changes, and their new values."""
    mask = pc.fill_null(pc.match_substring_regex(column, SUSPECT), fill_value=False)
    hits = np.flatnonzero(mask.to_numpy())
    before = column.take(pa.array(hits)).to_pylist()
    after = [change(value) for value in before]
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return hits[changed].tolist() if changed else [], [after[i] for i in changed]


def _replaced(table: pa.Table, name: str, rows: Sequence[int], values: Sequence[str]) -> pa.Table:
    """Return `table` with `values` in the rows of a column, without touching the other rows one by one."""
    if not rows:
        return table
    position, field = table.schema.get_field_index(name), table.schema.field(name)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows] = True
    column = table.column(position).combine_chunks()
    return table.set_column(position, field, pc.replace_with_mask(column, pa.array(mask), pa.array(values, field.type)))


def _pseudonym(identifier: str, counts: Counter[str], kinds: Collection[Kind]) -> str:
    """Return an identifier that holds an e-mail address or a secret as its digest, so that it still identifies."""
    found: Counter[str] = Counter()
    if redact_text(identifier, found, [kind for kind in ID_KINDS if kind in kinds]) == identifier:
        return identifier
    counts.update(found)
    return "sha256:" + hashlib.sha256(identifier.encode()).hexdigest()[:32]
