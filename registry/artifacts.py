"""A model's files: written as an MLflow model from code, fetched from a server once, and recognised by their digest."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from registry.connection import Connection

ARTIFACT = "adapter"
"""Under this name the inference code finds the artifact's folder: `context.artifacts["adapter"]`."""
_BLOCK = 1 << 20


def folder_digest(folder: Path) -> str:
    """Return the sha256 of a folder: of the line `SHA256  PATH` of each file, sorted by path."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = [f"{_file_digest(path)}  {name}\n" for name, path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


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
    description = folder / "MLmodel"
    written = yaml.safe_load(description.read_text())
    flavor = written["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    flavor["artifacts"][ARTIFACT]["uri"] = flavor["artifacts"][ARTIFACT]["path"]
    description.write_text(yaml.safe_dump(written))


def artifact_folder(model: Path) -> Path | None:
    """Return the artifact's folder in an MLflow model's folder, None where files are missing."""
    import yaml

    description = model / "MLmodel"
    if not description.is_file():
        return None
    flavor = yaml.safe_load(description.read_text())["flavors"]["python_function"]
    artifact = model / str(flavor["artifacts"][ARTIFACT]["path"])
    return artifact if artifact.is_dir() else None


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
