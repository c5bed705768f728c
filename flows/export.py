"""`ratchet export`: a dataset as JSON lines that other trainers read."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from flows.settings import Settings
from registry.errors import CurationError
from registry.records import SPLITS, Conversation, Split, Turn, assistant_turns, turn_text

Format = Literal["chatml", "alpaca", "completion"]
ROLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def export_dataset(
    settings: Settings, dataset: str, format_: Format, split: Split | Literal["all"], out: Path | None
) -> dict[str, Any]:
    """Write one split, or all, of `NAME` or `NAME/VERSION`; return {"dataset", "format", "rows", "path"}.

    Raises:
        CurationError: E7270 for `NAME/` without a version, E7271 when `out` cannot be written; the store's own errors
            for an unknown dataset.
    """
    from flows.queries import dataset_store

    name, mark, version = dataset.partition("/")
    if mark and not version:
        raise CurationError("E7270", f"{dataset!r} names no version", "write NAME or NAME/VERSION")
    store = dataset_store(settings)
    manifest = store.manifest(name, version or None)
    rows = 0
    with target(out) as stream:
        for each in SPLITS if split == "all" else (split,):
            for messages in store.read(name, manifest.version, each, ["messages"]).column("messages").to_pylist():
                for row in FORMATS[format_](json.loads(messages)):
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    rows += 1
    path = None if out is None else str(out)
    return {"dataset": f"{name}/{manifest.version}", "format": format_, "rows": rows, "path": path}


@contextmanager
def target(out: Path | None) -> Iterator[TextIO]:
    """Give a file to write to, that takes its name once it is complete; without one, standard output.

    Raises:
        CurationError: E7271 it cannot be written.
    """
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # JSON Lines are UTF-8, whatever the terminal's alphabet
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield sys.stdout
        return
    try:
        if out.is_symlink() or (out.exists() and not out.is_file()):  # a device or a pipe is written to, not replaced
            with out.open("w", encoding="utf-8") as stream:
                yield stream
            return
        aside = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            with aside.open("w", encoding="utf-8") as stream:
                yield stream
            aside.replace(out)  # a reader never sees half an export
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CurationError("E7271", f"{out} cannot be written: {reason}", "name another file with --out") from error


def _chatml(messages: Conversation) -> Iterator[dict[str, Any]]:
    """One conversation a row, in the OpenAI fine-tuning form."""
    yield {"messages": messages}


def _alpaca(messages: Conversation) -> Iterator[dict[str, Any]]:
    """One assistant turn a row: the first user turn instructs, the turns between are the input."""
    for turn in assistant_turns(messages):
        system = [m["content"] for m in turn.context if m["role"] == "system"]
        others = [m for m in turn.context if m["role"] != "system"]
        first = others[0]["content"] if others and others[0]["role"] == "user" else ""
        rest = others[1:] if first else others
        row = {"instruction": first, "input": _transcript(rest), "output": turn.text}
        yield {"system": "\n".join(system), **row} if system else row


def _completion(messages: Conversation) -> Iterator[dict[str, Any]]:
    """One assistant turn a row: the transcript before it, and the turn."""
    for turn in assistant_turns(messages):
        yield _prompt_and_completion(turn)


def _prompt_and_completion(turn: Turn) -> dict[str, str]:
    return {"prompt": _transcript(turn.context) + "\nAssistant:", "completion": " " + turn.text}


def _transcript(messages: Conversation) -> str:
    def said(message: dict[str, Any]) -> str:
        return turn_text(message) if message["role"] == "assistant" else message.get("content") or ""

    return "\n".join(f"{ROLES.get(m['role'], m['role'])}: {said(m)}" for m in messages)


FORMATS: dict[Format, Callable[[Conversation], Iterator[dict[str, Any]]]] = {
    "chatml": _chatml,
    "alpaca": _alpaca,
    "completion": _completion,
}
