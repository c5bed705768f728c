"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.postgres import postgres  # noqa: F401  # a fixture

REPOSITORY = Path(__file__).parents[1]
RECORDS = REPOSITORY.parent / "shared" / "data"

for _name in [name for name in os.environ if name.startswith(("RATCHET_", "PREFECT_", "MLFLOW_"))]:
    del os.environ[_name]  # the tests' settings are their own, whatever the shell has
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make chaos` kill more often than the suite does, and retrains be examined under more seeds."""
    parser.addoption("--kills", type=int, default=4, help="how many seeded kills the crash tests make")
    parser.addoption(
        "--week-kills", type=int, default=2, help="how many processes are killed in the week of production"
    )
    parser.addoption("--inputs", type=int, default=200, help="how many damaged inputs each parser gets")
    parser.addoption("--seeds", type=int, default=6, help="how many clean retrains the tests of validation examine")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest) -> int:
    """Return how many clean retrains are examined."""
    return int(request.config.getoption("--seeds"))


@pytest.fixture(scope="session")
def records() -> Path:
    """Return the folder of real records; a test that needs it is skipped where it is absent."""
    if not RECORDS.is_dir():
        pytest.skip(f"the real records are not here: {RECORDS}")
    return RECORDS
