"""A model's files: written as an MLflow model from code, fetched from a server once, and recognised by their digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from registry.connection import Connection
from registry.errors import IntegrityError
from registry.records import ModelVersion

ARTIFACT = "adapter"
"""Under this name the inference code finds the artifact's folder: `context.artifacts["adapter"]`."""
DESCRIPTION = "MLmodel"
WRITTEN_LATER = ("__pycache__", "registered_model_meta")
"""What Python and MLflow leave beside a model that is loaded where it lies. Nothing of it is ever loaded here."""
_BLOCK = 1 << 20


def folder_digest(folder: Path) -> str:
    """Return the sha256 of a folder: of the line `SHA256  PATH` of each file, sorted by path."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = [f"{_file_digest(path)}  {name}\n" for name, path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def code_digest(model: Path) -> str:
    """Return the sha256 of what MLflow loads beside the artifact: inference code, requirements, and how to load them.

    Of the description (`MLmodel`) only its `flavors` count: they say which file is run and with what. Run ids, times
    and a signature that somebody adds later do not.
    """
    flavors = _flavors(model)
    artifact = _artifact_of(model, flavors)
    lines = [f"{json.dumps(flavors, sort_keys=True, default=str)}  {DESCRIPTION}\n"]
    for path in sorted(model.rglob("*")):
        inside = path.relative_to(model)
        if path.is_relative_to(artifact) or inside.parts[0] == DESCRIPTION or set(inside.parts) & set(WRITTEN_LATER):
            continue
        if path.is_symlink():
            lines.append(f"{path.readlink()}  -> {inside.as_posix()}\n")
        elif path.is_file():
            lines.append(f"{_file_digest(path)}  {inside.as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verified(version: ModelVersion, model: Path, stored: Path | None = None) -> Path:
    """Return the artifact's folder in a version's MLflow model whose files are those that were registered.

    A version that was registered before its code was recorded has no `code_digest`: its artifact alone is verified.

    Args:
        version: What was registered.
        model: The folder to look at.
        stored: The folder that it is a copy of, for whoever has to put it right.

    Raises:
        IntegrityError: E7924 files are missing, E7925 files differ from what was registered.
    """
    artifact = present(version, model, stored)
    code_differs = version.code_digest is not None and code_digest(model) != version.code_digest
    if version.artifact_digest is None or folder_digest(artifact) != version.artifact_digest or code_differs:
        raise _differs(version, stored or model)
    return artifact


def present(version: ModelVersion, model: Path, stored: Path | None = None) -> Path:
    """Return the artifact's folder in a version's MLflow model.

    Raises:
        IntegrityError: E7924 files are missing, E7925 the description cannot be read.
    """
    try:
        artifact = _artifact_of(model, _flavors(model))
    except FileNotFoundError:
        artifact = None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _differs(version, stored or model) from None
    if artifact is None or not artifact.is_dir():
        raise IntegrityError(
            "E7924",
            f"the files of {version.name} version {version.version} are missing in {stored or model}",
            "restore them from a backup (`mlflow gc` deletes files behind a live alias), or roll back",
        )
    return artifact


def _differs(version: ModelVersion, model: Path) -> IntegrityError:
    return IntegrityError(
        "E7925",
        f"the files of {version.name} version {version.version} are not those that were registered",
        f"restore {model} from a backup, or roll back to another version",
    )


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def save(
    folder: Path, artifact: Path, code: Path, requirements: Sequence[str], mlflow_run_id: str, model_id: str
) -> None:
    """Write an artifact as an MLflow model into `folder`, with no path of this machine in it."""
    import mlflow.pyfunc
    import yaml
    from mlflow.models import Model

    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(code),
        artifacts={ARTIFACT: str(artifact)},
        pip_requirements=list(requirements),
        mlflow_model=Model(run_id=mlflow_run_id, model_id=model_id, model_uuid=model_id),
    )
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
    description = folder / DESCRIPTION
    written = yaml.safe_load(description.read_text())
    flavor = written["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    flavor["artifacts"][ARTIFACT]["uri"] = flavor["artifacts"][ARTIFACT]["path"]
    description.write_text(yaml.safe_dump(written))


def _flavors(model: Path) -> dict[str, Any]:
    """Return how MLflow loads a model.

    Raises:
        FileNotFoundError: There is no description.
        ValueError: It cannot be read, or says nothing of it.
    """
    import yaml

    try:
        found = yaml.safe_load((model / DESCRIPTION).read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, dict) or not isinstance(found.get("flavors"), dict):
        raise ValueError("no flavors")
    return cast(dict[str, Any], found["flavors"])


def _artifact_of(model: Path, flavors: Mapping[str, Any]) -> Path:
    return model / str(flavors["python_function"]["artifacts"][ARTIFACT]["path"])


def local_model(connection: Connection, name: str, version: str, model_id: str) -> Path:
    """Return the folder of a version's MLflow model on this machine: where it is, or in the cache, fetched once."""
    with connection.as_default() as client:
        location = client.get_model_version_download_uri(name, version)
        if location.startswith(("/", "file:")):
            return Path(location.removeprefix("file://"))
        cached = connection.home.cache / "models" / model_id
        if not cached.exists():
            _fetch(model_id, cached)
        return cached


def _fetch(model_id: str, cached: Path) -> None:
    """Fetch a model aside and rename it, so that the cache never holds a part of one."""
    import mlflow

    cached.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=cached.parent, prefix=".fetch-"))
    try:
        mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(aside))
        aside.rename(cached)
    except OSError:
        if not cached.exists():  # else somebody else fetched it meanwhile
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
