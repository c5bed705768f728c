"""Signing and verifying a model of 1 GiB, as one file and as many, and taking the copy that is served.

    python -m benchmarks.run --only bundles

The peer is what no verifier can do without: a sha256 of the same bytes, one file after the other.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, figure
from registry.trust.signing import Keyring
from registry.trust.statements import PAYLOAD_TYPE, TRAINING, named_subjects, statement
from registry.trust.subjects import subjects_of, verify

GIB, FILES, ROUNDS = 1 << 30, 64, 3
WHAT = "the model"


def model(folder: Path, files: int) -> Path:
    """Write 1 GiB of random bytes into so many files."""
    rng = np.random.Generator(np.random.PCG64(files))
    folder.mkdir()
    for number in range(files):
        (folder / f"weights-{number:03}.bin").write_bytes(rng.bytes(GIB // files))
    return folder


def plain(folder: Path) -> list[str]:
    """Take the sha256 of each file."""
    found = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def best(do: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of a few rounds."""
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def measured(name: str, folder: Path, keyring: Keyring) -> list[Figure]:
    """Measure one model."""
    signer = keyring.own()

    def sign() -> str:
        return signer.sign(statement(TRAINING, subjects_of(folder, WHAT), {}), PAYLOAD_TYPE)

    envelope = sign()
    copy = folder.parent / "copy"

    def check(into: Path | None = None) -> None:
        signed = keyring.trust().opened(envelope, PAYLOAD_TYPE)
        shutil.rmtree(copy, ignore_errors=True)
        verify(folder, named_subjects(signed.payload), WHAT, into)

    alone = best(lambda: plain(folder))
    signing, verifying, taking = best(sign), best(check), best(lambda: check(copy))
    return [
        figure(f"{name}: sign 1 GiB", signing, "s", most=2.5),
        figure(f"{name}: verify 1 GiB", verifying, "s", most=2.5),
        figure(f"{name}: verify 1 GiB and take the copy that is served", taking, "s"),
        figure(f"{name}: verifying, in times of a sha256 alone", verifying / alone, "×"),
    ]


def results(folder: Path) -> list[Figure]:
    """Measure both models."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        keyring, found = Keyring(Path(name) / "keys"), list[Figure]()
        for files, called in ((1, "one file"), (FILES, f"{FILES} files")):
            made = model(Path(name) / f"model-{files}", files)
            found += measured(called, made, keyring)
            shutil.rmtree(made)
    return found
