"""The settings, and the only place that reads the environment.

Settings come from variables with the prefix `RATCHET_`; what the command line is given goes over them. Two servers are
found by the names that everybody uses: `MLFLOW_TRACKING_URI` and `PREFECT_API_URL`. Without them everything runs
embedded, in files under `home`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.keeper import MARK
from registry.errors import SettingsError, listed
from registry.home import Home

PREFIX = "RATCHET_"
_DRIVERS = {"mlflow_uri": "psycopg", "prefect_database_url": "asyncpg"}
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Runner = Literal["threads", "processes", "dask"]


class Settings(BaseSettings):
    """Where things are kept and how work is run. What is learned, and how, is the policy's."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    home: Path = Path(".ratchet")
    """Folder for everything that is not on a server named here. Two homes never touch each other."""
    runner: Runner = "threads"
    """What runs the tasks of a flow."""
    workers: int = Field(default=max(2, CPUS), ge=1, le=1024)
    """How many tasks run side by side. Results never depend on it."""
    policy: Path | None = None
    """Policy file where a command or a run names none; without it, the defaults."""
    mlflow_uri: str | None = Field(
        default=None, validation_alias=AliasChoices("RATCHET_MLFLOW_URI", "MLFLOW_TRACKING_URI")
    )
    """MLflow's tracking server or database; without it, a database in the home."""
    prefect_api_url: str | None = Field(
        default=None, validation_alias=AliasChoices("RATCHET_PREFECT_API_URL", "PREFECT_API_URL")
    )
    """Prefect server, such as http://HOST:4200/api; without it, a server is started for the run."""
    prefect_database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "RATCHET_PREFECT_DATABASE_URL",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL",
            "PREFECT_API_DATABASE_CONNECTION_URL",
        ),
    )
    """Database of the Prefect server that is started here, such as postgresql+asyncpg://USER@HOST/DB; without it, a
    file in the home."""
    database_url: str | None = None
    """Database of Ratchet's own records and of the event log, such as postgresql://USER@HOST/DB; without it, a file in
    the home."""
    gateway_url: str | None = None
    """A gateway that runs elsewhere; without it, `ratchet up` starts one."""
    gateway_host: str = "127.0.0.1"
    """Address that the gateway listens on. Anything but loopback needs tokens."""
    gateway_port: int = Field(default=8400, ge=0, le=65535)
    """Port that the gateway listens on; 0 for any that is free."""
    gateway_tokens: Path | None = None
    """File of bearer tokens, a line each: TOKEN SCOPE[,SCOPE...] with the scopes ingest, infer and admin."""
    gateway_endpoint_keys: Path | None = None
    """File of API keys for models that are served elsewhere, a line each: ADDRESS KEY."""
    gateway_poll_seconds: float = Field(default=2.0, gt=0, le=3600)
    """How often the gateway looks whether an alias has moved or an experiment has changed."""
    gateway_answer_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How long a model may take to answer, here or elsewhere."""
    gateway_answers_at_once: int = Field(default=256, ge=1)
    """Chat completions that may be under way."""
    gateway_model_threads: int = Field(default=2, ge=1, le=1024)
    """Threads in which models of the gateway's own process answer."""
    gateway_chat_bytes: int = Field(default=1 << 20, ge=1)
    """The largest body of a chat completion or of feedback."""
    gateway_batch_bytes: int = Field(default=32 << 20, ge=1)
    """The largest body of /events."""
    gateway_requests_per_second: float = Field(default=10_000.0, ge=0)
    """Requests a second that one token, or one address without tokens, may make for long; 0 for no limit."""
    gateway_burst: int = Field(default=20_000, ge=1)
    """Requests that one may make at once."""
    dask_scheduler: str | None = None
    """Address of a running Dask scheduler; without it, the runner `dask` starts a cluster on this machine."""
    partition_bytes: int | None = Field(default=None, ge=1024)
    """How much input one task reads. It bounds memory; without it, a size that suits the input."""
    server_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds to wait for a Prefect server to answer."""
    mlflow_timeout: int = Field(default=10, ge=1, le=3600)
    """Seconds to wait for one answer of an MLflow server."""
    identity: str | None = Field(default=None, max_length=200)
    """Who starts the trainings here; without it, the user of the operating system. Who starts one may not approve what
    comes of it."""
    approver_key: Path | None = None
    """Private key (ed25519, PEM) with which approvals are signed here; without it, one in the home for each name."""
    signing_key: SecretStr | None = None
    """Private key (ed25519, PEM) that signs what happens here: its path, or the PEM text itself; without it, one is
    made in the home."""
    trusted_keys: Path | None = None
    """File of the keys whose signatures count, as HOME/keys/trusted.json; without it, that one. It is never written."""
    audit_retention_days: int = Field(default=90, ge=1, le=36500)
    """For how long every record of the audit log is kept; `ratchet audit prune` removes nothing that is younger."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    """What is shown on standard error. The log file of a run always has everything from INFO up."""
    debug: bool = False
    """Show tracebacks and the logs of Prefect and MLflow."""

    @field_validator(
        "prefect_api_url", "mlflow_uri", "dask_scheduler", "database_url", "gateway_url", "prefect_database_url"
    )
    @classmethod
    def _no_blanks(cls, value: str | None) -> str | None:
        return value.strip().rstrip("/") or None if value is not None else None

    @field_validator("prefect_api_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be a web address such as http://HOST:4200/api")
        return value

    @field_validator("mlflow_uri", "prefect_database_url")
    @classmethod
    def _with_driver(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Name the PostgreSQL driver that is installed, where a URL names none."""
        driver = _DRIVERS[str(info.field_name)]
        return value if value is None else re.sub(r"^postgres(ql)?://", f"postgresql+{driver}://", value)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.dask_scheduler is not None and self.runner != "dask":
            raise ValueError(f"{PREFIX}DASK_SCHEDULER is set but {PREFIX}RUNNER is {self.runner}, not dask")
        return self

    @property
    def embedded(self) -> bool:
        """Whether a Prefect server is started for the run."""
        return self.prefect_api_url is None

    @property
    def layout(self) -> Home:
        """Where everything lies in the home."""
        return Home(self.home)

    @property
    def records_url(self) -> str:
        """SQLAlchemy URL of Ratchet's own records and of the event log."""
        return self.database_url or self.layout.database_url

    @property
    def tracking_uri(self) -> str:
        """What MLflow is to be pointed at."""
        return self.mlflow_uri or self.layout.tracking_uri


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` that are not None go over the environment.

    Raises:
        SettingsError: E7800 with every problem at once.
    """
    problems = _unknown_variables()
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
    if problems:
        raise SettingsError("E7800", listed(problems), "correct these settings; docs/operations.md lists them all")
    own = {"mlflow_uri": settings.layout.tracking_uri, "prefect_database_url": prefect_database(settings.layout)}
    told = {name: None for name, value in own.items() if getattr(settings, name) == value}
    return (
        settings.model_copy(update=told) if told else settings
    )  # as `prepare_environment` told this process's children


def prefect_database(home: Home) -> str:
    """Return the URL of the embedded Prefect server's own database."""
    return f"sqlite+aiosqlite:///{home.prefect / 'prefect.db'}"


def _known_variables() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def _unknown_variables() -> list[str]:
    known = _known_variables()
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return [f"{name} is no setting{suggestion(name, known)}" for name in unknown]


def suggestion(word: str, known: set[str]) -> str:
    """Return ` (did you mean ...?)`, or nothing where nothing known is near."""
    near = get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _problem(detail: Any) -> str:
    if not detail["loc"]:
        return str(detail["msg"]).removeprefix("Value error, ")
    name = str(detail["loc"][0])
    variable = name if name.isupper() else f"{PREFIX}{name.upper()}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{variable}={str(detail['input'])[:80]!r}: {message[0].lower()}{message[1:]}"


# --- what Prefect and MLflow read ----------------------------------------------------------------------------------

_ALWAYS = {
    "DO_NOT_TRACK": "true",  # MLflow reads `true` only, not `1`
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_RECORDER = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
RECORDED_IN_BATCHES = {
    f"{_RECORDER}READ_BATCH_SIZE": "100",
    f"{_RECORDER}BATCH_SIZE": "100",
    f"{_RECORDER}FLUSH_INTERVAL": "1",
}
"""Of a Prefect server: without these it records each task run by itself, 26 ms each, and is stopped with most still
queued."""
_EMBEDDED = {
    **RECORDED_IN_BATCHES,
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",  # it is the same installation
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}
_OF_ANOTHER_SERVER = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_PROFILE")


def prepare_environment(settings: Settings) -> None:
    """Set what Prefect and MLflow read when they are imported, for this process and those it starts.

    Call it before either is imported. The embedded server's address is added by `flows.engine.engine`.
    """
    os.environ.update(_ALWAYS)
    layout = settings.layout
    os.environ["RATCHET_HOME"] = str(layout.root)
    if settings.policy is not None:
        os.environ["RATCHET_POLICY"] = str(settings.policy.expanduser().absolute())
    os.environ["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(layout.prefect / "storage")
    os.environ["PREFECT_TASK_RUNNER_THREAD_POOL_MAX_WORKERS"] = str(settings.workers)
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(settings.mlflow_timeout)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    shown = "DEBUG" if settings.debug else "WARNING"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", shown)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", shown)  # the server gets everything from INFO up
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flows,tasks,registry")
    if settings.prefect_api_url is not None:
        os.environ["PREFECT_API_URL"] = settings.prefect_api_url
    else:
        os.environ.update(_EMBEDDED)
        os.environ["PREFECT_HOME"] = str(layout.prefect)
        os.environ.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL", None)
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = settings.prefect_database_url or prefect_database(layout)
        for name in _OF_ANOTHER_SERVER:
            os.environ.pop(name, None)


@contextmanager
def restored_environment() -> Iterator[None]:
    """Leave the environment as it was found, so that one process can work on several homes in turn."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def use_prefect_server(url: str) -> None:
    """Point this process, and those it starts, at the Prefect server at `url`."""
    os.environ["PREFECT_API_URL"] = url


def server_environment(*, migrated: bool, port: int | None = None) -> dict[str, str]:
    """Return the environment of the embedded Prefect server; a `migrated` database is taken as it is.

    With a `port` it is the whole server, with its pages, which tell the browser where the API is.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    if port is not None:
        environment["PREFECT_UI_ENABLED"] = "true"
        environment["PREFECT_UI_API_URL"] = f"http://127.0.0.1:{port}/api"
    if migrated:
        environment["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
        environment["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"
        environment["PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION"] = "false"  # it would import every integration
    return environment


def service_environment(mark: str) -> dict[str, str]:
    """Return the environment of what `ratchet up` starts; `mark` tells its processes from all others."""
    return {
        **os.environ,
        MARK: mark,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 13 processes that nobody here needs
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONUNBUFFERED": "1",
    }
