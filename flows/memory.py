"""What was done already, so that it is not done again: a killed run goes on, and equal work is recognised.

A step's result is a JSON file in a folder that is named by a digest of all that the result depends on. The file is
there whole or not at all; Prefect writes its own results in place, and one that a SIGKILL tore would fail every later
run, so this is not left to it. A result that is found is taken if what it made is still there (its `still` says so).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from registry import __version__
from registry.files import write_whole
from registry.records import canonical_digest

T = TypeVar("T", bound=BaseModel)


def content_key(*parts: Any) -> str:
    """Return a digest of what a result depends on: of `parts`, which must be JSON, and of the code's version."""
    return canonical_digest([*parts, __version__])


def remembered(
    folder: Path, name: str, kind: type[T], do: Callable[[], T], still: Callable[[T], bool] = lambda _: True
) -> T:
    """Return the result of step `name`: the one that is kept in `folder` and `still` holds, else that of `do`."""
    known = recall(folder, name, kind)
    if known is not None and still(known):
        return known
    return keep(folder, name, do())


def recall(folder: Path, name: str, kind: type[T]) -> T | None:
    """Return what is kept as `name`; None where there is nothing that can be read."""
    try:
        return kind.model_validate_json((folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def keep(folder: Path, name: str, result: T) -> T:
    """Write a result so that it is there whole, also after a power cut, or not at all; return it."""
    write_whole(folder / f"{name}.json", result.model_dump_json().encode())
    return result
