"""Events → a dataset version. (thin: signature first)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from registry.datasets import DatasetStore
from registry.records import DatasetManifest, EventCounts, ExampleCounts


class Map(Protocol):
    """Any way to apply a function to items: in this process, in others, as Prefect tasks."""

    def __call__(self, name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return the results in the order of the items; `name` is what a watcher sees."""
        ...


def in_process(name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Apply `function` to one item after the other, here."""
    return [function(item) for item in items]


class BuildResult(NamedTuple):
    """What became of the events."""

    manifest: DatasetManifest
    path: Path
    unchanged: bool
    """Nothing was added and the policy is the parent's: `manifest` is the parent's, and nothing was written."""
    events: EventCounts
    examples: ExampleCounts
    rejects: Path
    """`rejects.jsonl` in `out`."""
    decisions: Path
    """`decisions.parquet` in `out`: what was decided of each example, without its text."""
    before: dict[str, Any]
    """Distributions of all examples: {"domain": {name: count}, "difficulty": {...}, "quality": [...]}"""
    after: dict[str, Any]
    """The same of the accepted ones."""


def build_dataset(
    inputs: Sequence[Any],  # tasks.extraction.inputs.Input, of find_inputs
    policy: Any,  # flows.policy.Policy, or anything with .extraction, .filtering and .curation
    store: DatasetStore,
    name: str,
    *,
    seed: int,
    scratch: Path,
    out: Path,
    run: Map = in_process,
) -> BuildResult:
    """Make the next version of dataset `name` from its latest version and new events."""
    raise NotImplementedError
