"""The files of a model, closed world: what lies there is what was signed, and nothing else.

A folder counts only where it holds plain files with plain names: no link of either kind, no file that can be run, no
empty folder, no special file. Two things are left where they lie and are never copied, because plain MLflow leaves
them beside a model that it loads: `registered_model_meta`, and compiled code of a source that is there.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from registry.errors import IntegrityError, listed

LEFT_BY_MLFLOW = "registered_model_meta"
COMPILED = "__pycache__"
THREADS = 4
"""That read and hash side by side: hashing lets go of the interpreter, and a disk likes company."""
LISTED = 5
MOST_FILES = 100_000
_BLOCK = 4 << 20
_OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not hold us up


class Subject(NamedTuple):
    """One file of a model."""

    sha256: str
    size: int


Subjects = Mapping[str, Subject]
"""Path relative to the model's folder → its file."""


def subjects_of(folder: Path, what: str) -> dict[str, Subject]:
    """Return all files of a folder.

    Args:
        folder: The model's folder.
        what: Whose files they are, for the message.

    Raises:
        IntegrityError: E7946 it holds something that is no plain file, or nothing.
    """
    return _taken(folder, what, _walked(folder, what), None)


def verify(folder: Path, subjects: Subjects, what: str, into: Path | None = None) -> None:
    """Check that a folder holds these files and nothing else; with `into`, take a copy whose bytes those are.

    Bytes are hashed as they are written into the copy: nobody can change them between the look and the use.

    Args:
        folder: The model's folder.
        subjects: What was signed.
        what: Whose files they are, for the message.
        into: Where the copy goes: a folder that is not there yet, in one that nobody else can write.

    Raises:
        IntegrityError: E7946 with what differs.
    """
    sizes = _walked(folder, what)
    problems = [f"{name} is missing" for name in sorted(subjects.keys() - sizes.keys())]
    problems += [f"{name} was not signed" for name in sorted(sizes.keys() - subjects.keys())]
    problems += [
        f"{name} has {size} bytes in place of {subjects[name].size}"
        for name, size in sorted(sizes.items())
        if name in subjects and subjects[name].size != size
    ]
    if problems:
        raise _refused(what, folder, problems)
    found = _taken(folder, what, sizes, into)
    changed = [f"{name} was changed" for name in sorted(found) if found[name].sha256 != subjects[name].sha256]
    if changed:
        raise _refused(what, folder, changed)


# --- looking at a folder ---------------------------------------------------------------------------------------------


def _walked(folder: Path, what: str) -> dict[str, int]:
    """Return the sizes of the files in a folder by their paths, if there is nothing else in it."""
    sizes: dict[str, int] = {}
    problems: list[str] = []
    waiting = [""]
    try:
        while waiting and len(sizes) <= MOST_FILES:
            waiting += _looked_into(folder, waiting.pop(), sizes, problems)
    except OSError as error:
        problems.append(f"{Path(error.filename or folder).name} cannot be read: {error.strerror}")
    if len(sizes) > MOST_FILES:
        problems.append(f"there are more than {MOST_FILES} files")
    if problems:
        raise _refused(what, folder, problems)
    return sizes


def _looked_into(folder: Path, inside: str, sizes: dict[str, int], problems: list[str]) -> list[str]:
    """Add the files of one folder to `sizes` and what may not be there to `problems`; return the folders in it."""
    entries = sorted(os.scandir(folder / inside), key=lambda entry: entry.name)
    kept = [entry for entry in entries if not _left_alone(inside, entry, entries)]
    if not kept:
        problems.append(f"{inside or 'the folder'} is empty")
    deeper = []
    for entry in kept:
        name = f"{inside}{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and _plain(entry.name):
            deeper.append(f"{name}/")
        elif problem := _problem(entry.name, status):
            problems.append(f"{name!r} {problem}")
        else:
            sizes[name] = status.st_size
    return deeper


def _left_alone(inside: str, entry: os.DirEntry[str], beside: Sequence[os.DirEntry[str]]) -> bool:
    """Tell whether MLflow or Python left this beside a model. It is never copied, so that nothing loads it."""
    if not inside and entry.name == LEFT_BY_MLFLOW:
        return entry.is_file(follow_symlinks=False)
    if entry.name != COMPILED or not entry.is_dir(follow_symlinks=False):
        return False
    sources = {other.name for other in beside if other.is_file(follow_symlinks=False)}
    compiled = list(os.scandir(entry.path))
    return bool(compiled) and all(
        each.name.endswith(".pyc")
        and each.is_file(follow_symlinks=False)
        and f"{each.name.partition('.')[0]}.py" in sources
        for each in compiled
    )


def _plain(name: str) -> bool:
    return name.isprintable() and "\\" not in name and unicodedata.normalize("NFC", name) == name


def _problem(name: str, status: os.stat_result) -> str | None:
    checks: dict[str, Callable[[], bool]] = {
        "has a name that is not plain": lambda: not _plain(name),
        "is a link": lambda: stat.S_ISLNK(status.st_mode),
        "is no file": lambda: not stat.S_ISREG(status.st_mode),
        "has another name elsewhere (a hard link)": lambda: status.st_nlink > 1,
        "can be run": lambda: bool(stat.S_IMODE(status.st_mode) & 0o7111),
    }
    return next((problem for problem, holds in checks.items() if holds()), None)


# --- taking its bytes ------------------------------------------------------------------------------------------------


def _taken(folder: Path, what: str, sizes: Mapping[str, int], into: Path | None) -> dict[str, Subject]:
    """Hash all files, and write what was hashed into a copy where one is wanted."""
    if into is not None:
        into.mkdir(mode=0o700)
        for parent in sorted({(into / name).parent for name in sizes}):
            parent.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> Subject:
        return _hashed(folder / name, sizes[name], None if into is None else into / name)

    largest_first = sorted(sizes, key=lambda name: -sizes[name])
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return dict(zip(largest_first, pool.map(take, largest_first), strict=True))
    except _Changing as changing:
        raise _refused(what, folder, [str(changing)]) from None


class _Changing(Exception):
    """A file is another one than a moment ago."""


def _hashed(path: Path, size: int, copy: Path | None) -> Subject:
    try:
        descriptor = os.open(path, _OPENED)
    except OSError as error:
        raise _Changing(f"{path.name} cannot be read: {error.strerror}") from None
    digest, read, block = hashlib.sha256(), 0, bytearray(min(size + 1, _BLOCK))
    view = memoryview(block)
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        if problem := _problem(path.name, os.fstat(descriptor)):
            raise _Changing(f"{path.name} {problem}")
        target = None if copy is None else copy.open("xb", buffering=0)
        try:
            while count := source.readinto(view):
                read += count
                if read > size:
                    raise _Changing(f"{path.name} grows while it is read")
                digest.update(view[:count])
                if target is not None:
                    _write(target.fileno(), view[:count])
        finally:
            if target is not None:
                target.close()
    return Subject(digest.hexdigest(), read)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _refused(what: str, folder: Path, problems: Sequence[str]) -> IntegrityError:
    return IntegrityError(
        "E7946",
        f"the files of {what} are not those that were signed: {listed(problems, LISTED)}",
        f"restore {folder} from a backup, or roll back to another version",
    )
