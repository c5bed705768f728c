"""Make a dataset version again from its events, in a sandbox, and see whether its digest is the same.

When a version is made, its inputs are noted: name, place and digest of each file, the window of the event log, the
policy and the seed. From these a version and all versions below it are made again, the oldest first.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic

from flows.dataset import BuildResult, build_dataset
from flows.log_input import known_keys, written
from flows.policy import Policy
from flows.settings import Settings
from flows.sources import standing_of
from flows.stores import Stores, open_stores
from registry import __version__
from registry.datasets import DatasetStore
from registry.errors import CurationError, IntegrityError, RatchetError, listed
from registry.event_window import write_window
from registry.records import DatasetManifest, Record
from tasks.extraction.inputs import Input, find_inputs, input_digests
from tasks.sources.standing import Standing

if TYPE_CHECKING:
    from flows.run import Run

NOTE = "dataset_inputs"
"""Kind of the audit record that says what a dataset version was made of."""


class NotedInput(Record):
    """An input as it was when a version was made of it."""

    name: str
    """As it was given; `-` for standard input, `log:…` for a window of the event log."""
    path: str | None
    """Where it lay: relative to the home where it lay in it. None for what is no file that stays."""
    digest: str
    size: int


class NotedInputs(Record):
    """All that a version depends on, but its parent and what is known of sources."""

    digest: str
    """Of the version."""
    seed: int
    policy: dict[str, Any]
    code_version: str
    inputs: list[NotedInput]


class Again(NamedTuple):
    """What came of making one version again."""

    version: str
    digest: str
    rebuilt: str | None
    """Digest of what was made; None where nothing could be."""
    inputs: int
    same: bool
    """Whether what was made is what is stored."""
    outcome: str
    """`the same`, or what is different."""


def note_inputs(run: Run, made: BuildResult) -> None:
    """Record what a new dataset version was made of; once a version."""
    job, manifest = run.job, made.manifest
    if made.unchanged:
        return
    inputs = [
        NotedInput(name=item.name, path=_place(run.stores, item), digest=digest, size=item.size)
        for item, digest in zip(job.inputs, job.digests, strict=True)
    ]
    noted = NotedInputs(
        digest=manifest.digest, seed=job.seed, policy=job.policy.model_dump(mode="json"), code_version=__version__,
        inputs=inputs,
    )  # fmt: skip
    run.stores.history.note(
        NOTE, manifest.name, noted.model_dump(), version=manifest.version, by=job.by,
        key=f"{NOTE}:{manifest.name}:{manifest.version}:{manifest.digest}",
    )  # fmt: skip


def _place(stores: Stores, item: Input) -> str | None:
    return None if item.name == "-" or item.name.startswith("log:") else stores.home.relative(Path(item.path))


def rebuild_dataset(settings: Settings, dataset: str, events: Sequence[str]) -> dict[str, Any]:
    """Make a dataset version, and those below it, again.

    Args:
        settings: Of the home.
        dataset: NAME, or NAME/VERSION; the newest version by default.
        events: Where inputs lie now that were moved, or that came from standard input.

    Returns:
        {"name", "version", "same", "versions": [{"version", "digest", "rebuilt", "inputs", "same", "outcome"}],
        "unused"}, oldest first; `unused` are the files that were named and are none of the inputs.

    Raises:
        CurationError: E7211 there is no such version, E7270 it names none.
        ExtractionError: E7001 what was given cannot be read.
    """
    stores = open_stores(settings)
    name, mark, version = dataset.partition("/")
    if mark and not version:
        raise CurationError("E7270", f"{dataset!r} names no version", "write NAME or NAME/VERSION")
    found = find_inputs(events) if events else []
    given = dict(zip(input_digests(found), found, strict=True))
    chain = list(_chain(stores.datasets, stores.datasets.manifest(name, version or None)))[::-1]
    with stores.home.guard():
        sandbox = Path(tempfile.mkdtemp(prefix="rebuild-", dir=stores.home.scratch))
    try:
        again = [_Rebuild(stores, sandbox, given, chain[:place]).run(each) for place, each in enumerate(chain)]
    finally:
        shutil.rmtree(sandbox, ignore_errors=True)
    return {
        "name": name,
        "version": chain[-1].version,
        "same": all(each.same for each in again),
        "versions": [each._asdict() for each in again],
        "unused": [item.name for digest, item in given.items() if digest not in _inputs_of(stores, chain)],
    }


def check_same(rebuilt: dict[str, Any]) -> None:
    """Fail where a version could not be made again as it was.

    Raises:
        IntegrityError: E7974 with all of them.
    """
    wrong = [
        f"{rebuilt['name']}/{each['version']}: {each['outcome']}" for each in rebuilt["versions"] if not each["same"]
    ]
    if wrong:
        raise IntegrityError(
            "E7974",
            f"not all can be made again: {listed(wrong)}",
            "name the files as they were then, wherever they lie now: `ratchet rebuild DATASET FILES`; what was erased "
            "cannot come back, and what is stored damaged comes from a backup",
        )


def _chain(store: DatasetStore, manifest: DatasetManifest | None) -> Iterator[DatasetManifest]:
    """Yield a version and those below it."""
    while manifest is not None:
        yield manifest
        manifest = store.manifest(manifest.name, manifest.parent) if manifest.parent is not None else None


def _noted(stores: Stores, manifest: DatasetManifest) -> NotedInputs | None:
    """Return what was recorded of how a version was made."""
    for note in reversed(stores.history.notes(NOTE, manifest.name)):
        if note.version == manifest.version and note.body.get("digest") == manifest.digest:
            return NotedInputs.model_validate(note.body)
    return None


def _inputs_of(stores: Stores, chain: Sequence[DatasetManifest]) -> set[str]:
    """Return the digests of all inputs of these versions."""
    noted = (_noted(stores, manifest) for manifest in chain)
    return {item.digest for each in noted if each is not None for item in each.inputs}


class _Missing(Exception):
    """An input is not there as it was; the message says which and why."""


class _Rebuild:
    """One version in the sandbox, on top of those below it."""

    def __init__(
        self, stores: Stores, sandbox: Path, given: dict[str, Input], below: Sequence[DatasetManifest]
    ) -> None:
        self.stores, self.sandbox, self.given, self.below = stores, sandbox, given, below
        self.store = DatasetStore(sandbox / "datasets")

    def run(self, manifest: DatasetManifest) -> Again:
        """Make a version again; where that cannot be done the stored one takes its place for those above it."""
        noted, rebuilt = _noted(self.stores, manifest), None
        try:
            if noted is None:
                raise _Missing("what it was made of was not recorded, or was erased")
            made = self._build(manifest, noted)
            rebuilt = made.manifest.digest
            outcome = "the same" if rebuilt == manifest.digest else self._differs(manifest, made.manifest, noted)
        except _Missing as missing:
            outcome = str(missing)
        except RatchetError as error:
            outcome = f"it cannot be made: {error.what}"
        if rebuilt != manifest.digest:
            self._take_stored(manifest)
        if self.stores.datasets.erased(manifest) is not None and rebuilt != manifest.digest:
            outcome += "; examples were erased from it"
        if (damage := self._damage(manifest)) is not None:
            outcome = f"what is stored is damaged: {damage}; its events make {outcome}" if rebuilt else damage
        same = rebuilt == manifest.digest and damage is None
        return Again(manifest.version, manifest.digest, rebuilt, len(noted.inputs) if noted else 0, same, outcome)

    def _damage(self, manifest: DatasetManifest) -> str | None:
        """Say how the files that are stored differ from their digests."""
        try:
            self.stores.datasets.load(manifest.name, manifest.version)
        except IntegrityError as error:
            return error.what
        return None

    def _build(self, manifest: DatasetManifest, noted: NotedInputs) -> BuildResult:
        try:
            policy = Policy.model_validate(noted.policy)
        except pydantic.ValidationError:
            raise _Missing(f"Ratchet {noted.code_version} made it under a policy that this one cannot read") from None
        standing = standing_of(self.stores, manifest.name, manifest.version) or Standing(policy.sources)
        return build_dataset(
            self._inputs(manifest, noted), policy, self.store, manifest.name, seed=noted.seed,
            scratch=self.sandbox / "scratch", out=self.sandbox / "out", log=manifest.log, standing=standing,
        )  # fmt: skip

    def _inputs(self, manifest: DatasetManifest, noted: NotedInputs) -> list[Input]:
        """Return the inputs as they were, in their order.

        Raises:
            _Missing: With all that are not there.
        """
        found: list[Input] = []
        problems: list[str] = []
        for each in noted.inputs:
            try:
                item = self._window(manifest, each) if each.name.startswith("log:") else self._file(each)
                found.append(item._replace(name=each.name))
            except _Missing as missing:
                problems.append(str(missing))
        if problems:
            raise _Missing(listed(problems))
        return found

    def _file(self, noted: NotedInput) -> Input:
        if noted.digest in self.given:
            return self.given[noted.digest]
        none = f", and none of the {len(self.given)} files that were named is what it was" if self.given else ""
        was = f" (its digest was {noted.digest[:12]})"
        if noted.path is None:
            raise _Missing(f"standard input was not kept{was}{none or ': name a file that holds it'}")
        path = self.stores.home.root / noted.path  # an absolute path stays one
        if not path.is_file():
            raise _Missing(f"{noted.name} is gone{was if none else ''}{none}")
        item = Input(str(path), noted.name, path.stat().st_size)
        if input_digests([item]) != [noted.digest]:
            raise _Missing(f"{noted.name} was changed since{was if none else ''}{none}")
        return item

    def _window(self, manifest: DatasetManifest, noted: NotedInput) -> Input:
        """Write the window of the event log as it was: without what a version below it had taken in."""
        window, log = manifest.log, self.stores.events
        if window is None or window.log_id != log.log_id:
            raise _Missing(f"{noted.name} is of another event log than the one here")
        path = self.sandbox / "window" / "events.jsonl"
        for base in (*reversed(self.below), None):
            write_window(log.engine, window, path, lambda base=base: known_keys(self.store, base))  # type: ignore[misc]
            item = Input(str(path), written(window), path.stat().st_size)
            if input_digests([item]) == [noted.digest]:
                return item
        raise _Missing(f"{noted.name} has other events now: some were erased, or the log was changed")

    def _differs(self, manifest: DatasetManifest, made: DatasetManifest, noted: NotedInputs) -> str:
        rows = f"{sum(made.splits.values()):,} examples instead of {sum(manifest.splits.values()):,}"
        by = (
            ""
            if noted.code_version == __version__
            else f"; Ratchet {noted.code_version} made it, this is {__version__}"
        )
        return f"its digest is {made.digest[:12]} instead of {manifest.digest[:12]}, {rows}{by}"

    def _take_stored(self, manifest: DatasetManifest) -> None:
        target = self.store.path(manifest.name, manifest.version)
        for made in self.store.versions(manifest.name):
            if made not in {each.version for each in self.below}:
                shutil.rmtree(self.store.path(manifest.name, made))
        shutil.copytree(self.stores.datasets.path(manifest.name, manifest.version), target)
