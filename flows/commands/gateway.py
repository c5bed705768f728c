"""`ratchet gateway`: production traffic in, answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Debug, Home, reported, settings_of

if TYPE_CHECKING:
    from flows.settings import Settings
    from gateway.config import GatewayConfig

LIMITS = (
    "endpoint_keys", "poll_seconds", "answer_seconds", "answers_at_once", "model_threads", "chat_bytes", "batch_bytes",
    "requests_per_second", "burst",
)  # fmt: skip
"""What settings and the gateway call by the same name, but for the settings' prefix `gateway_`."""

app = typer.Typer()


@app.command("gateway")
@reported
def gateway(
    home: Home = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on; anything but loopback needs tokens (default: 127.0.0.1)."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any that is free (default: 8400)."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Answer chat completions with the champion or the running experiment's arm, and take events and feedback.

    Example:  ratchet gateway --port 8400
    """
    import logging

    from flows.addresses import ALONE, forget_addresses, gateway_address, write_addresses
    from flows.settings import prepare_environment
    from gateway.serve import run

    settings = settings_of(home, debug)
    given = {name: value for name, value in (("gateway_host", host), ("gateway_port", port)) if value is not None}
    settings = settings.model_copy(update=given)
    prepare_environment(settings)
    logging.basicConfig(level=logging.DEBUG if debug else settings.log_level, format="%(levelname)s %(message)s")

    def started(address: str, open_to_all: bool) -> None:
        write_addresses(settings.layout, {"gateway": gateway_address(address)}, ALONE)
        _say(address, open_to_all)

    try:
        run(gateway_config(settings), started=started)
    finally:
        forget_addresses(settings.layout, ALONE)


def gateway_config(settings: Settings) -> GatewayConfig:
    """Return what the settings say of the gateway."""
    from flows.templates import mlflow_template
    from gateway.config import GatewayConfig

    return GatewayConfig(
        home=settings.home,
        records_url=settings.records_url,
        mlflow_uri=settings.mlflow_uri,
        mlflow_template=mlflow_template(),
        mlflow_timeout=settings.mlflow_timeout,
        host=settings.gateway_host,
        port=settings.gateway_port,
        tokens=settings.gateway_tokens,
        trusted_keys=settings.trusted_keys,
        **{name: getattr(settings, f"gateway_{name}") for name in LIMITS},
    )


def _say(address: str, open_to_all: bool) -> None:
    who = "without tokens: everybody on this machine may ask it" if open_to_all else "for those who have a token"
    typer.echo(f"gateway on {address}, {who}", err=True)
