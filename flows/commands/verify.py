"""`ratchet verify`: are the components in order, and do the gates catch what they must?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Debug, Home, Json, folder, print_json, reported, settings_of

app = typer.Typer()


@app.command()
@reported
def verify(
    events: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVENTS...]",
            help="Event files to test with; default: the newest dataset of the home, else a made-up sample.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Only strong faults, in seconds.")] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", help="Champions that are made.", min=1, max=1000, show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="DIR", help="Write verification.json and verification.html there.",
            show_default=False, parser=folder,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", metavar="FILE", help="Policy whose gates are tested (env RATCHET_POLICY).", show_default=False
        ),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Check every component, and test the gates with candidates that are known to be bad, and good ones.

    Everything happens in a sandbox. It exits 1 when a gate lets through what it must catch, or holds up what is good.

    Example:  ratchet verify --quick
    """
    from flows.policy import chosen_file, load_policy
    from flows.settings import prepare_environment
    from flows.show_verification import show_verification
    from flows.verification import refuse, verify_gates
    from flows.verify import raise_event

    settings = settings_of(home, debug)
    prepare_environment(settings)
    result = verify_gates(
        settings,
        events=events or (),
        policy=load_policy(chosen_file(policy, settings)),
        quick=quick,
        seeds=seeds,
        report=report,
        told=lambda line: typer.echo(f"ratchet verify: {line}", err=True),
    )
    if json_:
        print_json(result)
    else:
        show_verification(result)
    if not result["ok"] and settings.prefect_api_url is not None:
        raise_event(result)
    refuse(result)
