"""Somebody's words in everything that Ratchet leaves beside events, datasets and adapters: found, and blanked.

Reports, rejected lines, logs, the databases of MLflow and Prefect, artifacts of runs: values that hold the words are
blanked. Caches and scratch are thrown away where they hold any: they are made again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from registry.erasure.needles import Needles
from registry.erasure.scrubbing import holds, scrub_file, scrubbed_text

if TYPE_CHECKING:
    from flows.stores import Stores
    from registry.home import Home

LEFT_ALONE = frozenset({"datasets", "keys", "locks", "audit", "erasures", "ratchet.db"})
"""Of a home: what others erase from, and what holds no text of anybody."""
WITH_EVENTS = frozenset({"runs", "logs", "spool"})
"""Of a home: where events lie as they came."""
MODELS = ("mlflow", "artifacts", "models")
SIGNED = frozenset({"bundle.json"})
"""Signed statements: no text of an event is in one, and a changed one counts no more."""
BESIDE = ("-wal", "-shm", "-journal")


def sweep(stores: Stores, needles: Needles) -> int:
    """Blank or remove what files of the home, and artifacts on an MLflow server, hold; return how many those were."""
    home = stores.home
    done = 0
    for entry in [*_entries(home.cache), *home.scratch.glob("*")]:
        if any(_holds(path, needles.in_events()) for path in _files(entry)):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            done += 1
    raw = needles.in_events()
    for path in _swept(home):
        wanted = raw if _has_events(path, home) else needles
        done += _scrub_parquet(path, wanted) if path.suffix == ".parquet" else scrub_file(path, wanted)
    return done + (_sweep_server(stores, needles) if not stores.models.connection.embedded else 0)


def remaining(home: Home, needles: Needles) -> list[Path]:
    """Return the files of a home, but for datasets and the event log, that still hold any of it."""
    models, raw = home.root.joinpath(*MODELS), needles.in_events()
    files = [*_swept(home), *_files(models), *_files(home.cache)]
    return [path for path in files if _holds(path, raw if _has_events(path, home) else needles)]


def _entries(cache: Path) -> Iterator[Path]:
    """Yield what is cached: an adapter with its result, an examination, a model."""
    for kind in cache.glob("*"):
        yield from kind.glob("*") if kind.is_dir() else [kind]


def _swept(home: Home) -> list[Path]:
    """Return the files that are looked into one by one."""
    found = []
    for top in sorted(home.root.glob("*")):
        if top.name not in LEFT_ALONE and top not in (home.cache, home.scratch):
            found += [path for path in _files(top) if not _is_of_model(path, home) and path.name not in SIGNED]
    return found


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if not path.name.endswith(BESIDE))


def _has_events(path: Path, home: Home) -> bool:
    return path.relative_to(home.root).parts[0] in WITH_EVENTS


def _is_of_model(path: Path, home: Home) -> bool:
    return path.relative_to(home.root).parts[: len(MODELS)] == MODELS


def _holds(path: Path, needles: Needles) -> bool:
    """Tell whether a file holds any of it."""
    if path.suffix != ".parquet":
        return holds(path, needles)
    table = pq.read_table(path)
    return any(_said(table[name], needles) for name in table.column_names if _is_text(table[name].type))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _said(column: pa.ChunkedArray, needles: Needles) -> list[str]:
    """Return the values of a column that hold any of it."""
    return [text for text in pc.unique(column).to_pylist() if text and scrubbed_text(text, needles) != text]


def _scrub_parquet(path: Path, needles: Needles) -> bool:
    """Blank the values of text columns, such as ids that are made of a name."""
    table = pq.read_table(path)
    changed = False
    for place, name in enumerate(table.column_names):
        if _is_text(table[name].type) and (said := _said(table[name], needles)):
            hit = pc.is_in(table[name], pa.array(said, table[name].type))
            blank = pa.scalar("[erased]", table[name].type)
            table = table.set_column(place, table.schema.field(name), pc.if_else(hit, blank, table[name]))
            changed = True
    if changed:
        aside = path.with_name(f".{path.name}.part")
        pq.write_table(table, aside, compression="zstd")
        aside.replace(path)
    return changed


def _sweep_server(stores: Stores, needles: Needles) -> int:
    """Blank what the runs' artifacts and tags on a server hold. What it keeps of older copies is the server's."""
    done = 0
    connection = stores.models.connection
    with connection.as_default() as client, tempfile.TemporaryDirectory(dir=stores.home.scratch) as folder:
        for run in _runs(client, connection.experiment_id):
            run_id = run.info.run_id
            for name, value in run.data.tags.items():
                if (made := scrubbed_text(value, needles)) != value:
                    client.set_tag(run_id, name, made)
                    done += 1
            for name in [each.path for each in client.list_artifacts(run_id) if not each.is_dir]:
                path = Path(client.download_artifacts(run_id, name, folder))
                if path.name not in SIGNED and scrub_file(path, needles):
                    client.log_artifact(run_id, str(path))
                    done += 1
    return done


def _runs(client: Any, experiment_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], page_token=token)
        yield from page
        token = page.token
        if not token:
            return
