"""The third step of making a dataset: the chosen rows become a version, unless it would be its parent again."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from flows.choose import DECISIONS, Choice, Map
from registry import __version__
from registry.datasets import Change, DatasetStore, content_digest, file_digest, next_version
from registry.records import SPLITS, DatasetManifest, LogWindow, Reason, SplitFile, Stratum
from tasks.curation.cluster import distinct_values
from tasks.curation.policy import CurationPolicy
from tasks.curation.scratch import Part
from tasks.curation.shards import Shard, ShardPiece, save_plan, shard_count, write_shard
from tasks.extraction.policy import ExtractionPolicy
from tasks.filtering.policy import FilteringPolicy
from tasks.screening.policy import ScreeningPolicy
from tasks.sources.standing import EVERYBODY, Standing

NO_DATA = {"extraction": {"max_reject_share", "max_raw_bytes", "partition_bytes"}}
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
    def screening(self) -> ScreeningPolicy:
        """Accepted examples → those that nobody planted."""
        ...

    @property
    def curation(self) -> CurationPolicy:
        """Accepted examples → a dataset version."""
        ...


class Build(NamedTuple):
    """What all steps of making one version share."""

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
    log: LogWindow | None = None
    standing: Standing = EVERYBODY
    forgotten: Sequence[int] = ()
    """Keys of events that were erased."""
    attempted: Callable[[dict[str, int]], object] | None = None
    """Is told of events that were left alone, by source, before anything can fail for them."""


class Written(NamedTuple):
    """The version that the chosen rows are, and where it lies."""

    manifest: DatasetManifest
    path: Path
    decisions: Path


def write_version(
    build: Build, parts: list[Part], choice: Choice, redacted: Counter[str], corrected: Counter[str]
) -> Written:
    """Write the next version, unless it would be the parent again, and `decisions.parquet`.

    Args:
        build: What is made.
        parts: The parent's parts, then the new ones.
        choice: What becomes of every row.
        redacted: Values replaced in the new examples, by kind.
        corrected: Values replaced in the parent's examples, by kind.

    Raises:
        CurationError: E7212 another writer was faster.
        SettingsError: E782x the disk is full or cannot be written to.
    """
    policy, parent = data_policy(build.policy), build.parent
    change = Change(
        policy=parent is not None and parent.policy != policy,
        added=choice.added,
        removed=corrected.total() + choice.withdrawn,
    )
    version = next_version(parent.version if parent else None, change)
    if version is None:
        assert parent is not None
        decisions = _move_decisions(build, len(_write_shards(build, parts, choice, None)))
        return Written(parent, build.store.path(build.name, parent.version), decisions)
    with build.store.writing(build.name) as staging:
        shards = _write_shards(build, parts, choice, staging)
        decisions = _move_decisions(build, len(shards))
        manifest = _manifest(build, version, choice, redacted + corrected, shards, _files(staging, shards))
        return Written(manifest, build.store.commit(staging, manifest), decisions)


def _manifest(
    build: Build, version: str, choice: Choice, redacted: Counter[str], shards: list[Shard], files: list[SplitFile]
) -> DatasetManifest:
    events = np.sort(np.concatenate([found for shard in shards for found in shard.events.values()]))
    policy = data_policy(build.policy)
    return DatasetManifest(
        name=build.name,
        version=version,
        digest=content_digest(files, policy),
        parent=build.parent.version if build.parent else None,
        splits={split: sum(file.rows for file in files if file.split == split) for split in SPLITS},
        redacted=dict(sorted(redacted.items())),
        exact_duplicates=choice.left_out.get("exact_duplicate", 0),
        near_duplicates=choice.left_out.get("near_duplicate", 0),
        left_out=choice.left_out,
        suspected=list(choice.suspected),
        strata=_strata(choice),
        source_events=len(events),
        log=build.log,
        source_digest=hashlib.sha256(events.astype("<u8").tobytes()).hexdigest(),
        policy=policy,
        code_version=__version__,
        files=files,
    )


def _write_shards(build: Build, parts: list[Part], choice: Choice, staging: Path | None) -> list[Shard]:
    save_plan(build.work / "plan", choice.columns)
    shards = shard_count(choice.kept, build.buckets)
    reasons = tuple(str(reason.name).lower() for reason in Reason)
    (build.work / "decisions").mkdir(exist_ok=True)
    pieces = [
        ShardPiece(
            tuple(parts), str(build.work / "plan"), number, shards, build.buckets, str(staging) if staging else None,
            str(build.work / "decisions" / f"part-{number:05d}.parquet"), DECISIONS, reasons,
        )
        for number in range(shards)
    ]  # fmt: skip
    return list(build.run("write dataset", write_shard, pieces))


def _move_decisions(build: Build, shards: int) -> Path:
    made, final = build.work / "decisions", build.out / "decisions.parquet"
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
    side, group = choice.columns["side"].astype(np.int64), choice.columns["group"]
    kept = np.flatnonzero(side >= 0)
    cells = np.bincount(choice.stratum[kept] * 3 + side[kept], minlength=3 * len(choice.strata)).reshape(-1, 3).tolist()
    _, label = np.unique(group[kept], return_inverse=True)
    pairs = distinct_values((label.reshape(-1) * len(choice.strata) + choice.stratum[kept]).astype(np.uint64))
    groups = np.bincount(pairs.astype(np.int64) % len(choice.strata), minlength=len(choice.strata)).tolist()
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
        "extraction": policy.extraction.model_dump(mode="json", exclude=NO_DATA["extraction"]),
        "filtering": policy.filtering.model_dump(mode="json"),
        "screening": policy.screening.model_dump(mode="json"),
        "curation": policy.curation.model_dump(mode="json"),
    }
