"""Names and version numbers of datasets."""

from __future__ import annotations

import re
from typing import NamedTuple

from registry.errors import CurationError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


class Change(NamedTuple):
    """What distinguishes a version from its parent."""

    policy: bool
    added: int
    removed: int


def next_version(parent: str | None, change: Change) -> str | None:
    """Return the version that follows `parent`, or None when nothing changed.

    Major: the schema or the policy changed. Minor: examples were added. Patch: only removals or corrections.
    """
    if parent is None:
        return "1.0.0"
    major, minor, patch = parts(parent)
    if change.policy:
        return f"{major + 1}.0.0"
    if change.added:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}" if change.removed else None


def checked_name(name: str) -> str:
    """Return `name` if it can name a dataset; it becomes a folder.

    Raises:
        CurationError: E7210 otherwise.
    """
    if not NAME.fullmatch(name):
        raise CurationError(
            "E7210",
            f"{name[:100]!r} cannot name a dataset",
            "use up to 100 letters, digits, dots, dashes and underscores, with a letter or digit first",
        )
    return name


def parts(version: str) -> tuple[int, int, int]:
    """Return the three numbers of a version.

    Raises:
        CurationError: E7211 it is none.
    """
    match = VERSION.fullmatch(version)
    if match is None:
        raise CurationError("E7211", f"{version[:40]!r} is no version", "give MAJOR.MINOR.PATCH, such as 1.0.0")
    return int(match[1]), int(match[2]), int(match[3])
