"""What all commands share: their common options, how a failure is told, how a result is printed.

Commands only parse, call one function and print. Everything heavy (Prefect, MLflow, numpy) is imported inside the
command that needs it, so that `ratchet --version` and completion stay instant.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from registry.errors import RatchetError, SettingsError

if TYPE_CHECKING:
    from flows.settings import Settings

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
P = ParamSpec("P")
T = TypeVar("T")


def folder(value: str) -> Path:
    """Return the folder that an option names."""
    if not value.strip():  # Path("") is the current folder, which nobody means by it
        raise typer.BadParameter("the name of a folder is missing")
    return Path(value)


def said(value: str | None) -> str | None:
    """Refuse a text that is given and blank."""
    if value is not None and not value.strip():
        raise typer.BadParameter("must not be blank")
    return value


Home = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="Where Ratchet keeps its files (env RATCHET_HOME; default: .ratchet).",
        show_default=False, parser=folder,
    ),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output; logs go to standard error.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and all logs.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; recorded for ever.", callback=said)]


def reported(command: Callable[P, T]) -> Callable[P, T]:
    """Print a failure as one line with its code and exit 1; `--debug` shows where it came from."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            fail("interrupted: nothing half-done is left; the same command goes on from here", 130)
        except BrokenPipeError:
            sys.stderr.close()  # the reader has gone (`ratchet history x | head`): not our failure
            raise typer.Exit(0) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            fail(str(as_ratchet_error(error)))

    return run


def as_ratchet_error(error: BaseException) -> RatchetError:
    """Return the failure as one of ours, whatever library raised or wrapped it."""
    cause: BaseException | None = error
    while cause is not None:  # Prefect and pools wrap what a task raised
        if isinstance(cause, RatchetError):
            return cause
        if isinstance(cause, OSError) and cause.errno in FULL:
            place = cause.filename2 or cause.filename  # of a copy the target
            where = f" at {place}" if place else ""
            return SettingsError("E7822", f"the disk is full{where}", "free some space and run the same command again")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.filename is not None:
        return SettingsError(
            "E7802", f"{error.filename} cannot be used: {error.strerror or error}", "correct its name or permissions"
        )
    text = " ".join(str(error).split())[:300] or "no message"
    return SettingsError(
        "E7899", f"unexpected {type(error).__name__}: {text}", "run it again with --debug to see where, and report it"
    )


def fail(message: str, code: int = 1) -> NoReturn:
    """End with one line, whatever names of files and values from outside it repeats."""
    typer.echo("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message), err=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print one JSON object as a line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()  # who asks line by line waits for the answer


def settings_of(home: Path | None, debug: bool = False) -> Settings:
    """Return the settings, with what the command line says over them."""
    from flows.settings import load_settings

    settings = load_settings(home=home, debug=debug)
    return settings.model_copy(update={"home": _tidy(settings.home)}) if ".." in settings.home.parts else settings


def _tidy(path: Path) -> Path:
    """Return the path without `..` and with its links as they are, but where that would lead elsewhere."""
    absolute = path.expanduser().absolute()
    tidy = Path(os.path.normpath(absolute))
    return tidy if tidy.resolve() == absolute.resolve() else absolute.resolve()


def existing(home: Path | None, debug: bool = False) -> Settings:
    """Return the settings, for a command that finds nothing in a home that is not there: its name is mistyped."""
    settings = settings_of(home, debug)
    root = settings.layout.root
    with settings.layout.guard():
        try:
            root.stat()
        except FileNotFoundError:
            raise SettingsError(
                "E7825", f"there is no home at {root}", "give --home, or run `ratchet learn` first"
            ) from None
    return settings


def finish(summary: dict[str, Any], json_: bool, kind: str) -> None:
    """Print a result, as JSON or as `flows.show` shows its kind."""
    if json_:
        print_json(summary)
        return
    from flows import show as screens

    getattr(screens, f"show_{kind}")(summary)
