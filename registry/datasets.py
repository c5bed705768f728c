"""Dataset versions: immutable folders of Parquet files and a manifest.

    datasets/NAME/VERSION/dataset.json
                          train.parquet  validation.parquet  test.parquet
                          (large sets: train-00000-of-00008.parquet …)
    datasets/NAME/.staging-*/    versions that are being written; those of dead writers are removed

A version is written aside, flushed to disk, and renamed whole: it is there completely or not at all, and is never
changed after, but that what somebody said may be erased from it (`registry.erasure.tombstones`). What is read is
compared with the digests in the manifest first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from registry.dataset_names import NAME, VERSION, Change, checked_name, next_version, parts
from registry.erasure.tombstones import Erased, read
from registry.errors import CurationError, IntegrityError, listed
from registry.files import flush, locked
from registry.home import disk_error
from registry.records import SPLITS, DatasetManifest, Split, SplitFile, canonical_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.trust.envelopes import Trust

__all__ = [
    "SCHEMA_VERSION",
    "Change",
    "DatasetStore",
    "checked_name",
    "content_digest",
    "file_digest",
    "guarded",
    "next_version",
]

MANIFEST = "dataset.json"
SCHEMA_VERSION = 1
"""Version of the columns and of the manifest; a dataset of another one gets a new major version."""
_STAGING = ".staging-"
_LOCK = "writer.lock"
CHUNK = 1 << 20


def content_digest(files: Sequence[SplitFile], policy: dict[str, Any]) -> str:
    """Return a dataset's digest: sha256 over its files' digests, the policy and the schema version."""
    content = {
        "files": [[file.split, file.path, file.rows, file.sha256] for file in files],
        "policy": policy,
        "schema_version": SCHEMA_VERSION,
    }
    return canonical_digest(content)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class DatasetStore:
    """The dataset versions under one folder.

    Args:
        root: The folder.
        trust: Whose signatures count on what was erased; default: the keys of the home that the folder lies in.
    """

    def __init__(self, root: Path | str, trust: Callable[[], Trust] | None = None) -> None:
        self.root = Path(root)
        self.trust = trust or self._trust_of_home

    def names(self) -> list[str]:
        """Return the names of all datasets that have a version."""
        if not self.root.is_dir():
            return []
        return sorted(
            each.name for each in self.root.iterdir() if NAME.fullmatch(each.name) and self.versions(each.name)
        )

    def versions(self, name: str) -> list[str]:
        """Return the versions of a dataset, oldest first; none for an unknown name."""
        folder = self.root / checked_name(name)
        if not folder.is_dir():
            return []
        found = [each.name for each in folder.iterdir() if VERSION.fullmatch(each.name) and (each / MANIFEST).is_file()]
        return sorted(found, key=parts)

    def latest(self, name: str) -> str | None:
        """Return the newest version of a dataset, None if there is none."""
        versions = self.versions(name)
        return versions[-1] if versions else None

    def path(self, name: str, version: str) -> Path:
        """Return the folder of a dataset version, whether it is there or not."""
        parts(version)
        return self.root / checked_name(name) / version

    def manifest(self, name: str, version: str | None = None) -> DatasetManifest:
        """Return the manifest of a version (default: the newest), without looking at the data.

        Raises:
            CurationError: E7211 there is no such dataset or version.
            IntegrityError: E7910 the manifest is damaged.
        """
        wanted = version or self.latest(name)
        path = self.root / checked_name(name) / (wanted or "-") / MANIFEST
        if wanted is None or not VERSION.fullmatch(wanted) or not path.is_file():
            raise self._unknown(name, version)
        try:
            manifest = DatasetManifest.model_validate_json(path.read_bytes())
        except pydantic.ValidationError as error:
            problems = [str(problem["msg"]) for problem in error.errors()]
            what = f"{path} is damaged ({listed(problems)})"
            raise IntegrityError("E7910", what, "restore it from a backup") from error
        problems = _contradictions(manifest, name, wanted)
        if problems:
            raise IntegrityError("E7911", f"{path} was changed: {listed(problems)}", "restore it from a backup")
        return manifest

    def load(self, name: str, version: str | None = None) -> DatasetManifest:
        """Return the manifest of a version (default: the newest), once every file has proved unchanged.

        Raises:
            CurationError: E7211 there is no such dataset or version.
            IntegrityError: E7910, E7911 the manifest is damaged or changed; E7912 files are missing or changed.
        """
        manifest = self.manifest(name, version)
        self._verify(manifest, self.present(manifest))
        return manifest

    def present(self, manifest: DatasetManifest) -> list[SplitFile]:
        """Return the files of a version as they should be now: without the rows that were erased.

        Raises:
            IntegrityError: E794x, E7980 the record of what was erased is not what was written.
        """
        erased = self.erased(manifest)
        return manifest.files if erased is None else erased.files

    def erased(self, manifest: DatasetManifest) -> Erased | None:
        """Return what was erased from a version, None where nothing was; see `present`."""
        return read(self.path(manifest.name, manifest.version), manifest, self.trust)

    def _trust_of_home(self) -> Trust:
        from registry.trust.signing import Keyring

        return Keyring(self.root.parent / "keys").trust()

    def holds(self, manifest: DatasetManifest) -> bool:
        """Tell whether this very version is there."""
        path = self.path(manifest.name, manifest.version) / MANIFEST
        return path.is_file() and self.manifest(manifest.name, manifest.version).digest == manifest.digest

    def read(self, name: str, version: str | None, split: Split, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one split, once its files have proved unchanged.

        Raises:
            CurationError: E7211 there is no such dataset or version.
            IntegrityError: E7910, E7911 the manifest is damaged or changed; E7912 files are missing or changed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        manifest = self.manifest(name, version)
        files = [file for file in self.present(manifest) if file.split == split]
        self._verify(manifest, files)
        folder = self.path(name, manifest.version)
        wanted = None if columns is None else list(columns)
        return pa.concat_tables(pq.read_table(folder / file.path, columns=wanted) for file in files)

    def files(self, manifest: DatasetManifest) -> list[Path]:
        """Return the paths of a version's files, once they have proved unchanged.

        Raises:
            IntegrityError: E7912 files are missing or changed.
        """
        self._verify(manifest, self.present(manifest))
        return [self.path(manifest.name, manifest.version) / file.path for file in manifest.files]

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give an empty folder to write a version to; what is not committed is removed.

        Raises:
            CurationError: E7210 the name cannot be used.
            SettingsError: E782x the disk is full or cannot be written to.
        """
        folder = self.root / checked_name(name)
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep(folder)
            staging = folder / f"{_STAGING}{uuid.uuid4().hex}"
            staging.mkdir()
            lock = os.open(staging / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel drops it when the writer dies, however it dies
            with guarded(folder):
                yield staging
        finally:
            os.close(lock)
            shutil.rmtree(staging, ignore_errors=True)

    def commit(self, staging: Path, manifest: DatasetManifest) -> Path:
        """Make what was written to `staging` the version that the manifest names, and return its folder.

        Raises:
            CurationError: E7212 somebody else wrote a version since the parent was read.
            SettingsError: E782x the disk is full or cannot be written to.
        """
        folder, final = staging.parent, self.path(manifest.name, manifest.version)
        with guarded(folder):
            (staging / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
            for path in [*(staging / file.path for file in manifest.files), staging / MANIFEST, staging]:
                flush(path)
            with locked(folder / ".commit.lock"):
                if self.latest(manifest.name) != manifest.parent or final.exists():
                    raise CurationError(
                        "E7212",
                        f"another writer made {manifest.name}/{self.latest(manifest.name)} meanwhile",
                        "run again: it goes on from there",
                    )
                (staging / _LOCK).unlink(missing_ok=True)
                staging.rename(final)
                flush(folder)
        return final

    def _verify(self, manifest: DatasetManifest, files: Sequence[SplitFile]) -> None:
        folder = self.path(manifest.name, manifest.version)
        problems = []
        for file in files:
            path = folder / file.path
            if not path.is_file():
                problems.append(f"{file.path} is missing")
            elif file_digest(path) != file.sha256:
                problems.append(f"{file.path} was changed")
        if problems:
            raise IntegrityError(
                "E7912",
                f"dataset {manifest.name}/{manifest.version} is not what was written: {listed(problems)}",
                "restore it from a backup, or remove the version and learn again",
            )

    def _unknown(self, name: str, version: str | None) -> CurationError:
        versions, names = self.versions(name), self.names()
        if versions:
            return CurationError("E7211", f"there is no {name}/{version}", f"versions are {listed(versions)}")
        known = f"datasets are {listed(names)}" if names else "there is no dataset yet: run `ratchet learn` first"
        return CurationError("E7211", f"there is no dataset {name}", known)

    def _sweep(self, folder: Path) -> None:
        """Remove what dead writers left."""
        for staging in folder.glob(f"{_STAGING}*"):
            try:
                with locked(staging / _LOCK, wait=False):
                    shutil.rmtree(staging, ignore_errors=True)
            except BlockingIOError:
                continue  # its writer lives
            except OSError:
                shutil.rmtree(staging, ignore_errors=True)


def _contradictions(manifest: DatasetManifest, name: str, version: str) -> list[str]:
    """Say what in a manifest does not fit together."""
    problems = []
    if (manifest.name, manifest.version) != (name, version):
        problems.append(f"it says {manifest.name}/{manifest.version}")
    if content_digest(manifest.files, manifest.policy) != manifest.digest:
        problems.append("its digest is not that of its files and policy")
    rows = {split: sum(file.rows for file in manifest.files if file.split == split) for split in SPLITS}
    if rows != {split: manifest.splits.get(split, 0) for split in SPLITS}:
        problems.append("its splits do not add up")
    if any(Path(file.path).name != file.path for file in manifest.files):
        problems.append("a file lies outside")
    return problems


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn the disk's errors into SettingsErrors that say what to do."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error
