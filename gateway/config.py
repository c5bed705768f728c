"""What a gateway is told when it starts. The command line fills it from the settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from registry.records import Record

MIB = 1 << 20


class GatewayConfig(Record):
    """Everything that a gateway needs to know; nothing in `gateway` reads the environment."""

    home: Path
    """The home: models that were fetched, and what waits to be written to the log, lie in it."""
    records_url: str
    """SQLAlchemy URL of the event log and of the experiments."""
    mlflow_uri: str | None = None
    """MLflow's tracking server or database; None for the one embedded in the home."""
    mlflow_template: Path | None = None
    """Migrated, empty MLflow database to start a fresh embedded one from."""
    mlflow_timeout: float = 10.0
    """Seconds to wait for an MLflow server's first answer."""
    host: str = "127.0.0.1"
    port: int = Field(default=8400, ge=0, le=65535)
    """0 for any port that is free."""
    tokens: Path | None = None
    """File of bearer tokens; without it the gateway listens on loopback only."""
    endpoint_keys: Path | None = None
    """File of API keys for models that are served elsewhere."""
    trusted_keys: Path | None = None
    """File of the keys whose signatures count; None for the home's."""
    source: str = "ratchet/gateway"
    """`source` of the events that the gateway itself logs."""
    poll_seconds: float = Field(default=2.0, gt=0)
    """How often it looks whether an alias has moved or an experiment has changed."""
    chat_bytes: int = Field(default=MIB, ge=1)
    """The largest body of a chat completion or of feedback."""
    batch_bytes: int = Field(default=32 * MIB, ge=1)
    """The largest body of `/events`."""
    requests_per_second: float = Field(default=10_000.0, ge=0)
    """Requests a second that one token, or one address without tokens, may make for long; 0 for no limit."""
    burst: int = Field(default=20_000, ge=1)
    """Requests that one may make at once."""
    answer_seconds: float = Field(default=60.0, gt=0)
    """How long a model may take to answer."""
    answers_at_once: int = Field(default=256, ge=1)
    """Chat completions that may be under way; who comes on top is asked to come again."""
    model_threads: int = Field(default=2, ge=1)
    """Threads in which models of this process answer."""
    shadow_queue: int = Field(default=256, ge=1)
    """Answers of shadow challengers that may wait; those on top are dropped and counted."""
    waiting_bytes: int = Field(default=128 * MIB, ge=1)
    """Bytes of `/events` that may wait for the log at once; who comes on top is asked to come again."""
    stop_seconds: int = Field(default=30, ge=1)
    """How long requests under way may take to end when the gateway is told to stop."""
