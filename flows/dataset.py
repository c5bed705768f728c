"""Events → a dataset version, in steps of which the first and the last run in pieces on any workers.

    survey   a partition a piece: extract → features → redact → fingerprint → scratch          (flows.survey)
    screen   accepted examples that look planted go to review                                   (flows.screening)
    choose   on numbers: resolve → decide → exact and near-duplicates → group → split          (flows.choose)
    write    a range of example_id a piece: the kept rows of all parts → Parquet               (flows.version)

A version holds its parent's examples, on their sides, and the new ones; what the policy redacts, it redacts in both.
Nothing in it depends on how the input was cut into partitions or on the number of workers.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from flows.barring import barred_events, bars_of, burst_of, check_someone_may_teach
from flows.choose import Map, choose, judge
from flows.screening import SuspectedGroup, screen_examples
from flows.survey import Surveyed, SurveyPiece, collect_rejects, resolve_numbers, survey
from flows.version import Build, DataPolicy, write_version
from registry import __version__
from registry.datasets import DatasetStore, guarded
from registry.records import DatasetManifest, EventCounts, ExampleCounts, LogWindow, Record
from tasks.curation.plan import check_splits
from tasks.curation.prepare import Prepared, kinds_left, parent_pieces, prepare_parent
from tasks.curation.scratch import numbers, total_rows
from tasks.extraction.inputs import Input, split_inputs
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import check_reject_share
from tasks.extraction.resolve import resolve
from tasks.sources.standing import EVERYBODY, Standing

BUCKET_BYTES = 16 * 1024 * 1024
MAX_BUCKETS = 256


class BuildResult(Record):
    """What became of the events."""

    manifest: DatasetManifest
    path: Path
    unchanged: bool
    """No example was added and the policy is the parent's: `manifest` is the parent's, and nothing was written."""
    events: EventCounts
    examples: ExampleCounts
    left_out: dict[str, int]
    """Accepted examples of this run that are not in the dataset, by reason."""
    redacted: dict[str, int]
    """Values replaced in the examples of this run, by kind; `manifest.redacted` has those of the parent's rows too."""
    rejects: Path
    """`rejects.jsonl` in `out`."""
    decisions: Path
    """`decisions.parquet` in `out`: what was decided of every example, without its text; a folder of files where there
    are many (`tasks.curation.shards.read_decisions` reads both)."""
    before: dict[str, dict[str, int]]
    """Counts of all examples by domain, difficulty, quality and score."""
    after: dict[str, dict[str, int]]
    """The same of the accepted ones."""
    barred: dict[str, int] = Field(default_factory=dict)
    """Events that were left alone because their source may not teach, by source."""
    withdrawn: int = 0
    """Examples of the parent that went, because their source may not teach any more."""
    suspected: list[SuspectedGroup] = Field(default_factory=list)
    """Groups of examples that went to review because they look planted, with the evidence; `suspected.json` in `out`
    has the same."""


def in_process(name: str, function: Callable[[Any], Any], items: Sequence[Any], /) -> list[Any]:
    """Apply `function` to one item after the other, here."""
    return [function(item) for item in items]


def build_dataset(
    inputs: Sequence[Input],
    policy: DataPolicy,
    store: DatasetStore,
    name: str,
    *,
    seed: int,
    scratch: Path,
    out: Path,
    run: Map = in_process,
    partition_bytes: int | None = None,
    log: LogWindow | None = None,
    standing: Standing = EVERYBODY,
    forgotten: Sequence[int] = (),
    attempted: Callable[[dict[str, int]], object] | None = None,
) -> BuildResult:
    """Make the next version of a dataset from its newest version and new events.

    Args:
        inputs: Event files (`tasks.extraction.inputs.find_inputs`).
        policy: What is extracted, accepted and kept.
        store: Where versions are.
        name: Name of the dataset.
        seed: Of the outlier forest and of ties between groups.
        scratch: Folder for work in progress, which every worker can reach.
        out: Folder for `rejects.jsonl` and `decisions.parquet`.
        run: Does the pieces of a step, such as a process pool or mapped Prefect tasks. It does not change the result.
        partition_bytes: Input bytes a piece, where it is not the policy's. It does not change the result either.
        log: What of the event log the inputs are; recorded with the version.
        standing: Which sources may teach, and how much.
        forgotten: Keys of events that were erased (`registry.erasure.plan.forgotten`).
        attempted: Is told how many events of barred sources there were, by source, also where the build then fails.

    Raises:
        ExtractionError: E7002 unreadable input, E7010 to E7012 too few of the lines are events.
        FilteringError: E7101 to E7103 nothing to learn from.
        CurationError: E7210 the name cannot be used, E7212 another writer was faster, E7213 a split would be empty.
        SettingsError: E782x the disk is full or cannot be written to.
        IntegrityError: E791x the parent version is not what was written.
    """
    parent = store.manifest(name) if store.latest(name) else None
    with guarded(scratch):
        out.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dataset-", dir=scratch, ignore_cleanup_errors=True) as work:
            size = (
                sum(Path(item.path).stat().st_size for item in inputs)
                + sum(parent.splits.values() if parent else ()) * 1500
            )
            build = Build(
                policy,
                store,
                name,
                seed,
                Path(work),
                out,
                run,
                parent,
                _buckets(size),
                log,
                standing,
                forgotten,
                attempted,
            )
            extraction = policy.extraction
            if partition_bytes is not None:
                extraction = extraction.model_copy(update={"partition_bytes": partition_bytes})
            return _build(build, inputs, extraction)


def _build(build: Build, inputs: Sequence[Input], extraction: ExtractionPolicy) -> BuildResult:
    surveyed, rejects = _survey(build, inputs, extraction)
    prepared = _prepare_parent(build)
    parent, parts = [each.part for each in prepared], [each.part for each in surveyed]
    learned = numbers(parent, "trace_key").astype(np.uint64)
    burst = burst_of(build.standing.policy)
    resolution = resolve(resolve_numbers(surveyed), extraction.score_spread, known_traces=learned, burst=burst)
    del learned
    events = resolution.events
    _give_memory_back()
    check_reject_share(events, extraction)
    barred = barred_events(surveyed, build.policy.curation.redact)
    if build.attempted is not None:
        build.attempted(barred)
    check_someone_may_teach(barred, total_rows(parts))
    judged = judge(parts, resolution, build.policy.filtering, build.seed)
    del resolution
    _give_memory_back()
    screened = screen_examples(build, parent, parts, judged)
    judged = screened.judged
    choice = choose(
        parent, parts, judged, build.policy.curation, build.seed, build.work, build.run, build.standing,
        build.forgotten,
        screened.leaving,
    )  # fmt: skip
    withdrawn = (sum(build.parent.splits.values()) if build.parent else 0) - total_rows(parent)
    choice = choice._replace(withdrawn=withdrawn + len(screened.leaving), suspected=screened.words)
    check_splits(choice.columns["side"], choice.columns["group"], build.policy.curation, build.name)
    examples, shapes = judged.counts, judged.distributions
    del judged
    _give_memory_back()
    redacted, corrected = _counted(surveyed), _counted(prepared)
    written = write_version(build, [*parent, *parts], choice, redacted, corrected)
    return BuildResult(
        manifest=written.manifest,
        path=written.path,
        unchanged=build.parent is not None and written.manifest.version == build.parent.version,
        events=events,
        examples=examples,
        left_out=choice.left_out,
        redacted=dict(sorted(redacted.items())),
        rejects=rejects,
        decisions=written.decisions,
        before=shapes.before._asdict(),
        after=shapes.after._asdict(),
        barred=barred,
        withdrawn=withdrawn,
        suspected=screened.groups,
    )


def _give_memory_back() -> None:
    """Give freed memory back to the system: the C library keeps what came in pieces of less than 32 MiB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def _survey(build: Build, inputs: Sequence[Input], extraction: ExtractionPolicy) -> tuple[list[Surveyed], Path]:
    """Survey all partitions and write `rejects.jsonl`."""
    raw = build.out / ".rejects"
    shutil.rmtree(raw, ignore_errors=True)  # of a run that was killed
    raw.mkdir()
    bars = bars_of(build.standing, build.policy.curation.redact)
    try:
        pieces = [
            SurveyPiece(
                partition, extraction, build.policy.curation.redact, str(build.work), str(raw), build.buckets, bars
            )
            for partition in split_inputs(inputs, extraction.partition_bytes)
        ]
        surveyed = [each for several in build.run("read events", survey, pieces) for each in several]
        return surveyed, collect_rejects(surveyed, build.out)
    finally:
        shutil.rmtree(raw, ignore_errors=True)


def _prepare_parent(build: Build) -> list[Prepared]:
    if build.parent is None:
        return []
    files = list(zip(build.store.files(build.parent), (file.split for file in build.parent.files), strict=True))
    bars = bars_of(build.standing, build.policy.curation.redact)
    kinds = kinds_left(build.policy.curation.redact, build.parent, __version__)
    return list(
        build.run("read parent version", prepare_parent, parent_pieces(files, kinds, build.work, build.buckets, bars))
    )


def _counted(pieces: Sequence[Surveyed | Prepared]) -> Counter[str]:
    """Return how many values were replaced, by kind."""
    return sum((Counter(each.redacted) for each in pieces), Counter[str]())


def _buckets(size: int) -> int:
    """Return into how many ranges of example_id about `size` bytes are cut, a power of two."""
    buckets = 1
    while buckets * BUCKET_BYTES < size and buckets < MAX_BUCKETS:
        buckets *= 2
    return buckets
