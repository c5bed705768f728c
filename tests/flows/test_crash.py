"""SIGKILL at any point of the main job: the next run completes, and nothing is lost, doubled or half there.

`make chaos` runs this with `--kills 500`; the suite runs a short form.
"""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.flows.nursery import Nursery

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(3 * 3600)]
EVENTS = 700
APPROVER = "ann"
STEPS = ("dataset", "training", "registering", "validation", "decision", "transition", "report")
"""Of the main job; `transition` is every point between signing, tags, aliases, history and audit."""
RESUME_SECONDS = 30.0


class Point(NamedTuple):
    """Where a run is killed: at its k-th point, so many seconds into it."""

    at: int
    delay: float
    step: str


class Killing:
    """Runs of `learn`, with an approval, on one small sample, each in a home of its own."""

    def __init__(self, events: Path, scratch: Path, environment: dict[str, str], nurseries: int) -> None:
        self.learn = ("learn", events, "--approve-as", APPROVER, "--json")
        self.nurseries: queue.Queue[Nursery] = queue.Queue()
        self.all = [Nursery(scratch / f"nursery-{n}", environment) for n in range(nurseries)]
        for nursery in self.all:
            self.nurseries.put(nursery)
        done = self.all[0].run(scratch / "clean", *self.learn)
        assert done["code"] == 0, done["said"]
        self.steps: list[str] = done["steps"]
        self.clean = self.state(scratch / "clean")

    def draw(self, kills: int, seed: int) -> list[Point]:
        """Return seeded points: as many in every step as in the others, up to 30, and the rest anywhere.

        Every other one is somewhere in the middle of what begins there.
        """
        generator = random.Random(seed)
        places = {step: [n for n, name in enumerate(self.steps, 1) if name == step] for step in STEPS}
        assert all(places.values()), Counter(self.steps)
        each = min(30, kills // len(STEPS))
        chosen = [at for step in STEPS for at in generator.choices(places[step], k=each)]
        chosen += generator.choices(range(1, len(self.steps) + 1), k=kills - len(chosen))
        return [
            Point(at, generator.uniform(0.001, 0.03) if number % 2 else 0.0, self.steps[at - 1])
            for number, at in enumerate(chosen)
        ]

    def kill(self, point: Point, home: Path) -> float:
        """Kill a run at a point and run it again; return the seconds that this took."""
        nursery = self.nurseries.get()
        try:
            killed = nursery.run(home, *self.learn, at=point.at, delay=point.delay)
            came_to_its_end = killed["code"] == 0 and (point.delay or point.at > len(self.steps) - 20)
            assert killed["code"] == -signal.SIGKILL or came_to_its_end, f"{point}: {killed['said']}"
            again = nursery.run(home, *self.learn)
            assert again["code"] == 0, f"after a kill at {point}: {again['said']}"
            audit = nursery.run(home, "audit", "verify")
            assert audit["code"] == 0, f"after a kill at {point}: {audit['said']}"
        finally:
            self.nurseries.put(nursery)
        assert self.state(home) == self.clean, f"after a kill at {point}"
        return float(again["seconds"])

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
            "decisions": [decision.verdict for decision, _ in stores.history.decisions("agent")],
            "bundles": [(bundle.version, bundle.action) for bundle in stores.bundles.of("agent")],
            "open intents": len(stores.history.open_intents()),
            "rejects": sorted(json.loads(line)["line"] for line in rejects.read_bytes().splitlines()),
            "left over": sorted(path.name for path in home.glob("datasets/**/.*")),
            "scratch": sorted(path.name for path in (home / "scratch").iterdir()),
        }


@pytest.fixture(scope="module")
def killing(tmp_path_factory, make_sample, prefect_api, request):
    scratch = tmp_path_factory.mktemp("killing")
    events = make_sample(scratch / "events.jsonl", "--events", EVENTS)
    several = 2 if request.config.getoption("--kills") > 50 else 1  # the suite has two processes already
    killing = Killing(events, scratch, {**os.environ, "PREFECT_API_URL": prefect_api}, several)
    yield killing
    for nursery in killing.all:
        nursery.close()


def test_a_run_killed_at_any_point_is_completed_by_the_next_one(killing, tmp_path, request, capsys):
    points = killing.draw(request.config.getoption("--kills"), seed=20)

    def tried(number: int) -> float:
        home = tmp_path / f"home-{number}"
        seconds = killing.kill(points[number], home)
        shutil.rmtree(home)
        return seconds

    with ThreadPoolExecutor(len(killing.all)) as pool:
        resumed = list(pool.map(tried, range(len(points))))
    assert max(resumed) <= RESUME_SECONDS
    with capsys.disabled():
        if len(points) > 50:
            where = dict(Counter(point.step for point in points))
            print(f"\n{len(points)} kills {where}, resumed in {max(resumed):.1f} s at most")
