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
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.curation.pii import EVERY_SIGN, find_values
from tasks.curation.pii_gates import bits_of, passing
from tasks.curation.policy import KINDS, Kind
from tasks.curation.redact_suspects import DISGUISES, SIGNS, SUSPECTS

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


def _collect(value: Any, key: str, keys: list[str], texts: list[str]) -> None:
    """Append the texts of a conversation, and the key that each stands at; roles and call ids are none."""
    for name, item in value.items() if isinstance(value, dict) else zip(itertools.repeat(key), value, strict=False):
        if isinstance(item, str):
            if name not in _STRUCTURE:
                keys.append(name)
                texts.append(item)
        elif isinstance(item, dict | list):
            _collect(item, name, keys, texts)


def _replace_texts(value: Any, key: str, texts: Iterator[str]) -> None:
    """Put other texts into a conversation, in the order of `_collect`."""
    for place, item in value.items() if isinstance(value, dict) else enumerate(value):
        name = place if isinstance(value, dict) else key
        if isinstance(item, str):
            if name not in _STRUCTURE:
                value[place] = next(texts)
        elif isinstance(item, dict | list):
            _replace_texts(item, str(name), texts)


def redact_messages(messages: Sequence[str], counts: Counter[str], kinds: Collection[Kind] = KINDS) -> list[str]:
    """Redact conversations given as JSON; roles and call ids stay as they are, and all where nothing is found."""
    column = pa.chunked_array([messages], pa.large_string())
    redacted = list(messages)
    for row, after in zip(*_changed_messages(column, counts, kinds), strict=True):
        redacted[row] = after
    return redacted


def _changed_messages(
    column: pa.ChunkedArray, counts: Counter[str], kinds: Collection[Kind]
) -> tuple[list[int], list[str]]:
    """Return the rows of a column of conversations in which something is found, and what they become."""
    marks = _marks(column, kinds)
    hits = np.flatnonzero(marks.any(axis=0))
    before = column.take(pa.array(hits)).to_pylist()
    keys: list[str] = []
    texts: list[str] = []
    ends = [0]
    for conversation in before:  # decoded one at a time, and once more where it changes: thousands at once are dear
        _collect(msgspec.json.decode(conversation), "", keys, texts)
        ends.append(len(texts))
    owners = np.repeat(np.arange(len(before)), np.diff(ends))
    flat = pa.chunked_array([texts], pa.large_string())
    places, values = _changed(flat, redact_text, counts, kinds, marks[:, hits][:, owners])
    for place, value in zip(places, values, strict=True):
        texts[place] = _quoted(value) if keys[place] == "arguments" and _is_json(texts[place]) else value
    changed = np.unique(owners[places]).tolist()
    after = [_rewritten(before[row], texts[ends[row] : ends[row + 1]]) for row in changed]
    return hits[changed].tolist(), after


def _rewritten(conversation: str, texts: Sequence[str]) -> str:
    decoded = msgspec.json.decode(conversation)
    _replace_texts(decoded, "", iter(texts))
    return msgspec.json.encode(decoded).decode()


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
    rows, values = _changed_messages(examples["messages"], counts, kinds)
    digests = [hashlib.sha256(value.encode()).hexdigest() for value in values]
    return _replaced(_replaced(examples, "messages", rows, values), "example_id", rows, digests)


Change = Callable[[str, Counter[str], Collection[Kind], Collection[Kind], Collection[int]], str]


def _changed(
    column: pa.ChunkedArray,
    change: Change,
    counts: Counter[str],
    kinds: Collection[Kind],
    within: NDArray[np.bool_] | None = None,
) -> tuple[list[int], list[str]]:
    """Return the rows of a column that `change` changes, and their new values; `within` is as of `_marks`."""
    marks = _marks(column, kinds, within)
    hits = np.flatnonzero(marks.any(axis=0))
    rows, values = [], []
    known: dict[tuple[str, bytes], tuple[str, Counter[str]]] = {}  # the same texts come again and again
    for row, before in zip(hits.tolist(), column.take(pa.array(hits)).to_pylist(), strict=True):
        key = before, marks[:, row].tobytes()
        if key not in known:
            named, signs = _looked_for(key[1])
            found: Counter[str] = Counter()
            after = change(before, found, named.intersection(kinds), kinds if signs else (), signs)
            known[key] = after, found
        after, found = known[key]
        if after != before:
            counts.update(found)
            rows.append(row)
            values.append(after)
    return rows, values


@functools.lru_cache(maxsize=1024)
def _looked_for(marks: bytes) -> tuple[frozenset[Kind], tuple[int, ...]]:
    """Return the kinds whose patterns a text matches, and the signs of a disguise that it shows."""
    named = frozenset(kind for mark, suspect in zip(marks, SUSPECTS, strict=False) if mark for kind in suspect.kinds)
    return named, tuple(sign for sign, mark in enumerate(marks[len(SUSPECTS) :]) if mark)


def _marks(
    column: pa.ChunkedArray, kinds: Collection[Kind], within: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Tell which texts match each of `SUSPECTS`, and which show each of `SIGNS`.

    One pattern after the other: all in one have more states than RE2 keeps, and it is twenty times as slow. Of short
    texts, of which many are alike, each is looked at once.

    Args:
        column: The texts.
        kinds: What is looked for; patterns of other kinds match nothing.
        within: [len(SUSPECTS) + len(SIGNS), rows], where a pattern is tried at all; everywhere, if not given.
    """
    if within is None and column.type == pa.string():
        encoded = column.combine_chunks().dictionary_encode()
        nulls = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
        marks = _marks(pa.chunked_array([encoded.dictionary]).cast(pa.large_string()), kinds)
        return np.hstack([marks, np.zeros((len(marks), 1), dtype=bool)])[:, nulls]
    wanted = [any(kind in kinds for kind in suspect.kinds) for suspect in SUSPECTS] + [bool(kinds)] * len(SIGNS)
    bits = bits_of(column) if within is None else None
    marks = np.zeros((len(wanted), len(column)), dtype=bool)
    for number, pattern in enumerate(_PATTERNS):
        if wanted[number]:
            tried = within[number] if within is not None else _passing(bits, number)
            marks[number] = _matches(column, pattern, tried)
    return marks


_GATES = (*(suspect.gate for suspect in SUSPECTS), *(sign.gate for sign in SIGNS))
_PATTERNS = (*(suspect.pattern for suspect in SUSPECTS), *DISGUISES)
MANY = 0.7
"""A share of the texts from which on all of them are tried: cheaper than to copy some."""


def _passing(bits: NDArray[np.int64] | None, number: int) -> NDArray[np.bool_] | None:
    """Tell which texts may match a pattern; None where all may."""
    if bits is None:
        return None
    return passing(bits, _GATES[number])


def _matches(column: pa.ChunkedArray, pattern: str, tried: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Tell which texts match, of those that are to be tried at least."""
    if tried is None or (share := np.count_nonzero(tried) / max(len(tried), 1)) > MANY:
        found: NDArray[np.bool_] = _matching(column, pattern)
        return found if tried is None else found & tried
    found = tried.copy()
    if share:
        found[tried] = _matching(column.filter(pa.array(tried)), pattern)
    return found


def _matching(column: pa.ChunkedArray, pattern: str) -> NDArray[np.bool_]:
    matches = pc.fill_null(pc.match_substring_regex(column, pattern), fill_value=False)
    found: NDArray[np.bool_] = matches.to_numpy(zero_copy_only=False)
    return found


def _replaced(table: pa.Table, name: str, rows: Sequence[int], values: Sequence[str]) -> pa.Table:
    """Return `table` with `values` in the rows of a column, without touching the other rows one by one."""
    if not rows:
        return table
    position, field = table.schema.get_field_index(name), table.schema.field(name)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows] = True
    new = pc.replace_with_mask(table.column(position), pa.array(mask), pa.array(values, field.type))
    return table.set_column(position, field, new)


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
