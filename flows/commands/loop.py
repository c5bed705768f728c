"""`ratchet triggers` and `ratchet retrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Debug, Home, Json, existing, print_json, reported, said, settings_of

app = typer.Typer()

Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="Name of the model.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="FILE", help="Policy file (env RATCHET_POLICY); see `ratchet policy`.", show_default=False
    ),
]
Events = Annotated[
    str, typer.Option("--events", metavar="LOG", help="log: for the whole event log, log:AGENT for one agent's.")
]


@app.command()
@reported
def triggers(
    model: Model = "agent",
    policy: PolicyFile = None,
    why: Annotated[
        str | None,
        typer.Option(
            "--why",
            metavar="TIME",
            help="Why did we retrain, or not, at this moment? ISO 8601, or `now`.",
            show_default=False,
            callback=said,
        ),
    ] = None,
    events: Events = "log:",
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Show why a retrain would start now, or what is missing. Nothing is changed.

    Example:  ratchet triggers agent --why 2026-11-21T14:30
    """
    from flows.show_triggers import show_triggers
    from flows.triggers import triggers_now
    from flows.triggers import why as why_then

    settings = existing(home, debug)
    found = triggers_now(settings, model, policy, events) if why is None else why_then(settings, model, why)
    if json_:
        print_json(found)
    else:
        show_triggers(found)


@app.command()
@reported
def retrain(
    model: Model = "agent",
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Retrain in any case, in this name; without it the triggers decide.",
            show_default=False,
            callback=said,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.")] = "",
    policy: PolicyFile = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="auto, incremental, full_retrain, shadow (never serves) or rollback.")
    ] = "auto",
    events: Events = "log:",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, and record the check.")] = False,
    approve_as: Annotated[
        str | None,
        typer.Option(
            "--approve-as",
            metavar="NAME",
            help="Approve the promotion, should every other gate pass.",
            show_default=False,
            callback=said,
        ),
    ] = None,
    experiment: Annotated[
        bool, typer.Option("--experiment/--no-experiment", help="Try the new version beside the champion first.")
    ] = True,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Ask the triggers, and learn from the event log if one fired; with --by, in any case.

    Example:  ratchet retrain agent --by dana --reason "new product line"
    """
    from flows.show_triggers import show_retrain
    from flows.triggers import run_retrain

    done = run_retrain(
        settings_of(home, debug), model=model, events=events, policy=policy, strategy=strategy, manual=by is not None,
        by=by or "ratchet", reason=reason, dry_run=dry_run, approve_as=approve_as, experiment=experiment,
    )  # fmt: skip
    if json_:
        print_json(done)
    else:
        show_retrain(done)
