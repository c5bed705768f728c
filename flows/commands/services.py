"""`ratchet up` and `ratchet status`: what a team leaves running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Debug, Home, Json, existing, print_json, reported, settings_of

if TYPE_CHECKING:
    from flows.addresses import Address

app = typer.Typer(rich_markup_mode="rich")
UP_HELP = """
Start Prefect, MLflow, a worker for every deployment and the gateway, and keep them running until Ctrl-C.

What the settings say runs elsewhere (PREFECT_API_URL, MLFLOW_TRACKING_URI, RATCHET_GATEWAY_URL) is used and not
started. A port that is taken is replaced by one that is free; 0 means any.

[bold]Examples[/bold]

  ratchet up
  ratchet up --home /srv/ratchet --no-gateway
"""


@app.command(help=UP_HELP)
@reported
def up(
    prefect_port: Annotated[
        int, typer.Option("--prefect-port", metavar="PORT", help="Port of Prefect's server.", min=0, max=65535)
    ] = 4200,
    mlflow_port: Annotated[
        int, typer.Option("--mlflow-port", metavar="PORT", help="Port of MLflow's server.", min=0, max=65535)
    ] = 5000,
    gateway_port: Annotated[
        int | None,
        typer.Option(
            "--gateway-port", metavar="PORT", help="Port of the gateway (env RATCHET_GATEWAY_PORT; default: 8400).",
            min=0, max=65535, show_default=False,
        ),
    ] = None,
    gateway: Annotated[bool, typer.Option("--gateway/--no-gateway", help="Whether to start the gateway.")] = True,
    home: Home = None,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Start everything (`UP_HELP` is what people read)."""
    from flows.up import Ports
    from flows.up import up as run

    settings = settings_of(home, debug)
    wanted = settings.gateway_port if gateway_port is None else gateway_port
    ports = Ports(prefect_port, mlflow_port, wanted if gateway else None)
    run(settings, ports, lambda line: typer.echo(f"ratchet up: {line}", err=True), _show_addresses)


def _show_addresses(addresses: dict[str, Address]) -> None:
    for name, address in addresses.items():
        elsewhere = "" if address.pid is not None else "  (runs elsewhere)"
        typer.echo(f"{name:8}  {address.url}{elsewhere}")
    typer.echo("all of it is healthy; Ctrl-C stops it")


@app.command()
@reported
def status(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """Show what runs, who serves, what is being tried, what would trigger a retrain, and what waits for a person."""
    from flows.show_status import show_status
    from flows.status import status_of

    summary = status_of(existing(home, debug))
    if json_:
        print_json(summary)
    else:
        show_status(summary)
