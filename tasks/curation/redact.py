"""Replace personal data and secrets by typed placeholders, before anything is written.

Most conversations hold none: RE2 patterns (`redact_rules.SUSPECTS`) pass over whole columns, and only the rows that
they hit are decoded and examined by the exact rules. The raw value is kept nowhere; a count of each kind remains.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.curation.pii import EVERY_SIGN, find_values
from tasks.curation.policy import KINDS, Kind
from tasks.curation.redact_suspects import ANY_DISGUISE, DISGUISES, SUSPECTS

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


def redact_text(
    text: str,
    counts: Counter[str] | None = None,
    kinds: Collection[Kind] = KINDS,
    disguised: Collection[Kind] | None = None,
    signs: Collection[int] = EVERY_SIGN,
) -> str:
    """Replace every value of `kinds` in `text` by its placeholder, and add to `counts`.

    Args:
        text: Any text.
        counts: How many values of each kind were replaced is added here.
        kinds: What is looked for in the text as it stands.
        disguised: What is looked for behind escapes, encodings and look-alikes; as `kinds`, where it is not given.
        signs: Which signs of a disguise the text may show.
    """
    values = find_values(text, kinds, disguised, signs)
    if not values:
        return text
    if counts is not None:
        counts.update(value.kind for value in values)
    ends = [0, *(value.end for value in values)]
    pieces = [text[end : value.start] + f"[{value.kind}]" for end, value in zip(ends, values, strict=False)]
    return "".join([*pieces, text[ends[-1] :]])


def _quoted(redacted: str) -> str:
    """Keep a tool call's arguments valid JSON: a bare number became a placeholder, which needs quotes."""
    return redacted if _is_json(redacted) else _BARE_PLACEHOLDER.sub(r'\1"\2"', redacted)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a conversation, each with the key it stands at; roles and call ids are none."""
    if isinstance(value, str):
        if key not in _STRUCTURE:
            yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)


def _with_texts(value: Any, key: str, texts: Iterator[str]) -> Any:
    """Return a conversation with other texts, in the order of `_texts`."""
    if isinstance(value, str):
        return value if key in _STRUCTURE else next(texts)
    if isinstance(value, dict):
        return {name: _with_texts(item, name, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_texts(item, key, texts) for item in value]
    return value


def redact_messages(messages: Sequence[str], counts: Counter[str], kinds: Collection[Kind] = KINDS) -> list[str]:
    """Redact conversations given as JSON; roles and call ids stay as they are, and all where nothing is found."""
    decoded = [msgspec.json.decode(each) for each in messages]
    texts = [list(_texts(each, "")) for each in decoded]
    flat = [text for each in texts for _, text in each]
    places, values = _changed(pa.chunked_array([flat], pa.large_string()), redact_text, counts, kinds)
    new = dict(zip(places, values, strict=True))
    redacted, first = list(messages), 0
    for row, found in enumerate(texts):
        last = first + len(found)
        if any(place in new for place in range(first, last)):
            after = [
                text
                if place not in new
                else _quoted(new[place])
                if key == "arguments" and _is_json(text)
                else new[place]
                for place, (key, text) in enumerate(found, first)
            ]
            redacted[row] = msgspec.json.encode(_with_texts(decoded[row], "", iter(after))).decode()
        first = last
    return redacted


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
    column = examples["messages"]
    suspects = np.flatnonzero(_marks(column, kinds).any(axis=0))
    before = column.take(pa.array(suspects)).to_pylist()
    after = redact_messages(before, counts, kinds)
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    rows, values = suspects[changed].tolist(), [after[place] for place in changed]
    digests = [hashlib.sha256(value.encode()).hexdigest() for value in values]
    return _replaced(_replaced(examples, "messages", rows, values), "example_id", rows, digests)


Change = Callable[[str, Counter[str], Collection[Kind], Collection[Kind], Collection[int]], str]


def _changed(
    column: pa.ChunkedArray, change: Change, counts: Counter[str], kinds: Collection[Kind]
) -> tuple[list[int], list[str]]:
    """Return the rows of a column that `change` changes, and their new values."""
    marks = _marks(column, kinds)
    hits = np.flatnonzero(marks.any(axis=0))
    suspects = column.take(pa.array(hits))
    signs = _signs(suspects, marks[-1][hits])
    rows, values = [], []
    for row, before, marked, shown in zip(
        hits.tolist(), suspects.to_pylist(), marks.T[hits].tolist(), signs, strict=True
    ):
        named = {kind for mark, some in zip(marked, SUSPECTS, strict=False) if mark for kind in some}
        after = change(before, counts, frozenset(named.intersection(kinds)), kinds if marked[-1] else (), shown)
        if after != before:
            rows.append(row)
            values.append(after)
    return rows, values


def _signs(texts: pa.ChunkedArray, disguised: NDArray[np.bool_]) -> list[list[int]]:
    """Return for each text which of `DISGUISES` it shows."""
    signs: list[list[int]] = [[] for _ in range(len(texts))]
    rows = np.flatnonzero(disguised)
    some = texts.take(pa.array(rows))
    for sign, pattern in enumerate(DISGUISES):
        for row in rows[_matches(some, pattern)]:
            signs[row].append(sign)
    return signs


def _marks(column: pa.ChunkedArray, kinds: Collection[Kind]) -> NDArray[np.bool_]:
    """Tell which texts match each of `SUSPECTS`, and which look disguised.

    One pattern after the other: all in one have more states than RE2 keeps, and it is twenty times as slow.

    Returns:
        [len(SUSPECTS) + 1, rows]; False for patterns of which no kind is looked for.
    """
    unwanted = np.zeros(len(column), dtype=bool)
    marks = [
        _suspicious(column, pattern) if any(kind in kinds for kind in names) else unwanted
        for names, pattern in SUSPECTS.items()
    ]
    return np.array([*marks, _suspicious(column, ANY_DISGUISE) if kinds else unwanted])


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


def _pseudonym(
    identifier: str,
    counts: Counter[str],
    kinds: Collection[Kind],
    disguised: Collection[Kind],
    signs: Collection[int],
) -> str:
    """Return an identifier that holds an e-mail address or a secret as its digest, so that it still identifies."""
    found: Counter[str] = Counter()
    if redact_text(identifier, found, kinds, disguised, signs) == identifier:
        return identifier
    counts.update(found)
    return "sha256:" + hashlib.sha256(identifier.encode()).hexdigest()[:32]
