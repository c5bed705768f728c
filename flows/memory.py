"""What a run has done already, so that one that was killed goes on where it stopped.

Each step's result is a JSON file in the run's folder, written whole or not at all. A step that is found there is not
done again, provided that what it made is still there (its `still` says so).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)


def remembered(folder: Path, name: str, kind: type[T], do: Callable[[], T], still: Callable[[T], bool]) -> T:
    """Return the result of step `name`: the one that is kept in `folder` and `still` holds, else that of `do`."""
    path = folder / f"{name}.json"
    known = recall(path, kind)
    if known is not None and still(known):
        return known
    result = do()
    keep(path, result)
    return result


def recall(path: Path, kind: type[T]) -> T | None:
    """Return what is kept at `path`; None where there is nothing that can be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def keep(path: Path, result: BaseModel) -> None:
    """Write a result so that it is there whole, also after a power cut, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(result.model_dump_json())
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
