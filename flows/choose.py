"""The second step of making a dataset, on numbers alone: which examples it gets, and on which side.

    resolve → decide → known already → exact duplicates → near-duplicates → group → split

Rows are numbered over all parts, the parent version's first. Every decision is made in the order of the rows' content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flows.survey import FEATURE
from registry.records import ExampleCounts
from tasks.curation import near, scratch
from tasks.curation.cluster import Pairs, distinct
from tasks.curation.groups import NO_SIDE
from tasks.curation.plan import FATES, KEPT, Rows, drop_exact, drop_near, plan
from tasks.curation.policy import CurationPolicy
from tasks.curation.scratch import Part
from tasks.curation.shards import NOT_DECIDED
from tasks.extraction.keys import among
from tasks.extraction.resolve import Resolution
from tasks.filtering.decide import ACCEPT, STATUSES, Decisions, check_accepted, decide, example_counts
from tasks.filtering.distributions import Distributions, distributions
from tasks.filtering.features import FEATURES
from tasks.filtering.policy import FilteringPolicy

ACCEPTED_FATES = ("accepted", *FATES[1:], "already_learned")
DECISIONS = (*ACCEPTED_FATES, *(status.lower() for status in STATUSES[1:]), "duplicate_event")
"""What may be decided of an example, by code. `accepted` examples are in the dataset; those behind them were good
enough but are left out; then come REVIEW and REJECT of the filter."""
LEARNED, DUPLICATE_EVENT = DECISIONS.index("already_learned"), DECISIONS.index("duplicate_event")
Floats = NDArray[np.float64]
I64 = NDArray[np.int64]


class Map(Protocol):
    """Any way to apply a function to items: in this process, in others, as Prefect tasks."""

    def __call__(self, name: str, function: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
        """Return the results in the order of the items; `name` is what a watcher sees."""
        ...


class Judged(NamedTuple):
    """What the filter said of the new rows."""

    rows: I64
    """Rows that are no duplicate events, in the order of their content."""
    decisions: Decisions
    quality: Floats
    counts: ExampleCounts
    distributions: Distributions


class Choice(NamedTuple):
    """What becomes of every row of all parts."""

    columns: dict[str, NDArray[Any]]
    """A value for every row: `tasks.curation.shards.PLAN_COLUMNS`."""
    kept: int
    added: int
    left_out: dict[str, int]
    strata: list[tuple[str, str]]
    stratum: I64
    """Stratum of every row."""


def judge(parts: Sequence[Part], resolution: Resolution, policy: FilteringPolicy, seed: int) -> Judged:
    """Decide the new examples.

    Raises:
        FilteringError: E710x nothing was accepted.
    """
    kept = np.flatnonzero(resolution.keep)
    # Content decides the order, so that the forest grows alike however the events came.
    rows = kept[np.lexsort((scratch.numbers(parts, "event_key")[kept], scratch.numbers(parts, "id_key")[kept]))]
    features = pa.table({name: scratch.numbers(parts, FEATURE + name)[rows] for name in FEATURES.names})
    confidence = scratch.numbers(parts, "confidence")[rows].astype(np.float64)
    decisions = decide(features, resolution.quality[rows], confidence, resolution.flags[rows], policy, seed)
    del features
    counts = example_counts(decisions)
    check_accepted(counts)
    codes, names = scratch.strata(parts)
    domains, difficulties = (_names([name[i] for name in names], codes[rows]) for i in (0, 1))
    shapes = distributions(domains, difficulties, resolution.quality[rows], decisions)
    return Judged(rows, decisions, resolution.quality[rows], counts, shapes)


def _names(names: list[str], codes: I64) -> pa.DictionaryArray:
    values = sorted(set(names))
    place = np.array([values.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[codes]), pa.array(values, pa.string()))


def choose(
    parent: Sequence[Part],
    parts: Sequence[Part],
    judged: Judged,
    policy: CurationPolicy,
    seed: int,
    folder: Path,
    run: Map,
) -> Choice:
    """Choose the rows of the next version and their sides.

    Args:
        parent: Parts of the parent version.
        parts: Parts of the new examples.
        judged: What the filter said of them.
        policy: How similar near-duplicates are, and the shares of the splits.
        seed: Decides between groups of one size.
        folder: For files that pieces read.
        run: Does the pieces of the search for near-duplicates.
    """
    every, old = [*parent, *parts], scratch.total_rows(parent)
    accepted = judged.decisions.status == ACCEPT
    learned = np.zeros(len(accepted), dtype=bool)
    if old:
        known, keys = (scratch.numbers(some, "event_key").astype(np.uint64) for some in (parent, parts))
        learned = accepted & among(keys[judged.rows], known)
    chosen = np.flatnonzero(accepted & ~learned)
    row, facts = _facts(parent, parts, judged, chosen)
    single = drop_exact(facts)
    remaining = single[drop_near(facts.take(single), _near_pairs(every, row[single], policy, folder, run))]
    made = plan(facts, single, remaining, policy, seed)

    n = old + scratch.total_rows(parts)
    decision = np.full(n, NOT_DECIDED, dtype=np.uint8)
    decision[old:] = DUPLICATE_EVENT
    decision[old + judged.rows] = judged.decisions.status + len(ACCEPTED_FATES) - 1
    decision[old + judged.rows[learned]] = LEARNED
    new = row >= old
    decision[row[new]] = made.fate[new]
    columns = {
        "decision": decision,
        "side": _spread(n, row, made.side, NO_SIDE),
        "group": _spread(n, row, facts.id_key[made.group], 0),
        "composite": _spread(n, row, facts.composite, np.nan),
        "quality": np.full(n, np.nan),
        "reasons": np.zeros(n, dtype=np.uint32),
    }
    columns["composite"][old + judged.rows] = judged.decisions.composite
    columns["quality"][old + judged.rows] = judged.quality
    columns["reasons"][old + judged.rows] = judged.decisions.reasons
    if old:
        columns["quality"][:old] = scratch.numbers(parent, "quality")
    fates = np.bincount(made.fate[new], minlength=len(FATES)).tolist()
    left_out = {FATES[code]: fates[code] for code in range(1, len(FATES))} | {"already_learned": int(learned.sum())}
    stratum, names = scratch.strata(every)
    return Choice(
        columns, int((made.fate == KEPT).sum()), fates[KEPT], {k: v for k, v in left_out.items() if v}, names, stratum
    )


def _facts(parent: Sequence[Part], parts: Sequence[Part], judged: Judged, chosen: I64) -> tuple[I64, Rows]:
    """Return the parent's rows and the accepted new ones in the order of their content, with their facts."""
    every, old = [*parent, *parts], scratch.total_rows(parent)
    row = np.concatenate([np.arange(old), old + judged.rows[chosen]])
    side = np.full(len(row), NO_SIDE, dtype=np.int8)
    composite = np.concatenate([np.zeros(old), judged.decisions.composite[chosen]])
    if old:
        side[:old] = scratch.numbers(parent, "side")
        composite[:old] = scratch.numbers(parent, "composite")
    id_key = scratch.numbers(every, "id_key")[row]
    order = np.argsort(id_key, kind="stable")
    row = row[order]
    keys = tuple(scratch.numbers(every, name)[row] for name in ("subject_key", "session_key", "prompt_key"))
    exact = scratch.numbers(every, "exact")[row]
    stratum = scratch.strata(every)[0][row]
    return row, Rows(exact, composite[order], side[order], stratum, keys, id_key[order])


def _near_pairs(parts: Sequence[Part], rows: I64, policy: CurationPolicy, folder: Path, run: Map) -> Pairs:
    """Return all pairs of `rows` (by position) that are near-duplicates."""
    found = run("find near-duplicates", near.find_candidates, near.band_pieces(parts, rows, folder))
    pairs = distinct(*(np.concatenate([each[side] for each in found]) for side in (0, 1)))
    pieces = near.pair_pieces(parts, rows, pairs, policy.near_duplicate_jaccard)
    similar = np.concatenate([np.zeros(0, dtype=bool), *run("verify near-duplicates", near.verify, pieces)])
    return Pairs(pairs.left[similar], pairs.right[similar])


def _spread(n: int, rows: I64, values: NDArray[Any], missing: float) -> NDArray[Any]:
    """Return an array of n values: `values` at `rows`, `missing` elsewhere."""
    spread = np.full(n, missing, dtype=values.dtype)
    spread[rows] = values
    return spread
