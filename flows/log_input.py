"""`log:`, the event log as an input of `learn`: which window of it, and the window as a file.

    log:[AGENT][@START-END]      offsets above START, up to and with END

Without offsets it is what no version of the dataset has taken in yet. That is settled once, before a run starts, so
that everything in the run means the same events however many arrive meanwhile.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.stores import Stores
from registry.datasets import DatasetStore
from registry.errors import ExtractionError
from registry.event_rows import event_key
from registry.records import SPLITS, DatasetManifest, LogWindow, canonical_digest

if TYPE_CHECKING:
    from tasks.extraction.inputs import Input

PREFIX = "log:"
_FORM = re.compile(r"log:(?P<agent>.*?)(?:@(?P<start>\d{1,18})-(?P<end>\d{1,18}))?", re.DOTALL)


def is_log(given: str) -> bool:
    """Tell whether an input is the event log."""
    return given.startswith(PREFIX)


def settled(stores: Stores, given: Sequence[str], model: str) -> tuple[list[str], LogWindow | None]:
    """Return the inputs with the window of `log:` written out, and the window.

    Raises:
        ExtractionError: E7038 there is nothing new in the log, E7034 it cannot be read as a window, E7035 several.
    """
    logs = [each for each in given if is_log(each)]
    if not logs:
        return list(given), None
    if len(logs) > 1:
        raise ExtractionError("E7035", f"{len(logs)} windows of the event log were named", "name one, or run twice")
    window = _window(stores, logs[0], model)
    return [written(window) if is_log(each) else each for each in given], window


def written(window: LogWindow) -> str:
    """Return a window as it is given to `learn`."""
    return f"{PREFIX}{window.agent or ''}@{window.start}-{window.end}"


def _window(stores: Stores, given: str, model: str) -> LogWindow:
    match = _FORM.fullmatch(given)
    assert match is not None, given  # every text that begins with `log:` is one
    from registry.event_window import has_events

    log, agent = stores.events, match["agent"] or None
    head = log.head()
    if match["start"] is not None:
        start, end = int(match["start"]), int(match["end"])
        if not start < end <= head:
            raise ExtractionError(
                "E7034",
                f"{given} is no window of the event log, whose last offset is {head}",
                "give log:AGENT@START-END with START < END, or leave the offsets out",
            )
        return LogWindow(log_id=log.log_id, agent=agent, start=start, end=end)
    taken = [found for found in _manifests(stores, model) if found.log is not None and found.log.log_id == log.log_id]
    start = consumed([found.log for found in taken if found.log is not None], agent)
    window = LogWindow(log_id=log.log_id, agent=agent, start=start, end=head)
    if has_events(log.engine, window):
        return window
    # Nothing new: what the newest version took in is named again. If it was learned the run is `unchanged`; if the run
    # was killed in the middle it goes on.
    last = next((found.log for found in taken if found.log is not None and found.log.agent == agent), None)
    if last is not None:
        return last
    whose = f" of agent {agent}" if agent else ""
    form = "; a window is written log:AGENT@START-END" if agent and "@" in agent else ""
    raise ExtractionError(
        "E7038",
        f"nothing new{whose} is in the event log since offset {start}",
        f"log events first: with the gateway, with registry.client.UsageLogger, or `ratchet events import FILES`{form}",
    )


def consumed(windows: Sequence[LogWindow], agent: str | None) -> int:
    """Return the offset up to which windows hold everything of an agent, or of all for None.

    Args:
        windows: Of one log, in any order. Those of all agents hold each agent's events.
        agent: Whose.
    """
    reached = 0
    for window in sorted(windows, key=lambda each: each.start):
        if window.agent in (None, agent) and window.start <= reached:
            reached = max(reached, window.end)
    return reached


def _manifests(stores: Stores, model: str) -> list[DatasetManifest]:
    """Return the manifests of a dataset, newest first."""
    return [stores.datasets.manifest(model, version) for version in reversed(stores.datasets.versions(model))]


# --- the window as a file --------------------------------------------------------------------------------------------


def log_file(stores: Stores, window: LogWindow, model: str) -> Path:
    """Return where the events of a window lie while a run works on them."""
    base = _base(stores, window, model)
    key = canonical_digest([window.model_dump(), model, base.digest if base is not None else None])
    return stores.home.scratch / f"log-{key[:16]}" / "events.jsonl"


def log_inputs(stores: Stores, window: LogWindow, model: str) -> list[Input]:
    """Write the events of a window to a file, unless they are there, and return it as an input.

    Raises:
        ExtractionError: E7038 nothing in the window is of the agent.
    """
    from registry.event_window import write_window
    from tasks.extraction.inputs import Input

    path = log_file(stores, window, model)
    with stores.home.guard():
        if not path.exists():
            base = _base(stores, window, model)
            write_window(stores.events.engine, window, path, lambda: known_keys(stores.datasets, base))
        size = path.stat().st_size
    if size == 0:
        raise ExtractionError(
            "E7038", f"{written(window)} has no events", "name another window, or leave the offsets out"
        )
    return [Input(str(path), written(window), size)]


def discard_log(inputs: Sequence[Input]) -> None:
    """Remove the file of a window, if there is one among the inputs; call it when the run is over."""
    for item in inputs:
        if is_log(item.name):
            shutil.rmtree(Path(item.path).parent, ignore_errors=True)


def _base(stores: Stores, window: LogWindow, model: str) -> DatasetManifest | None:
    """Return the version that the window comes on top of: also when the version that took it in is there already."""
    manifests = _manifests(stores, model)
    for place, manifest in enumerate(manifests):
        if manifest.log == window:
            return next((each for each in manifests[place + 1 :] if each.version == manifest.parent), None)
    return manifests[0] if manifests else None


def known_keys(datasets: DatasetStore, base: DatasetManifest | None) -> Container[bytes]:
    """Return the keys of the events that the examples of a version were made of; none where there is none."""
    if base is None:
        return frozenset()
    keys: set[bytes] = set()
    for split in SPLITS:
        table = datasets.read(base.name, base.version, split, ["event_source", "event_id"])
        pairs = zip(table["event_source"].to_pylist(), table["event_id"].to_pylist(), strict=True)
        keys.update(event_key(source, identity) for source, identity in pairs)
    return keys
