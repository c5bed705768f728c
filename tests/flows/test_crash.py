"""SIGKILL at any write of the main job: the next run completes, and nothing is lost, doubled or half there.

`make chaos` runs this with `--kills 60`; the suite runs a short form.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(3600)]
EVENTS = 700


class Killing:
    """Runs of `learn` on one small sample, each in a home of its own."""

    def __init__(self, events: Path, scratch: Path, environment: dict[str, str]) -> None:
        self.events, self.scratch, self.environment = events, scratch, environment
        home = scratch / "clean"
        assert self.run(0, 0.0, home).returncode == 0
        self.writes = int((scratch / "count").read_text())
        self.clean = self.state(home)

    def run(self, at: int, delay: float, home: Path) -> subprocess.CompletedProcess[bytes]:
        script = str(REPOSITORY / "tests/flows/killed.py")
        command = [sys.executable, script, str(at), str(delay), str(self.scratch / "count")]
        return subprocess.run(
            [*command, "learn", str(self.events), "--home", str(home), "--json"],
            env=self.environment, cwd=REPOSITORY, capture_output=True, timeout=240, check=False,
        )  # fmt: skip

    def state(self, home: Path) -> dict[str, object]:
        """What must be the same whether or not a run was killed on the way."""
        from flows.settings import load_settings
        from flows.stores import open_stores

        stores = open_stores(load_settings(home=home))
        versions = stores.models.versions("agent")
        manifests = [stores.datasets.load("agent", version) for version in stores.datasets.versions("agent")]
        (rejects,) = (home / "runs").glob("*/rejects.jsonl")
        return {
            "datasets": [(manifest.version, manifest.digest) for manifest in manifests],
            "models": [(v.version, v.stage, tuple(v.aliases), v.artifact_digest) for v in versions],
            "history": [(line.action, line.version, line.after) for line in stores.history.of("agent")],
            "open intents": len(stores.history.open_intents()),
            "rejects": sorted(json.loads(line)["line"] for line in rejects.read_bytes().splitlines()),
            "left over": sorted(path.name for path in home.glob("datasets/**/.*")),
            "scratch": sorted(path.name for path in (home / "scratch").iterdir()),
        }


@pytest.fixture(scope="module")
def killing(tmp_path_factory, make_sample, prefect_api) -> Killing:
    scratch = tmp_path_factory.mktemp("killing")
    events = make_sample(scratch / "events.jsonl", "--events", EVENTS)
    return Killing(events, scratch, {**os.environ, "PREFECT_API_URL": prefect_api})


def test_a_run_killed_at_any_write_or_in_the_middle_of_it_is_completed_by_the_next_one(killing, tmp_path, request):
    draw = random.Random(20)
    kills = min(request.config.getoption("--kills"), killing.writes)
    for number, at in enumerate(draw.sample(range(1, killing.writes + 1), kills)):
        home = tmp_path / f"home-{number}"
        delay = draw.uniform(0.001, 0.03) if number % 2 else 0.0
        point = f"write {at} of {killing.writes}, {delay:.3f} s into it"
        killed = killing.run(at, delay, home)
        came_to_its_end = delay and at > killing.writes - 20  # the last writes may be over before the delay is
        assert killed.returncode == -signal.SIGKILL or came_to_its_end, f"{point}: {killed.stderr.decode()[-500:]}"
        again = killing.run(0, 0.0, home)
        assert again.returncode == 0, f"after a kill at {point}: {again.stderr.decode()[-2000:]}"
        assert killing.state(home) == killing.clean, f"after a kill at {point}"
