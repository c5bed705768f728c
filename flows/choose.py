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
from registry.errors import CurationError
from registry.records import ExampleCounts, SuspectedWords
from registry.source_names import canonical
from tasks.curation import near, scratch
from tasks.curation.cluster import Pairs, distinct
from tasks.curation.groups import NO_SIDE
from tasks.curation.plan import FATES, KEPT, Rows, drop_exact, drop_near, mixed, plan
from tasks.curation.policy import CurationPolicy
from tasks.curation.scratch import Part
from tasks.curation.shards import NOT_DECIDED
from tasks.extraction.keys import among
from tasks.extraction.resolve import Resolution
from tasks.filtering.decide import ACCEPT, STATUSES, Decisions, check_accepted, decide, example_counts
from tasks.filtering.distributions import Distributions, distributions
from tasks.filtering.features import FEATURES
from tasks.filtering.policy import FilteringPolicy
from tasks.sources.caps import within
from tasks.sources.standing import EVERYBODY, Standing, limits

OVER_SHARE = ("over_source_share", "over_domain_share")
"""Left out because a source, or a domain, would have too large a share (`tasks.sources.caps`)."""
ACCEPTED_FATES = ("accepted", *FATES[1:], *OVER_SHARE, "already_learned", "erased")
DECISIONS = (*ACCEPTED_FATES, *(status.lower() for status in STATUSES[1:]), "duplicate_event")
"""What may be decided of an example, by code. `accepted` examples are in the dataset; those behind them were good
enough but are left out; then come REVIEW and REJECT of the filter."""
LEARNED, DUPLICATE_EVENT = DECISIONS.index("already_learned"), DECISIONS.index("duplicate_event")
GONE = DECISIONS.index("erased")
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
    withdrawn: int = 0
    """Rows that the parent version has and this one has not: their source is barred now, or they are suspected."""
    suspected: Sequence[SuspectedWords] = ()
    """Words whose examples went to review, now or before."""


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
    check_accepted(example_counts(decisions))
    return as_judged(parts, rows, decisions, resolution.quality[rows])


def as_judged(parts: Sequence[Part], rows: I64, decisions: Decisions, quality: Floats) -> Judged:
    """Return decisions with what they amount to."""
    codes, names = scratch.strata(parts)
    domains, difficulties = (_names([name[i] for name in names], codes[rows]) for i in (0, 1))
    shapes = distributions(domains, difficulties, quality, decisions)
    return Judged(rows, decisions, quality, example_counts(decisions), shapes)


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
    standing: Standing = EVERYBODY,
    forgotten: Sequence[int] = (),
    leaving: I64 | None = None,
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
        standing: Whose share is limited.
        forgotten: Keys of events that were erased: what comes of them again is not learned.
        leaving: Rows of the parent that the next version has no more; None for none.

    Raises:
        CurationError: E7236 the limits of shares leave next to nothing.
    """
    every, old = [*parent, *parts], scratch.total_rows(parent)
    accepted = judged.decisions.status == ACCEPT
    learned, gone = (accepted & each for each in _known(parent, parts, judged.rows, forgotten))
    row, facts = _facts(parent, parts, judged, np.flatnonzero(accepted & ~learned & ~gone), leaving)
    single = drop_exact(facts)
    remaining = single[drop_near(facts.take(single), _near_pairs(every, row[single], policy, folder, run))]
    fits = _within_shares(every, row[remaining], facts, remaining, standing, seed)
    made = plan(facts, single, remaining[fits.keep], policy, seed)
    over = remaining[~fits.keep]
    made.fate[over] = len(FATES) + fits.kind[~fits.keep]

    n = old + scratch.total_rows(parts)
    decision = np.full(n, NOT_DECIDED, dtype=np.uint8)
    decision[old:] = DUPLICATE_EVENT
    decision[old + judged.rows] = judged.decisions.status + len(ACCEPTED_FATES) - 1
    decision[old + judged.rows[learned]] = LEARNED
    decision[old + judged.rows[gone]] = GONE
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
    fated = ACCEPTED_FATES[:LEARNED]
    fates = np.bincount(made.fate[new], minlength=len(fated)).tolist()
    left_out = dict(zip(fated[1:], fates[1:], strict=True)) | {
        "already_learned": int(learned.sum()), "erased": int(gone.sum()),
    }  # fmt: skip
    stratum, names = scratch.strata(every)
    return Choice(
        columns, int((made.fate == KEPT).sum()), fates[KEPT], {k: v for k, v in left_out.items() if v}, names, stratum
    )


def _known(
    parent: Sequence[Part], parts: Sequence[Part], rows: I64, forgotten: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which new rows the parent has learned already, and which others come of events that were erased."""
    keys = scratch.numbers(parts, "event_key")[rows].astype(np.uint64)
    learned = among(keys, scratch.numbers(parent, "event_key").astype(np.uint64))
    return learned, among(keys, np.array(forgotten, np.uint64)) & ~learned


class _Fits(NamedTuple):
    keep: NDArray[np.bool_]
    kind: I64
    """Place in `OVER_SHARE` of rows that are left out."""


def _within_shares(
    parts: Sequence[Part], rows: I64, facts: Rows, remaining: I64, standing: Standing, seed: int
) -> _Fits:
    """Return which of the remaining rows the limits of shares let in.

    Who stays is drawn: an order that the rows' own scores decide would let a source choose.
    """
    if not standing.limits_shares:
        return _Fits(np.ones(len(rows), dtype=bool), np.zeros(len(rows), dtype=np.int64))
    source, spelled = scratch.sources(parts)
    names: dict[str, int] = {}
    source = np.array([names.setdefault(canonical(name), len(names)) for name in spelled], dtype=np.int64)[source]
    strata, of = scratch.strata(parts)
    domains = sorted({domain for domain, _ in of})
    domain = np.array([domains.index(each) for each, _ in of], dtype=np.int64)[strata[rows]]
    found = limits(standing, list(names), source[rows], domain)
    fixed = facts.side[remaining] != NO_SIDE
    kept = within(found, fixed, np.argsort(mixed(facts.id_key[remaining], seed), kind="stable"))
    if 10 * kept.keep.sum() < len(rows):
        raise CurationError(
            "E7236",
            f"the limits of shares in the policy section sources leave {kept.keep.sum():,} of {len(rows):,} examples",
            "trust a source that you know (`ratchet sources trust`), block one that brings next to nothing, or raise "
            "the limits",
        )
    kinds = np.array([OVER_SHARE.index(f"over_{limit.kind}_share") for limit in found] + [0], dtype=np.int64)
    return _Fits(kept.keep, kinds[kept.kind])


def _facts(
    parent: Sequence[Part], parts: Sequence[Part], judged: Judged, chosen: I64, leaving: I64 | None
) -> tuple[I64, Rows]:
    """Return the parent's rows and the accepted new ones in the order of their content, with their facts."""
    every, old = [*parent, *parts], scratch.total_rows(parent)
    row = np.concatenate([np.arange(old), old + judged.rows[chosen]])
    side = np.full(len(row), NO_SIDE, dtype=np.int8)
    composite = np.concatenate([np.zeros(old), judged.decisions.composite[chosen]])
    if old:
        side[:old] = scratch.numbers(parent, "side")
        composite[:old] = scratch.numbers(parent, "composite")
    if leaving is not None:
        stays = ~np.isin(row, leaving)
        row, side, composite = row[stays], side[stays], composite[stays]
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
