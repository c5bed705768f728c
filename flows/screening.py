"""Between the filter and the choice: examples that look planted go to review, with the evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flows.choose import Judged, as_judged
from flows.version import Build
from registry.errors import CurationError
from registry.records import Reason, Record, SuspectedWords
from tasks.curation import scratch
from tasks.curation.scratch import ROWS, Part
from tasks.extraction.keys import among
from tasks.filtering.decide import REJECT, REVIEW
from tasks.screening.carriers import carriers
from tasks.screening.screen import Group, screen
from tasks.screening.spread import share
from tasks.screening.words import I64

FILE = "suspected.json"
SHOWN = 200
"""Examples of a group that are named in the evidence at most."""
NEW_SHARE = 0.75
"""Share of a sample that new examples may take up where the parent's could fill the rest."""
PIECE_ROWS = 50_000


class SuspectedGroup(Record):
    """Examples that one tie holds together: the evidence."""

    words: SuspectedWords
    """What is in all that is asked."""
    answer: str
    """The text that the answers share, or the form that they have."""
    suspicion: float
    examples: int
    """Examples of this run and of the parent version together."""
    from_parent: int
    factors: dict[str, float]
    """What suspicion is the product of, see `tasks.screening.weigh`; empty for words that were suspected before."""
    shares: dict[str, dict[str, Any]]
    """Of the commonest source, user (a digest) and day: its share of the group and of all, and how many there are."""
    rows: list[dict[str, str]]
    """`example_id`, `event_source`, `event_id` and `time` of the first `SHOWN` examples."""


class Screened(NamedTuple):
    """What the filter said, and what is suspected."""

    judged: Judged
    leaving: I64
    """Rows of the parent version that go."""
    groups: list[SuspectedGroup]
    words: list[SuspectedWords]
    """Suspected here, or in a version before."""


def screen_examples(build: Build, parent: Sequence[Part], parts: Sequence[Part], judged: Judged) -> Screened:
    """Look for planted examples among those not rejected and the parent's; write the evidence to `suspected.json`.

    A suspected new example becomes REVIEW with the reason `suspected`; one of the parent version leaves it. Words that
    were suspected once are remembered: later examples with them go to review as well, as long as the policy does not
    allow them.

    Args:
        build: What is made.
        parent: The parent version's parts.
        parts: The new parts.
        judged: What the filter said of the rows of `parts`.

    Raises:
        CurationError: E7220 every accepted example is suspected.
    """
    policy = build.policy.screening
    (build.out / FILE).unlink(missing_ok=True)  # of a run that was killed
    remembered = [] if build.parent is None else build.parent.suspected
    if not policy.enabled:
        return Screened(judged, np.zeros(0, dtype=np.int64), [], remembered)
    allowed = {tuple(words.lower().split()) for words in policy.allow}
    remembered = [each for each in remembered if each.words not in allowed]
    every, old = [*parent, *parts], scratch.total_rows(parent)
    fresh = _in_order(every, old + _candidates(parent, parts, judged))
    rows = _in_order(every, np.concatenate([np.arange(old), fresh]))
    sample = _sample(rows, old, policy.examples, build.seed)
    texts = _read(every, sample, ["messages"])["messages"].to_pylist()
    groups = screen(texts, policy, np.flatnonzero(sample < old), build.seed)
    members = [sample[group.rows] for group in groups]
    left = np.setdiff1d(rows, sample)
    members = _with_unread(build, every, groups, members, left)
    known = [each for each in remembered if each not in [group.words for group in groups]]
    again = [np.setdiff1d(found, np.concatenate([left[:0], *members])) for found in _carry(build, every, fresh, known)]
    found = [_evidence(every, group, at, rows, old) for group, at in zip(groups, members, strict=True)]
    found += [_seen_again(every, words, at, rows, old) for words, at in zip(known, again, strict=True) if len(at)]
    suspects = np.unique(np.concatenate([left[:0], *members, *again]))
    _write(build.out / FILE, found)
    words = remembered + [group.words for group in groups if group.words not in remembered]
    reviewed = _reviewed(parts, judged, suspects[suspects >= old] - old)
    _check_some_left(judged, reviewed, build.out / FILE)
    return Screened(reviewed, suspects[suspects < old], found, words)


def _check_some_left(before: Judged, after: Judged, evidence: Path) -> None:
    if before.counts.accepted and not after.counts.accepted:
        raise CurationError(
            "E7220",
            f"all {before.counts.accepted:,} accepted examples are suspected of being planted, see {evidence.name}",
            "name the words that are right in the setting screening.allow of the policy",
        )


def _candidates(parent: Sequence[Part], parts: Sequence[Part], judged: Judged) -> I64:
    """Return the rows of `parts` that are not rejected, nor in the parent already.

    Those for review are looked at as well: an odd answer is often an outlier, and the others of its kind then are few.
    """
    rows = judged.rows[judged.decisions.status != REJECT]
    if parent and len(rows):
        keys, known = (scratch.numbers(some, "event_key").astype(np.uint64) for some in (parts, parent))
        rows = rows[~among(keys[rows], known)]
    return np.asarray(rows, dtype=np.int64)


def _in_order(parts: Sequence[Part], rows: I64) -> I64:
    """Return rows in the order of their content, which does not depend on how the input was cut."""
    order = np.lexsort((scratch.numbers(parts, "event_key")[rows], scratch.numbers(parts, "id_key")[rows]))
    return np.asarray(rows[order], dtype=np.int64)


def _sample(rows: I64, old: int, most: int, seed: int) -> I64:
    """Return up to `most` of the rows, in their order: the new ones first."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng([seed, 7])
    new, known = np.flatnonzero(rows >= old), np.flatnonzero(rows < old)
    wanted = min(len(new), max(int(NEW_SHARE * most), most - len(known)))
    chosen = [rng.permutation(new)[:wanted], rng.permutation(known)[: most - wanted]]
    return np.asarray(rows[np.sort(np.concatenate(chosen))], dtype=np.int64)


def _read(parts: Sequence[Part], rows: I64, columns: list[str]) -> pa.Table:
    """Return columns of some rows, numbered over all parts, in the order given."""
    tables, order, start = [], [], 0
    for part in parts:
        here = np.flatnonzero((rows >= start) & (rows < start + part.rows))
        if len(here):
            with pa.memory_map(str(Path(part.folder) / ROWS)) as source:
                table = pa.ipc.open_file(source).read_all().select(columns)
                tables.append(table.take(pa.array(rows[here] - start)))
            order.append(here)
        start += part.rows
    return pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


class CarrierPiece(NamedTuple):
    """Rows in which words are looked for."""

    parts: tuple[Part, ...]
    rows: I64
    words: tuple[SuspectedWords, ...]


def find_carriers(piece: CarrierPiece) -> list[I64]:
    """Return the rows that have the words, for each of them."""
    messages = _read(piece.parts, piece.rows, ["messages"])["messages"]
    return [piece.rows[found] for found in carriers(messages, piece.words)]


def _carry(build: Build, parts: Sequence[Part], rows: I64, words: Sequence[SuspectedWords]) -> list[I64]:
    """Return the rows of `rows` that have the words, for each of them."""
    if not len(words) or not len(rows):
        return [rows[:0] for _ in words]
    cuts = np.array_split(rows, -(-len(rows) // PIECE_ROWS))
    pieces = [CarrierPiece(tuple(parts), cut, tuple(words)) for cut in cuts]
    found = build.run("look for suspected words", find_carriers, pieces)
    return [np.concatenate([each[place] for each in found]) for place in range(len(words))]


def _with_unread(
    build: Build, parts: Sequence[Part], groups: Sequence[Group], members: Sequence[I64], left: I64
) -> list[I64]:
    """Add to each group the rows outside the sample that have its words; no row is in two groups."""
    more = _carry(build, parts, left, [group.words for group in groups])
    taken, whole = left[:0], []
    for here, there in zip(members, more, strict=True):
        own = np.setdiff1d(there, taken)
        taken = np.union1d(taken, own)
        whole.append(np.concatenate([here, own]))
    return whole


def _reviewed(parts: Sequence[Part], judged: Judged, rows: I64) -> Judged:
    """Return what the filter said, with some rows sent to review."""
    if not len(rows):
        return judged
    decisions, suspected = judged.decisions, np.isin(judged.rows, rows)
    status = np.where(suspected, np.uint8(REVIEW), decisions.status)
    reasons = np.where(suspected, decisions.reasons | np.uint32(Reason.SUSPECTED), decisions.reasons)
    return as_judged(parts, judged.rows, decisions._replace(status=status, reasons=reasons), judged.quality)


def _evidence(parts: Sequence[Part], group: Group, members: I64, rows: I64, old: int) -> SuspectedGroup:
    seen = _seen_again(parts, group.words, members, rows, old)
    return seen.model_copy(update={"answer": group.answer, "suspicion": group.suspicion, "factors": group.factors})


def _seen_again(parts: Sequence[Part], words: SuspectedWords, members: I64, rows: I64, old: int) -> SuspectedGroup:
    """Return the evidence for rows that have words which were suspected before."""
    columns = ["example_id", "event_source", "event_id", "time", "subject_key"]
    own, every = _read(parts, members, columns), _read(parts, rows, columns[1:])
    shares = {}
    for name, column in (("source", "event_source"), ("user", "subject_key"), ("day", "time")):
        values = [table[column] for table in (own, every)]
        if column == "time":
            values = [each.cast(pa.timestamp("us")).cast(pa.date32()) for each in values]
        if (found := share(values[0], values[1])) is not None:
            shares[name] = found._asdict()
    shown = own.slice(0, SHOWN).drop_columns(["subject_key"]).to_pylist()
    return SuspectedGroup(
        words=words, answer="", suspicion=1.0, examples=len(members), from_parent=int((members < old).sum()),
        factors={}, shares=shares, rows=[{name: str(value) for name, value in row.items()} for row in shown],
    )  # fmt: skip


def _write(path: Path, groups: Sequence[SuspectedGroup]) -> None:
    if groups:
        body = json.dumps([group.model_dump(mode="json") for group in groups], ensure_ascii=False, indent=1)
        path.write_text(body + "\n", encoding="utf-8")
