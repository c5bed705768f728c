"""The command line: `ratchet`.

Commands only parse, call one function and print. Everything heavy (Prefect, MLflow, numpy) is imported inside the
command that needs it, so that `ratchet --version` and completion stay instant.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, ParamSpec, TypeVar

import typer

from registry import __version__
from registry.errors import PromotionError, RatchetError, SettingsError

if TYPE_CHECKING:
    from flows.settings import Settings

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    name="ratchet",
    help="Turn what an LLM agent did in production into a better model, and let only the better ones through.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _folder(value: str) -> Path:
    if not value.strip():  # Path("") is the current folder, which nobody means by it
        raise typer.BadParameter("the name of a folder is missing")
    return Path(value)


def _said(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise typer.BadParameter("must not be blank")
    return value


Home = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="Where Ratchet keeps its files (env RATCHET_HOME; default: .ratchet).",
        show_default=False, parser=_folder,
    ),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output; logs go to standard error.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and all logs.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; recorded for ever.", callback=_said)]


def reported(command: Callable[P, T]) -> Callable[P, T]:
    """Print a failure as one line with its code and exit 1; `--debug` shows where it came from."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _fail("interrupted: nothing half-done is left; the same command goes on from here", 130)
        except BrokenPipeError:
            sys.stderr.close()  # the reader has gone (`ratchet history x | head`): not our failure
            raise typer.Exit(0) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            _fail(str(as_ratchet_error(error)))

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


def _fail(message: str, code: int = 1) -> NoReturn:
    """End with one line, whatever names of files and values from outside it repeats."""
    typer.echo("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message), err=True)
    raise typer.Exit(code)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()  # who asks line by line waits for the answer


def _settings(home: Path | None, debug: bool = False) -> Settings:
    from flows.settings import load_settings

    settings = load_settings(home=home, debug=debug)
    return settings.model_copy(update={"home": _tidy(settings.home)}) if ".." in settings.home.parts else settings


def _tidy(path: Path) -> Path:
    """Return the path without `..` and with its links as they are, but where that would lead elsewhere."""
    absolute = path.expanduser().absolute()
    tidy = Path(os.path.normpath(absolute))
    return tidy if tidy.resolve() == absolute.resolve() else absolute.resolve()


def _existing(home: Path | None, debug: bool = False) -> Settings:
    """Return the settings, for a command that finds nothing in a home that is not there: its name is mistyped."""
    settings = _settings(home, debug)
    root = settings.layout.root
    with settings.layout.guard():
        try:
            root.stat()
        except FileNotFoundError:
            raise SettingsError(
                "E7825", f"there is no home at {root}", "give --home, or run `ratchet learn` first"
            ) from None
    return settings


def _version(value: bool) -> None:
    if value:
        typer.echo(f"ratchet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn what an LLM agent did in production into a better model, and let only the better ones through."""


LEARN_HELP = """
Run the main job: events → dataset → adapter → validation → gates → registry.

[bold]Examples[/bold]

  ratchet learn events.jsonl
  ratchet learn 'logs/*.jsonl.gz' more/ --model support --seed 7
  cat events.jsonl | ratchet learn - --json
  ratchet learn events.jsonl --policy policy.yaml --approve-as dana
"""


@app.command(help=LEARN_HELP)
@reported
def learn(
    events: Annotated[
        list[str], typer.Argument(metavar="EVENTS", help="Files, folders, globs, .gz, .zst, or - for standard input.")
    ],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model (and dataset) to learn into.")] = "agent",
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Policy file (YAML); see `ratchet policy`.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0, max=2**32 - 1)] = 0,
    approve_as: Annotated[
        str | None,
        typer.Option(
            "--approve-as",
            metavar="NAME",
            help="Approve the promotion in your name, should every other gate pass.",
            show_default=False,
            callback=_said,
        ),
    ] = None,
    strategy: Annotated[
        Literal["auto", "full_retrain", "incremental", "shadow"],
        typer.Option(
            "--strategy",
            help="full_retrain starts from the base, incremental from the champion, shadow serves nobody; auto goes on "
            "from the champion where there is one.",
        ),
    ] = "auto",
    golden: Annotated[
        Path | None,
        typer.Option("--golden", metavar="FILE", help="Your own regression cases (JSON lines).", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Run the main job (`LEARN_HELP` is what people read)."""
    from flows.bars import bars
    from flows.run import run_learn

    with bars(quiet=json_) as listener:
        summary = run_learn(
            _settings(home, debug), events=events, model=model, policy=policy, seed=seed, approve_as=approve_as,
            strategy=strategy, golden=golden, listener=listener,
        )  # fmt: skip
    if json_:
        _print_json(summary)
    else:
        from flows.show import show_run

        show_run(summary)


@app.command()
@reported
def approve(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that waits for approval.")],
    by: By,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why.")] = "",
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Approve a version; every gate is looked at again, and if all pass it is promoted.

    Example:  ratchet approve agent 3 --by dana --note "checked the failing cases"
    """
    from flows.run import run_approve

    summary = run_approve(_existing(home, debug), model=model, version=version, by=by, note=note)
    _finish(summary, json_, "decision")
    if summary["decision"] != "promoted":  # so that `ratchet approve ... && deploy` does not deploy
        raise PromotionError(
            "E7567",
            f"{model}/{version} is approved but not promoted: {_obstacle(summary)}",
            f"put right what stopped it; it is {summary['decision']} now (docs/operations.md says what to do then)",
        )


def _obstacle(summary: dict[str, Any]) -> str:
    """Return the first gate that does not let a version through, with its reason."""
    shut = next((gate for gate in summary["gates"] if gate["status"] != "PASS"), None)
    return str(summary["reason"]) if shut is None else f"{shut['name']} {shut['status']}, {shut['reason']}"


@app.command()
@reported
def rollback(
    model: Model,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.", callback=_said)],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="An earlier champion (default: the previous one).", show_default=False
        ),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Put an earlier champion back, at once and without approval; always recorded.

    Example:  ratchet rollback agent --by dana --reason "refunds are answered wrongly"
    """
    from flows.run import run_rollback

    _finish(run_rollback(_existing(home, debug), model=model, to=to, by=by, reason=reason), json_, "rollback")


@app.command()
@reported
def release(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The quarantined version.")],
    by: By,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why it is safe; recorded for ever.", callback=_said)
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Take a version out of quarantine, back to development."""
    from flows.queries import release_version

    _finish(release_version(_existing(home, debug), model, version, by, reason), json_, "release")


@app.command()
@reported
def history(model: Model, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List everything that ever happened to a model's versions."""
    from flows.queries import model_history

    _finish(model_history(_existing(home, debug), model), json_, "history")


@app.command()
@reported
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="A model, an alias or a version.")],
    events: Annotated[
        int, typer.Option("--events", metavar="N", help="List up to N of the events behind it.", min=0)
    ] = 10,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Show a version: stage, dataset, examination, who let it through, and the events behind it.

    Example:  ratchet show agent@champion
    """
    from flows.queries import show_model

    _finish(show_model(_existing(home, debug), model, events), json_, "model")


@app.command()
@reported
def lineage(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id, or SOURCE#ID.")],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Tell which dataset and model versions saw an event."""
    from flows.queries import event_lineage

    _finish(event_lineage(_existing(home, debug), event_id), json_, "lineage")


@app.command()
@reported
def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL@ALIAS", help="MODEL@ALIAS or MODEL/VERSION (default alias: champion).")
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Answer JSON lines {"messages": [...]} or {"prompt": "..."} from standard input, one JSON line each.

    Example:  echo '{"prompt": "Where is my order?"}' | ratchet predict agent@champion
    """
    from flows.queries import predict_lines

    if sys.stdin.isatty():
        typer.echo('type JSON lines such as {"prompt": "..."}; Ctrl-D ends', err=True)
    for line in predict_lines(_existing(home, debug), model, sys.stdin.buffer):
        _print_json(line)


@app.command()
@reported
def datasets(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List the dataset versions."""
    from flows.queries import list_datasets

    _finish(list_datasets(_existing(home, debug)), json_, "datasets")


@app.command()
@reported
def export(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="NAME or NAME/VERSION (default: the latest).")],
    format_: Annotated[
        Literal["chatml", "alpaca", "completion"],
        typer.Option("--format", help="chatml has one conversation a row, the others one assistant turn."),
    ] = "chatml",
    split: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option("--split", help="Which part of it.")
    ] = "train",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write there (default: standard output).", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Write a dataset as JSON lines that other trainers read.

    Example:  ratchet export agent/1.0.0 --format alpaca --out train.jsonl
    """
    from flows.export import export_dataset

    summary = export_dataset(_existing(home, debug), dataset, format_, split, out)
    if json_ and out is not None:
        _print_json(summary)
    elif out is not None:
        typer.echo(f"{summary['rows']} rows written to {summary['path']}", err=True)


@app.command()
@reported
def stats(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Print the counters that operators watch."""
    from flows.queries import statistics

    _finish(statistics(_existing(home, debug)), json_, "stats")


@app.command()
@reported
def policy(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="A policy file to check (default: print the default policy).", show_default=False
        ),
    ] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Print the policy with every default, or check a policy file and print what it amounts to."""
    from flows.policy import load_policy
    from flows.show import show_policy

    values = load_policy(file).model_dump(mode="json")
    if json_:
        _print_json(values)
    else:
        show_policy(values)


def _finish(summary: dict[str, Any], json_: bool, kind: str) -> None:
    if json_:
        _print_json(summary)
        return
    from flows import show as screens

    getattr(screens, f"show_{kind}")(summary)


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"ratchet {__version__}\n")
        return
    if sys.stdin is None:  # closed by whoever started this: nothing comes from it
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    logging.raiseExceptions = "--debug" in sys.argv  # a log that cannot be delivered does not speak over the one line
    for stream in (sys.stdout, sys.stderr):  # a name that is no UTF-8, or a terminal of another alphabet, is no failure
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
