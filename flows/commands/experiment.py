"""`ratchet experiment`: a challenger tried beside the champion, on a share of the traffic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import By, Debug, Home, Json, Model, existing, print_json, reported, said
from registry.errors import TriggerError

experiment = typer.Typer(
    no_args_is_help=True,
    help="Try a version beside the champion on a share of the traffic: start, status, ramp, stop, list.",
)
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="FILE", help="Policy file (env RATCHET_POLICY; default: what the version learned under).",
        show_default=False,
    ),
]  # fmt: skip
Share = Annotated[
    float | None,
    typer.Option(
        "--share", metavar="SHARE", help="Share of the units that each arm gets, up to 0.5 (default: by policy).",
        show_default=False,
    ),
]  # fmt: skip
Tried = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, or key of the experiment.")]


@experiment.command()
@reported
def start(
    model: Model,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="The challenger: in staging; for --shadow in development as well.")
    ],
    by: By,
    other: Annotated[
        list[str] | None,
        typer.Option("--other", metavar="VERSION", help="One more challenger; may be repeated.", show_default=False),
    ] = None,
    share: Share = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The champion serves everybody; the challenger's answers are only logged.")
    ] = False,
    policy: PolicyFile = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Try VERSION beside the champion. Again: shows the experiment that runs.

    Example:  ratchet experiment start agent 4 --by dana
    """
    from flows.experiments import start_experiment, version_rules
    from flows.stores import open_stores
    from registry.home import now

    stores = open_stores(existing(home, debug))
    rules = version_rules(stores, model, version, policy)
    mode: Any = "shadow" if shadow else "live"
    asked = now()
    found = start_experiment(stores, rules, model, version, by, share, mode, others=other)
    if found.started < asked:
        if found.mode != mode:
            what = f"experiment {found.key} runs already, in mode {found.mode}"
            raise TriggerError("E7721", what, f"end it first with `ratchet experiment stop {model}`")
        typer.echo(f"experiment {found.key} runs already; nothing was changed", err=True)
    _told(found, json_)


@experiment.command()
@reported
def status(
    model: Tried,
    policy: PolicyFile = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Show how an experiment stands: the lift with bounds that hold at any time, guards, what it waits for.

    Looking changes nothing, and never makes a wrong verdict more likely.
    """
    from flows.experiments import experiment_status, latest_experiment, rules_of
    from flows.stores import open_stores

    stores = open_stores(existing(home, debug))
    found = latest_experiment(stores, model)
    rules = rules_of(stores, found, policy)
    judgement, told = experiment_status(stores, found, rules, datetime.now(UTC))
    if json_:
        print_json(told)
        return
    from flows.show_experiment import show_status

    show_status(found, judgement, rules.margin, told["page"])


@experiment.command()
@reported
def stop(
    model: Tried,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.", callback=said)],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """End the running experiment without a verdict: everybody gets the champion, the challenger stays in its stage.

    Example:  ratchet experiment stop agent --by dana --reason "the holidays start"
    """
    from flows.experiments import stop_experiment
    from flows.stores import open_stores

    _told(stop_experiment(open_stores(existing(home, debug)), model, by, reason), json_)


@experiment.command()
@reported
def ramp(
    model: Tried,
    by: By,
    share: Share = None,
    policy: PolicyFile = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Give each arm a larger share: the next step of the policy, or --share. Units that are in stay in their arm.

    Example:  ratchet experiment ramp agent --share 0.25 --by dana
    """
    from flows.experiments import ramp_experiment, rules_of, running_experiment
    from flows.stores import open_stores

    stores = open_stores(existing(home, debug))
    before = running_experiment(stores, model)
    if share is not None and share < before.share:
        what = f"each arm of {before.key} gets {before.share:.0%} already, and a share only grows"
        raise TriggerError("E7723", what, f"give a larger one, or end it with `ratchet experiment stop {model}`")
    ramped = ramp_experiment(stores, rules_of(stores, before, policy), model, by, share)
    if ramped.share == before.share:
        typer.echo(f"each arm gets {before.share:.0%} already, and there is no further step; nothing changed", err=True)
    _told(ramped, json_)


@experiment.command("list")
@reported
def list_(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Name of the model (default: all).", show_default=False)
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """List the experiments there were and are, oldest first."""
    from flows.stores import open_stores

    found = open_stores(existing(home, debug)).experiments.all(model)
    if json_:
        print_json({"experiments": [each.model_dump(mode="json") for each in found]})
        return
    from flows.show_experiment import show_experiments

    show_experiments(found, model)


def _told(found: Any, json_: bool) -> None:
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    from flows.show_experiment import show_experiments

    show_experiments([found])
