"""What was done already, so that it is not done again: a killed run goes on, and equal work is recognised.

A step's result is a JSON file in a folder that is named by a digest of all that the result depends on. The file is
there whole or not at all; Prefect writes its own results in place, and one that a SIGKILL tore would fail every later
run, so this is not left to it. A result that is found is taken if what it made is still there (its `still` says so).

Beside it lies its seal: a digest of the file, its name and its folder's, signed by the installation's key. Whoever may
write into the cache could otherwise write a verdict, and the run would sign it. A result without a seal that counts is
computed anew. The seal is a file of its own, so that the result stays readable and what is erased can be found in it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from registry import __version__
from registry.errors import IntegrityError
from registry.files import write_whole
from registry.records import canonical_digest

if TYPE_CHECKING:
    from registry.trust.signing import Keyring

T = TypeVar("T", bound=BaseModel)
SEAL = "application/vnd.ratchet.step+json"
LARGEST_SEAL = 64 << 10
logger = logging.getLogger(__name__)


def content_key(*parts: Any) -> str:
    """Return a digest of what a result depends on: of `parts`, which must be JSON, and of the code's version."""
    return canonical_digest([*parts, __version__])


def remembered(
    keyring: Keyring,
    folder: Path,
    name: str,
    kind: type[T],
    do: Callable[[], T],
    still: Callable[[T], bool] = lambda _: True,
) -> T:
    """Return the result of step `name`: the one that is kept in `folder` and `still` holds, else that of `do`."""
    known = recall(keyring, folder, name, kind)
    if known is not None and still(known):
        return known
    return keep(keyring, folder, name, do())


def recall(keyring: Keyring, folder: Path, name: str, kind: type[T]) -> T | None:
    """Return what is kept as `name`; None where there is nothing that can be read, or its seal does not count."""
    try:
        body = (folder / f"{name}.json").read_bytes()
        if not _is_sealed(keyring, folder, name, body):
            return None
        return kind.model_validate_json(body)
    except (FileNotFoundError, ValidationError):
        return None


def keep(keyring: Keyring, folder: Path, name: str, result: T) -> T:
    """Write a result so that it is there whole, also after a power cut, or not at all; return it."""
    body = result.model_dump_json().encode()
    write_whole(folder / f"{name}.json", body)
    write_whole(folder / f"{name}.seal", keyring.own().sign(_seal(folder, name, body), SEAL).encode())
    return result


def _seal(folder: Path, name: str, body: bytes) -> dict[str, str]:
    """Return what a seal says: its folder is named in it, else a good result of one step would do for another."""
    return {"folder": folder.name, "step": name, "sha256": hashlib.sha256(body).hexdigest()}


def _is_sealed(keyring: Keyring, folder: Path, name: str, body: bytes) -> bool:
    """Tell whether a key whose signatures count sealed this very result; else log why it is not taken."""
    try:
        with (folder / f"{name}.seal").open("rb") as file:
            envelope = file.read(LARGEST_SEAL).decode(errors="replace")
        sealed = keyring.trust().opened(envelope, SEAL).payload == _seal(folder, name, body)
        why = "" if sealed else "its seal is that of another result"
    except FileNotFoundError:
        why = "it has no seal"
    except IntegrityError as error:
        why = error.what
    if why:
        logger.info("the kept result %s of %.12s is not taken but computed anew: %s", name, folder.name, why)
    return not why
