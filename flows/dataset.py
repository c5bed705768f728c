"""Events → a dataset version, in three steps of which two run in pieces on any workers.

    survey   a partition a piece: extract → features → redact → fingerprint → scratch          (flows.survey)
    choose   on numbers: resolve → decide → exact and near-duplicates → group → split          (flows.choose)
    write    a range of example_id a piece: the kept rows of all parts → Parquet               (tasks.curation.shards)

A version holds its parent's examples, on their sides, and the new ones. Nothing in it depends on how the input was cut
into partitions or on the number of workers.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from flows.choose import DECISIONS, Choice, Map, choose, judge
from flows.survey import Surveyed, SurveyPiece, collect_rejects, resolve_numbers, survey
from registry import __version__
from registry.datasets import Change, DatasetStore, content_digest, file_digest, guarded, next_version
from registry.records import (
    SPLITS,
    DatasetManifest,
    EventCounts,
    ExampleCounts,
    Reason,
    Record,
    SplitFile,
    Stratum,
)
from tasks.curation.policy import CurationPolicy
from tasks.curation.prepare import parent_pieces, prepare_parent
from tasks.curation.scratch import Part
from tasks.curation.shards import Shard, ShardPiece, save_plan, shard_count, write_shard
from tasks.extraction.inputs import Input, split_inputs
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import check_reject_share
from tasks.extraction.resolve import resolve
from tasks.filtering.policy import FilteringPolicy

BUCKET_BYTES = 32 * 1024 * 1024
MAX_BUCKETS = 256
NO_DATA = {"extraction": ("max_reject_share", "max_raw_bytes", "partition_bytes")}
"""Settings that do not change what is in a dataset."""


class DataPolicy(Protocol):
    """The policies behind a dataset; `flows.policy.Policy` has them."""

    @property
    def extraction(self) -> ExtractionPolicy:
        """Events → examples."""
        ...

    @property
    def filtering(self) -> FilteringPolicy:
        """Examples → ACCEPT, REVIEW or REJECT."""
        ...

    @property
    def curation(self) -> CurationPolicy:
        """Accepted examples → a dataset version."""
        ...


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
    """Values replaced in the examples of this run, by kind."""
    rejects: Path
    """`rejects.jsonl` in `out`."""
    decisions: Path | None
    """`decisions.parquet` in `out`: what was decided of every example, without its text; for large runs a folder of files.
    None where nothing was written."""
    before: dict[str, dict[str, int]]
    """Counts of all examples by domain, difficulty, quality and score."""
    after: dict[str, dict[str, int]]
    """The same of the accepted ones."""


class _Job(NamedTuple):
    """What all steps of one build share."""

    policy: DataPolicy
    store: DatasetStore
    name: str
    seed: int
    work: Path
    """Scratch of this build alone; removed at its end."""
    out: Path
    run: Map
    parent: DatasetManifest | None
    buckets: int


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
        run: Does the pieces of a step, such as a process pool or mapped Prefect tasks. The result does not depend on it.
        partition_bytes: Input bytes a piece, where it is not the policy's. The result does not depend on it either.

    Raises:
        ExtractionError: E7002 unreadable input, E7010 to E7012 too few of the lines are events.
        FilteringError: E7101 to E7103 nothing to learn from.
        CurationError: E7210 the name cannot be used, E7212 another writer was faster.
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
            job = _Job(policy, store, name, seed, Path(work), out, run, parent, _buckets(size))
            extraction = policy.extraction
            if partition_bytes is not None:
                extraction = extraction.model_copy(update={"partition_bytes": partition_bytes})
            return _build(job, inputs, extraction)


def _build(job: _Job, inputs: Sequence[Input], extraction: ExtractionPolicy) -> BuildResult:
    surveyed, rejects = _survey(job, inputs, extraction)
    parts = [each.part for each in surveyed]
    resolution = resolve(list(resolve_numbers(surveyed)), extraction.score_spread)
    events = resolution.events
    check_reject_share(events, extraction)
    judged = judge(parts, resolution, job.policy.filtering, job.seed)
    del resolution
    parent = _parent_parts(job)
    choice = choose(parent, parts, judged, job.policy.curation, job.seed, job.work, job.run)
    redacted = sum((Counter(each.redacted) for each in surveyed), Counter[str]())
    manifest, path, decisions = _write(job, [*parent, *parts], choice, dict(sorted(redacted.items())))
    return BuildResult(
        manifest=manifest,
        path=path,
        unchanged=job.parent is not None and manifest.version == job.parent.version,
        events=events,
        examples=judged.counts,
        left_out=choice.left_out,
        redacted=dict(sorted(redacted.items())),
        rejects=rejects,
        decisions=decisions,
        before=judged.distributions.before._asdict(),
        after=judged.distributions.after._asdict(),
    )


def _survey(job: _Job, inputs: Sequence[Input], extraction: ExtractionPolicy) -> tuple[list[Surveyed], Path]:
    """Survey all partitions and write `rejects.jsonl`."""
    raw = job.out / ".rejects"
    shutil.rmtree(raw, ignore_errors=True)  # of a run that was killed
    raw.mkdir()
    try:
        pieces = [
            SurveyPiece(partition, extraction, job.policy.curation.redact, str(job.work), str(raw), job.buckets)
            for partition in split_inputs(inputs, extraction.partition_bytes)
        ]
        surveyed = [each for several in job.run("read events", survey, pieces) for each in several]
        return surveyed, collect_rejects(surveyed, job.out)
    finally:
        shutil.rmtree(raw, ignore_errors=True)


def _parent_parts(job: _Job) -> list[Part]:
    if job.parent is None:
        return []
    files = list(zip(job.store.files(job.parent), (file.split for file in job.parent.files), strict=True))
    return list(job.run("read parent version", prepare_parent, parent_pieces(files, job.work, job.buckets)))


def _write(
    job: _Job, parts: list[Part], choice: Choice, redacted: dict[str, int]
) -> tuple[DatasetManifest, Path, Path | None]:
    """Write the next version, unless it would be the parent again."""
    policy = data_policy(job.policy)
    change = Change(policy=job.parent is not None and job.parent.policy != policy, added=choice.added, removed=0)
    version = next_version(job.parent.version if job.parent else None, change)
    with job.store.writing(job.name) as staging:
        shards = _write_shards(job, parts, choice, staging)
        decisions = _move_decisions(job, len(shards))
        if version is None:
            assert job.parent is not None
            return job.parent, job.store.path(job.name, job.parent.version), decisions
        files = _files(staging, shards)
        events = np.sort(np.concatenate([found for shard in shards for found in shard.events.values()]))
        manifest = DatasetManifest(
            name=job.name,
            version=version,
            digest=content_digest(files, policy),
            parent=job.parent.version if job.parent else None,
            splits={split: sum(file.rows for file in files if file.split == split) for split in SPLITS},
            redacted=redacted,
            exact_duplicates=choice.left_out.get("exact_duplicate", 0),
            near_duplicates=choice.left_out.get("near_duplicate", 0),
            left_out=choice.left_out,
            strata=_strata(choice),
            source_events=len(events),
            source_digest=hashlib.sha256(events.astype("<u8").tobytes()).hexdigest(),
            policy=policy,
            code_version=__version__,
            files=files,
        )
        return manifest, job.store.commit(staging, manifest), decisions


def _write_shards(job: _Job, parts: list[Part], choice: Choice, staging: Path) -> list[Shard]:
    save_plan(job.work / "plan", choice.columns)
    shards = shard_count(choice.kept, job.buckets)
    reasons = tuple(str(reason.name).lower() for reason in Reason)
    (job.work / "decisions").mkdir(exist_ok=True)
    pieces = [
        ShardPiece(
            tuple(parts), str(job.work / "plan"), number, shards, job.buckets, str(staging),
            str(job.work / "decisions" / f"part-{number:05d}.parquet"), DECISIONS, reasons,
        )
        for number in range(shards)
    ]  # fmt: skip
    return list(job.run("write dataset", write_shard, pieces))


def _move_decisions(job: _Job, shards: int) -> Path:
    made, final = job.work / "decisions", job.out / "decisions.parquet"
    if final.is_dir():
        shutil.rmtree(final)
    if shards > 1:
        final.unlink(missing_ok=True)
        shutil.move(made, final)
    else:
        shutil.move(made / "part-00000.parquet", final)
    return final


def _files(staging: Path, shards: list[Shard]) -> list[SplitFile]:
    written = [file for shard in shards for file in shard.files]
    return [
        SplitFile(path=name, split=split, rows=rows, sha256=file_digest(staging / name))
        for split, name, rows in sorted(written, key=lambda file: (SPLITS.index(file[0]), file[1]))
    ]


def _strata(choice: Choice) -> list[Stratum]:
    """Count kept examples and groups by stratum."""
    side, group = choice.columns["side"], choice.columns["group"]
    kept = np.flatnonzero(side >= 0)
    cells = np.bincount(choice.stratum[kept] * 3 + side[kept], minlength=3 * len(choice.strata)).reshape(-1, 3).tolist()
    _, label = np.unique(group[kept], return_inverse=True)
    pairs = np.unique(label.reshape(-1) * len(choice.strata) + choice.stratum[kept])
    groups = np.bincount(pairs % len(choice.strata), minlength=len(choice.strata)).tolist()
    return [
        Stratum(
            domain=domain, difficulty=difficulty, train=cell[0], validation=cell[1], test=cell[2], groups=groups[place]
        )
        for place, ((domain, difficulty), cell) in enumerate(zip(choice.strata, cells, strict=True))
        if sum(cell)
    ]


def data_policy(policy: DataPolicy) -> dict[str, Any]:
    """Return the part of a policy that decides what is in a dataset."""
    return {
        "extraction": policy.extraction.model_dump(mode="json", exclude=set(NO_DATA["extraction"])),
        "filtering": policy.filtering.model_dump(mode="json"),
        "curation": policy.curation.model_dump(mode="json"),
    }


def _buckets(size: int) -> int:
    """Return into how many ranges of example_id about `size` bytes are cut, a power of two."""
    buckets = 1
    while buckets * BUCKET_BYTES < size and buckets < MAX_BUCKETS:
        buckets *= 2
    return buckets
