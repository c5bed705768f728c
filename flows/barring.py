"""Whose events may teach: what the steps of making a dataset ask of the sources' standing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

import pyarrow as pa

from flows.survey import Surveyed
from registry.errors import CurationError, listed
from registry.source_names import canonical_pattern, places
from tasks.curation.policy import Kind
from tasks.curation.redact import redact
from tasks.extraction.brigading import Burst
from tasks.sources.policy import SourcePolicy
from tasks.sources.standing import Standing

MOST_NAMES = 4_096
SHOWN = 5
DIGEST = "sha256:"
"""How the name begins that a source with an address or a secret in it goes by."""


class Bars:
    """Tells whether a source may not teach, however its name is spelled, also by that which it has in a dataset."""

    def __init__(self, standing: Standing, kinds: tuple[Kind, ...]) -> None:
        allow = tuple(map(canonical_pattern, standing.policy.allow))
        self._standing = standing._replace(policy=standing.policy.model_copy(update={"allow": allow}))
        self._kinds = kinds
        self._by_digest = any(standing.state(name) == "blocked" for name in standing.states if name.startswith(DIGEST))

    def __call__(self, source: str) -> bool:
        """Tell whether nothing of a source may be learned."""
        standing, (name, *above) = self._standing, places(source)
        return standing.bars(name, above) or (
            self._by_digest and any(standing.state(known_as(each, self._kinds)) == "blocked" for each in {source, name})
        )


@lru_cache(MOST_NAMES)
def known_as(source: str, kinds: Collection[Kind]) -> str:
    """Return the name of a source as it is recorded: a digest for one that holds an address or a secret."""
    row = {"example_id": [""], "messages": ["[]"], "event_source": [source]}
    schema = pa.schema([("example_id", pa.string()), ("messages", pa.large_string()), ("event_source", pa.string())])
    return str(redact(pa.table(row, schema), kinds).table["event_source"][0].as_py())


def bars_of(standing: Standing, kinds: tuple[Kind, ...]) -> Callable[[str], bool] | None:
    """Return what tells whether a source may not teach; None where every one may."""
    return Bars(standing, kinds) if standing.bars_some else None


def burst_of(policy: SourcePolicy) -> Burst | None:
    """Return what a burst of feedback is; None where none is looked for."""
    return None if policy.burst_votes is None else Burst(policy.burst_votes, policy.burst_minutes)


def barred_events(surveyed: Sequence[Surveyed], kinds: tuple[Kind, ...]) -> dict[str, int]:
    """Return the number of events that were left alone by source, as sources are recorded."""
    counts: Counter[str] = Counter()
    for each in surveyed:
        for source, count in each.counts.barred.items():
            counts[known_as(source, kinds)] += count
    return dict(sorted(counts.items()))


def check_someone_may_teach(barred: dict[str, int], traces: int) -> None:
    """Stop when every trace was left alone.

    Raises:
        CurationError: E7238 no source of the input may teach.
    """
    if traces or not barred:
        return
    names = listed([f"{source[:200]!r} ({count:,} events)" for source, count in barred.items()], SHOWN)
    raise CurationError(
        "E7238",
        f"nothing to learn from: the sources of all traces are barred: {names}",
        "`ratchet sources show SOURCE` tells why; `ratchet sources trust SOURCE` or sources.allow lets one teach",
    )
