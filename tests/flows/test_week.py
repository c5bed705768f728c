"""A week of production with real servers on PostgreSQL, while processes are killed: the loop closes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import Postgres

SECONDS = 1_500


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_a_week_goes_well_on_postgresql_though_processes_are_killed(
    repository: Path, tmp_path: Path, request: pytest.FixtureRequest, postgres: Postgres
):
    kills = int(request.config.getoption("--week-kills"))
    records, mlflow, prefect = (postgres.fresh() for _ in range(3))
    environment = {
        "RATCHET_DATABASE_URL": records,
        "MLFLOW_TRACKING_URI": mlflow.replace("postgresql://", "postgresql+psycopg://"),
        "PREFECT_API_DATABASE_CONNECTION_URL": prefect.replace("postgresql://", "postgresql+asyncpg://"),
    }
    story = [sys.executable, "examples/week.py", "--home", str(tmp_path / "week"), "--kills", str(kills)]
    done = subprocess.run(
        [*story, "--events", "2000"], cwd=repository, env={**os.environ, **environment}, capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    for step in ("no retrain by", "retrain: ", "is trained, examined, and tried on 10%", "rolled back by itself"):
        assert step in done.stdout
    assert f"{kills} processes were killed" in done.stdout
