"""The folder that a training leaves: adapter.safetensors, turns.parquet, config.json, and index.safetensors if large.

No pickle. `config.json` names the digest of every other file; loading checks them, the forms and the versions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError as FormError

from registry.errors import IntegrityError, TrainingError, listed
from registry.records import Record
from tasks.training.adapter import Adapter, Tower
from tasks.training.calibration import Calibration
from tasks.training.encoder import Base
from tasks.training.index import Cells
from tasks.training.pairs import KnownTurns

FORMAT, BACKEND = 1, "simulated"
CONFIG, WEIGHTS, TURNS, INDEX = "config.json", "adapter.safetensors", "turns.parquet", "index.safetensors"
MATRICES = ("context.down", "context.up", "turn.down", "turn.up")


class ArtifactConfig(Record):
    """`config.json`. Holds no clock, no path and nothing of the machine: same work, same bytes."""

    format: int = FORMAT
    backend: str = BACKEND
    base: Base
    rank: int
    scale: float
    turns: int
    consensus: int
    frequency: float
    consensus_temperature: float
    calibration: Calibration
    base_calibration: Calibration
    training: dict[str, Any]
    files: dict[str, str]
    """sha256 of every other file."""


class Artifact(NamedTuple):
    """An artifact in memory. `cells` and `base_cells` are None where all turns are looked at."""

    config: ArtifactConfig
    adapter: Adapter
    turns: KnownTurns
    cells: Cells | None
    base_cells: Cells | None


def artifact_digest(path: Path) -> str:
    """Return the sha256 over the line `SHA256  PATH` of each file of a folder, sorted by path."""
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{_sha256(file)}  {name}\n" for name, file in files).encode()).hexdigest()


def write_artifact(
    out: Path,
    config: dict[str, Any],
    adapter: Adapter,
    turns: KnownTurns,
    cells: Cells | None,
    base_cells: Cells | None,
) -> ArtifactConfig:
    """Write an artifact into `out`, the configuration last; `config` lacks what this function knows."""
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, INDEX, TURNS, WEIGHTS):  # left by a training that was killed
        (out / name).unlink(missing_ok=True)
    matrices = dict(zip(MATRICES, map(np.ascontiguousarray, adapter.weights), strict=True))
    save_file(matrices, out / WEIGHTS)
    columns = {"turn": turns.texts, "count": turns.counts, "domain": turns.domains}
    schema = pa.schema([("turn", pa.large_string()), ("count", pa.int64()), ("domain", pa.string())])
    pq.write_table(pa.table(columns, schema=schema), out / TURNS, compression="zstd")
    names = [WEIGHTS, TURNS]
    if cells is not None and base_cells is not None:
        save_file({"adapter": cells, "base": base_cells}, out / INDEX)
        names.append(INDEX)
    made = ArtifactConfig(
        **config,
        rank=adapter.context.down.shape[1],
        scale=adapter.scale,
        turns=len(turns.texts),
        files={name: _sha256(out / name) for name in sorted(names)},
    )
    text = json.dumps(made.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
    (out / CONFIG).write_text(text + "\n", encoding="utf-8")
    return made


def read_config(path: Path) -> ArtifactConfig:
    """Read an artifact's configuration.

    Raises:
        TrainingError: E7320 when there is none, E7321 when it is of another format or backend.
        IntegrityError: E7910 when it is damaged.
    """
    try:
        raw = json.loads((path / CONFIG).read_bytes())
    except FileNotFoundError as error:
        raise TrainingError("E7320", f"{path} is not an adapter: it has no {CONFIG}", "train it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, [f"{CONFIG} cannot be read ({error})"]) from error
    if isinstance(raw, dict) and (backend := raw.get("backend", BACKEND)) != BACKEND:
        what = f"the adapter {path} is of the backend {backend!r}, not {BACKEND}"
        raise TrainingError("E7321", what, "use it with its own backend, or train with strategy full_retrain")
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        what = f"the adapter {path} has format {raw.get('format')!r}, not {FORMAT}"
        raise TrainingError("E7321", what, "load it with the Ratchet that made it, or train it again")
    try:
        return ArtifactConfig.model_validate(raw)
    except FormError as error:
        raise damaged(path, [f"{CONFIG} is not as it was written ({error.error_count()} problems)"]) from error


def read_artifact(path: Path) -> Artifact:
    """Read an artifact and check every file's digest and form.

    Raises:
        TrainingError: E7320 when it is none, E7321 when it is of another format.
        IntegrityError: E7910 when it is damaged.
    """
    config = read_config(path)
    if wrong := _differing(path, config):
        raise damaged(path, wrong)
    try:
        return _read(path, config)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise damaged(path, [f"its files do not fit together ({type(error).__name__}: {error})"]) from error
    except Exception as error:  # safetensors' own error is a bare Exception
        if type(error).__module__.startswith("safetensors"):
            raise damaged(path, [f"{WEIGHTS} or {INDEX} is no safetensors file ({error})"]) from error
        raise


def damaged(path: Path, problems: list[str]) -> IntegrityError:
    """Return the error that says what is wrong with an artifact."""
    return IntegrityError("E7910", f"the adapter {path} is damaged: {listed(problems)}", "train it again")


def _differing(path: Path, config: ArtifactConfig) -> list[str]:
    missing = {WEIGHTS, TURNS} - set(config.files)
    problems = [f"{CONFIG} does not name {name}" for name in sorted(missing)]
    for name, digest in sorted(config.files.items()):
        if name not in (WEIGHTS, TURNS, INDEX):
            problems.append(f"{CONFIG} names {name!r}")
        elif not (path / name).is_file():
            problems.append(f"{name} is missing")
        elif _sha256(path / name) != digest:
            problems.append(f"{name} is not what was written")
    return problems


def _read(path: Path, config: ArtifactConfig) -> Artifact:
    from safetensors.numpy import load_file

    weights = load_file(path / WEIGHTS)
    d, r = config.base.dimension, config.rank
    for name, shape in zip(MATRICES, [(d, r), (r, d), (d, r), (r, d)], strict=True):
        if weights[name].shape != shape or weights[name].dtype != np.float32 or not np.isfinite(weights[name]).all():
            raise ValueError(f"{name} is not a finite float32 matrix of {shape}")
    adapter = Adapter(
        Tower(weights[MATRICES[0]], weights[MATRICES[1]]),
        Tower(weights[MATRICES[2]], weights[MATRICES[3]]),
        config.scale,
    )
    table = pq.read_table(path / TURNS)
    turns = KnownTurns(table["turn"].to_pylist(), table["count"].to_numpy(), table["domain"].to_pylist())
    if len(turns.texts) != config.turns or not turns.texts or None in turns.texts:
        raise ValueError(f"{TURNS} has {len(turns.texts)} turns, not {config.turns}")
    cells, base_cells = _read_index(path, config)
    return Artifact(config, adapter, turns, cells, base_cells)


def _read_index(path: Path, config: ArtifactConfig) -> tuple[Cells | None, Cells | None]:
    from safetensors.numpy import load_file

    if INDEX not in config.files:
        return None, None
    index = load_file(path / INDEX)
    for name in ("adapter", "base"):
        if index[name].shape != (config.turns,) or index[name].dtype != np.int32 or index[name].min() < 0:
            raise ValueError(f"{INDEX}: {name} does not put every turn into a cell")
    return index["adapter"], index["base"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
