"""Structured logs: one JSON line a record in `logs/RUN.jsonl` of the home, and short lines on standard error.

Modules log as ever, `logging.getLogger(__name__).info("accepted", extra={"examples": 12})`; the extras become keys.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.settings import Settings

OURS = ("flows", "tasks", "registry")
NOISY = (
    "EventsWorker",
    "APILogWorker",
    "alembic",
    "mlflow.store.db",
    "mlflow.utils.environment",
    "httpx",
    "distributed",
)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
MAX_TEXT = 2000
"""Longer texts in a log record are cut: a log is not the place for data."""


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, run_id, logger, message, then the extras."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "run_id": self.run_id,
            "logger": record.name,
            "message": record.getMessage()[:MAX_TEXT],
        }
        extras = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        line.update({key: value for key, value in extras.items() if key not in line and not key.startswith("_")})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=lambda value: str(value)[:MAX_TEXT])


def log_path(settings: Settings, run_id: str) -> Path:
    """Return where the log of a run lies."""
    return settings.layout.logs / f"{run_id}.jsonl"


@contextlib.contextmanager
def run_logs(settings: Settings, run_id: str) -> Iterator[Path]:
    """Log to the run's file (INFO and up) and to standard error (the level that the settings name)."""
    path = log_path(settings, run_id)
    with settings.layout.guard():
        path.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    to_file.setLevel(logging.DEBUG if settings.debug else logging.INFO)
    to_file.setFormatter(JsonLines(run_id))
    to_screen = logging.StreamHandler(sys.stderr)
    to_screen.setLevel(logging.DEBUG if settings.debug else settings.log_level)
    to_screen.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    to_screen.addFilter(lambda record: getattr(record, "step", None) != "failed")  # the command says it in one line
    loggers = [logging.getLogger(name) for name in OURS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG if settings.debug else logging.INFO)
        logger.propagate = False  # Prefect's console handler sits on the root and would say everything twice
        logger.addHandler(to_file)
        logger.addHandler(to_screen)
    try:
        yield path
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(to_file)
            logger.removeHandler(to_screen)
            logger.setLevel(level)
            logger.propagate = propagate
        to_file.close()


def quiet(debug: bool) -> None:
    """Let libraries speak up only when something is wrong."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.ERROR)


def hush_prefect(debug: bool) -> None:
    """Keep what Prefect says of runs, with its tracebacks, off the screen; its server has it, where one looks for it.

    A filter and not a level: Prefect sets its levels again whenever a flow starts.
    """
    for name in (None, "prefect"):
        for handler in logging.getLogger(name).handlers:
            if type(handler).__name__ == "PrefectConsoleHandler" and not debug:
                handler.addFilter(_not_of_a_run)


def _not_of_a_run(record: logging.LogRecord) -> bool:
    return not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
