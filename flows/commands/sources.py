"""`ratchet sources`: who may teach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.options import By, Debug, Home, Json, existing, print_json, reported, said, settings_of

if TYPE_CHECKING:
    from tasks.sources.lifecycle import State

sources = typer.Typer(
    name="sources",
    help="Who may teach: the sources of events, their scores and states (trial, trusted, probation, blocked).",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="The attribute `source` of its events, in any spelling; no query.", callback=said
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.", callback=said)]
OfState = Annotated[
    Literal["trial", "trusted", "probation", "blocked"] | None,
    typer.Option("--state", help="Only those in this state.", show_default=False),
]


@sources.callback(invoke_without_command=True)
@reported
def root(context: typer.Context, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List the sources, where no command is given."""
    if context.invoked_subcommand is None:
        list_(context, None, home, json_, debug)


@sources.command("list")
@reported
def list_(
    context: typer.Context, state: OfState = None, home: Home = None, json_: Json = False, debug: Debug = False
) -> None:
    """List the sources with their states, scores and what became of their examples."""
    above = context.parent.params if context.parent is not None else {}  # `sources --json list`
    home, json_, debug = home or above.get("home"), json_ or bool(above.get("json_")), debug or bool(above.get("debug"))
    from flows.show_sources import show_list
    from flows.sources import list_sources

    summary = list_sources(existing(home, debug), state)
    if json_:
        print_json(summary)
    else:
        show_list(summary)


@sources.command()
@reported
def show(source: Source, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Show a source and everything that was recorded of it.

    Example:  ratchet sources show /agents/support
    """
    from flows.show_sources import show_one
    from flows.sources import show_source

    summary = show_source(existing(home, debug), source)
    if json_:
        print_json(summary)
    else:
        show_one(summary)


@sources.command()
@reported
def trust(source: Source, by: By, reason: Reason, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Trust a source from now on; also takes it out of blocked.

    Example:  ratchet sources trust /agents/support --by dana --reason "our own service"
    """
    _set(source, "trusted", by, reason, home, json_, debug)


@sources.command()
@reported
def probation(
    source: Source, by: By, reason: Reason, home: Home = None, json_: Json = False, debug: Debug = False
) -> None:
    """Put a source on probation: it brings little of a dataset until it has earned trust again."""
    _set(source, "probation", by, reason, home, json_, debug)


@sources.command()
@reported
def block(source: Source, by: By, reason: Reason, home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Block a source and all below it: its events reach no dataset and no log; what it brought leaves the next version.

    Example:  ratchet sources block /partners/acme --by dana --reason "planted refusals"
    """
    _set(source, "blocked", by, reason, home, json_, debug)


def _set(source: str, state: State, by: str, reason: str, home: Home, json_: bool, debug: bool) -> None:
    from flows.show_sources import show_change
    from flows.sources import set_source

    summary = set_source(settings_of(home, debug), source, state, by, reason)
    if json_:
        print_json(summary)
    else:
        show_change(summary)
