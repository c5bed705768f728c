"""The command line: `ratchet`. The main job's commands are here, the others in `flows.commands`."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.commands import (
    audit,
    erase,
    events,
    experiment,
    gateway,
    keys,
    loop,
    replay,
    services,
    sources,
    trust,
    verify,
)  # fmt: skip
from flows.commands.options import (
    By,
    Debug,
    Home,
    Json,
    Model,
    existing,
    finish,
    print_json,
    reported,
    said,
    settings_of,
)
from registry import __version__
from registry.errors import PromotionError

app = typer.Typer(
    name="ratchet",
    help="Turn what an LLM agent did in production into a better model, and let only the better ones through.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
  ratchet learn log:                             what is new in the event log
  ratchet learn events.jsonl --policy policy.yaml --approve-as dana
"""


@app.command(help=LEARN_HELP)
@reported
def learn(
    events: Annotated[
        list[str],
        typer.Argument(
            metavar="EVENTS", help="Files, folders, globs, .gz, .zst, - for standard input, or log:[AGENT][@START-END]."
        ),
    ],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model (and dataset) to learn into.")] = "agent",
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Policy file (env RATCHET_POLICY).", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0, max=2**32 - 1)] = 0,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Who starts this, and may then not approve it (env RATCHET_IDENTITY; default: the user).",
            show_default=False,
            callback=said,
        ),
    ] = None,
    approve_as: Annotated[
        str | None,
        typer.Option(
            "--approve-as",
            metavar="NAME",
            help="Approve the promotion in your name, should every other gate pass.",
            show_default=False,
            callback=said,
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
            settings_of(home, debug), events=events, model=model, policy=policy, seed=seed, by=by,
            approve_as=approve_as, strategy=strategy, golden=golden, listener=listener,
        )  # fmt: skip
    if json_:
        print_json(summary)
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
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Your private key, ed25519 PEM (env RATCHET_APPROVER_KEY; default: one in the home, made at first).",
            show_default=False,
        ),
    ] = None,
    sign_only: Annotated[
        bool, typer.Option("--sign-only", help="Print the signed approval, for the form of `approve`; record none.")
    ] = False,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Approve a version, signed with your key; every gate is looked at again, and if all pass it is promoted.

    Example:  ratchet approve agent 3 --by dana --note "checked the failing cases"
    """
    from flows.run import run_approve, run_sign_approval

    settings = existing(home, debug)
    if sign_only:
        envelope = run_sign_approval(settings, model=model, version=version, by=by, note=note, key=key)
        print_json(envelope) if json_ else typer.echo(envelope["signed"])
        return
    summary = run_approve(settings, model=model, version=version, by=by, note=note, key=key)
    finish(summary, json_, "decision")
    if (waits := _waits(summary)) is not None:
        typer.echo(f"your approval is recorded; {model}/{version} is not promoted yet: {waits}", err=True)
    elif summary["decision"] != "promoted":  # so that `ratchet approve ... && deploy` does not deploy
        raise PromotionError(
            "E7567",
            f"{model}/{version} is approved but not promoted: {_obstacle(summary)}",
            f"put right what stopped it; it is {summary['decision']} now (docs/operations.md says what to do then)",
        )


def _waits(summary: dict[str, Any]) -> str | None:
    """Return what a version waits for that lacks nothing but more people's approvals; None where it is otherwise."""
    left = [gate for gate in summary["gates"] if gate["status"] != "PASS"]
    people = next((gate for gate in left if gate["name"] == "human approval"), None)
    if people is None or any(gate["status"] != "PENDING" or gate["name"] == "experiment" for gate in left):
        return None
    return str(people["reason"])


def _obstacle(summary: dict[str, Any]) -> str:
    """Return the first gate that does not let a version through, with its reason."""
    shut = next((gate for gate in summary["gates"] if gate["status"] != "PASS"), None)
    return str(summary["reason"]) if shut is None else f"{shut['name']} {shut['status']}, {shut['reason']}"


@app.command()
@reported
def rollback(
    model: Model,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.", callback=said)],
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

    finish(run_rollback(existing(home, debug), model=model, to=to, by=by, reason=reason), json_, "rollback")


@app.command()
@reported
def release(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The quarantined version.")],
    by: By,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why it is safe; recorded for ever.", callback=said)
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Take a version out of quarantine, back to development."""
    from flows.queries import release_version

    finish(release_version(existing(home, debug), model, version, by, reason), json_, "release")


@app.command()
@reported
def history(model: Model, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List everything that ever happened to a model's versions."""
    from flows.queries import model_history

    finish(model_history(existing(home, debug), model), json_, "history")


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

    finish(show_model(existing(home, debug), model, events), json_, "model")


@app.command()
@reported
def lineage(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT_ID]", help="The event's id, or SOURCE#ID.", show_default=False)
    ] = None,
    subject: erase.Subject = None,
    user: erase.User = None,
    trace: erase.Trace = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Tell which datasets, models and experiments saw an event, or a person.

    Example:  ratchet lineage --subject customer-00870
    """
    if event_id is None:
        erase.show_where(existing(home, debug), erase.person(subject, user, trace, "EVENT_ID"), json_)
        return
    if (subject, user, trace) != (None, None, None):
        raise typer.BadParameter("give either an event or one of --subject, --user and --trace", param_hint="EVENT_ID")
    from flows.queries import event_lineage

    finish(event_lineage(existing(home, debug), event_id), json_, "lineage")


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
    for line in predict_lines(existing(home, debug), model, sys.stdin.buffer):
        print_json(line)


@app.command()
@reported
def datasets(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List the dataset versions."""
    from flows.queries import list_datasets

    finish(list_datasets(existing(home, debug)), json_, "datasets")


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

    summary = export_dataset(existing(home, debug), dataset, format_, split, out)
    if json_ and out is not None:
        print_json(summary)
    elif out is not None:
        typer.echo(f"{summary['rows']} rows written to {summary['path']}", err=True)


@app.command()
@reported
def stats(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Print the counters that operators watch."""
    from flows.queries import statistics

    finish(statistics(existing(home, debug)), json_, "stats")


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
        print_json(values)
    else:
        show_policy(values)


app.add_typer(audit.audit, name="audit")
app.add_typer(events.events, name="events")
app.add_typer(experiment.experiment, name="experiment")
app.add_typer(keys.keys, name="keys")
app.add_typer(sources.sources, name="sources")
for _commands in (events.top, loop.app, gateway.app, services.app, erase.app, replay.app, trust.app, verify.app):
    app.add_typer(_commands)


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
