"""Play a week of production in a few minutes, with real servers, and check every step of it.

    python examples/week.py [--home DIR] [--seed N] [--kills N]

Customers ask an agent through the gateway and say whether the answer was right. On Wednesday they begin to ask about
something that the agent was never taught; the helpdesk answers in its place. Ratchet notices, says why, learns from
what the helpdesk wrote, tries the new version on a tenth of the customers, and shows that it is better. A person
approves. On Saturday the new version goes wrong on its way to the customers, and the one before comes back by itself.

With `--kills N`, a process of this Ratchet is killed at N seeded moments; the week goes on all the same. Set
RATCHET_DATABASE_URL, MLFLOW_TRACKING_URI and PREFECT_API_DATABASE_CONNECTION_URL to play it on PostgreSQL.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reaper import Reaper, Watch
from servers import Ratchet
from traffic import Answer, Traffic, shares
from world import World

EXAMPLES = Path(__file__).parent
MODEL, YOU = "agent", "dana@example.com"
POLICY = EXAMPLES / "week.yaml"
MOST_LOOKS = 12
"""How often a flow is given more traffic until it decides; it needs two or three."""


class Week:
    """The story: each method is a part of it, and asserts what it tells."""

    def __init__(self, home: Path, seed: int) -> None:
        self.ratchet = Ratchet(home, {"RATCHET_LOG_LEVEL": "ERROR"})
        self.world = World(seed)
        self.traffic = Traffic(self.world, lambda: self.ratchet.address("gateway"), MODEL)
        self.policy = {"policy": str(POLICY)}
        self.started = time.monotonic()
        self.unit = 0
        self.first = 0
        """Where the week begins in the log."""

    def tell(self, day: str, text: str) -> None:
        """Print a line of the story."""
        print(f"{time.monotonic() - self.started:5.0f} s  {day:<9}  {text}", flush=True)

    def customers(self, count: int) -> list[str]:
        """Return customers who were not here before."""
        self.unit += count
        return [f"customer-{number:06d}" for number in range(self.unit - count, self.unit)]

    # --- the days ----------------------------------------------------------------------------------------------------

    def before(self, events: int) -> None:
        """A fortnight of logs becomes version 1."""
        with tempfile.TemporaryDirectory() as folder:
            sample = Path(folder) / "events.jsonl"
            make = [sys.executable, EXAMPLES / "make_events.py", "--out", sample, "--events", events, "--clean"]
            subprocess.run([*map(str, make)], check=True, stdout=subprocess.DEVNULL)
            done = self.ratchet.command("events", "import", sample)
        self.first = int(done["head"])
        self.tell("before", f"{done['appended']:,} events of the last fortnight are in the log")
        summary = self.ratchet.command("learn", "log:", "--model", MODEL, "--approve-as", YOU, "--policy", POLICY)
        assert summary["decision"] == "promoted", summary["reason"]
        split = summary["dataset"]["splits"]
        self.tell("before", f"version 1 is learned from {split['train']} conversations and serves")

    def monday(self) -> None:
        """Nothing happens, and Ratchet says why nothing happens."""
        answers = self.traffic.day(self.customers(300))
        self.tell("Monday", shares(answers))
        assert self.ratchet.run("retrain", model=MODEL, **self.policy) == "COMPLETED"
        why = self.ratchet.command("triggers", MODEL, "--policy", POLICY)
        assert not why["fired"], why
        for check in why["checks"]:
            self.tell("Monday", f"no retrain by {check['kind']}: {check['reason']}")

    def wednesday(self) -> None:
        """A new thing is asked about; the drop fires a retrain, whose candidate is tried on a tenth."""
        self.world.new_share = 0.35
        self.tell("Wednesday", "customers ask about night trains, of which version 1 knows nothing")
        for _ in range(MOST_LOOKS):
            self.tell("Wednesday", shares(self.traffic.day(self.customers(150))))
            assert self.ratchet.run("retrain", model=MODEL, **self.policy) == "COMPLETED"
            check = self.ratchet.command("triggers", MODEL, "--why", "now")
            if check["fired"]:
                break
        fired = {found["kind"]: found["reason"] for found in check["checks"] if found["fired"]}
        assert "quality_drop" in fired, check
        self.tell("Wednesday", f"retrain: {fired['quality_drop']}")
        running = self.ratchet.command("experiment", "status", MODEL)
        assert (running["state"], running["share"]) == ("running", 0.1), running
        self.tell(
            "Wednesday",
            f"version {running['arms'][1]['version']} is trained, examined, and tried on {running['share']:.0%}",
        )

    def friday(self) -> str:
        """The challenger is shown to be better; a person lets it through."""
        status: dict[str, Any] = {"state": "running"}
        for _ in range(MOST_LOOKS):
            self.traffic.ledger.arms.clear()
            answers = self.traffic.day(self.customers(300))
            self._sticky(answers)
            self.tell("Thursday", shares(answers))
            assert self.ratchet.run("judge", model=MODEL) == "COMPLETED"
            status = self.ratchet.command("experiment", "status", MODEL)
            why = status["reason"] or status["judgement"]["reason"]
            self.tell("Thursday", f"{status['state']} at {status['share']:.0%} of the customers: {why}")
            if status["state"] != "running":
                break
        assert status["state"] == "won", status
        version = str(status["arms"][1]["version"])
        waits = self.ratchet.command("show", f"{MODEL}/{version}")
        assert waits["stage"] == "staging", "nothing is promoted without approval"
        assert self.ratchet.run("approve", model=MODEL, version=version, by=YOU) == "COMPLETED"
        assert self._serving(version), f"version {version} does not serve"
        self.tell(
            "Friday", f"{YOU} approves; version {version} serves: {shares(self.traffic.day(self.customers(100)))}"
        )
        return version

    def saturday(self, version: str) -> None:
        """The new champion breaks, and the one before comes back by itself."""
        self.world.spoiled[version] = 0.85
        self.tell("Saturday", f"something breaks between version {version} and the customers")
        for _ in range(MOST_LOOKS):
            self.tell("Saturday", shares(self.traffic.day(self.customers(150))))
            assert self.ratchet.run("judge", model=MODEL) == "COMPLETED"
            serving = self.ratchet.command("show", f"{MODEL}@champion")["version"]
            if serving == "1":
                break
        line = self.ratchet.command("history", MODEL)["history"]
        back = next(step for step in reversed(line) if step["action"] == "rollback")
        assert (back["version"], back["by"]) == ("1", "ratchet"), back
        self.tell("Saturday", f"rolled back by itself: {back['reason']}")
        assert self._serving("1"), "version 1 does not serve again"
        self.tell("Saturday", shares(self.traffic.day(self.customers(100))))

    def sunday(self) -> None:
        """Everything that was acknowledged is in the log, once; the history has no gap."""
        from registry.events import EventLog, Query
        from registry.history import History

        url = self.ratchet.records_url()
        ledger, deadline = self.traffic.ledger, time.monotonic() + 60
        wanted = ledger.traces | ledger.events
        while True:
            logged = [found.event["id"] for found in EventLog(url).query(Query(after=self.first, shadow=None))]
            if wanted <= set(logged) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert not (lost := wanted - set(logged)), f"{len(lost)} acknowledged events are not in the log"
        assert len(logged) == len(set(logged)), "events are in the log twice"
        History(url).verify()
        self.tell("Sunday", f"all {len(wanted):,} acknowledged events are in the log, each once")
        for why, times in ledger.retried.most_common():
            self.tell("Sunday", f"{times} requests were sent again: {why}")

    # --- what is looked at -------------------------------------------------------------------------------------------

    def _sticky(self, answers: Sequence[Answer]) -> None:
        both = [unit for unit, versions in self.traffic.ledger.arms.items() if len(versions) > 1]
        assert not both, f"{len(both)} of {len(answers)} customers met two versions"

    def _serving(self, version: str) -> bool:
        """Return whether the gateway comes to answer everybody with a version."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if {answer.version for answer in self.traffic.day(self.customers(5), 1)} == {version}:
                return True
            time.sleep(0.5)
        return False


def main() -> None:
    """Read the arguments, play the week, and leave nothing running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".ratchet-week"), help="made anew (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another week (default: %(default)s)")
    parser.add_argument("--events", type=int, default=2_500, help="events before the week (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=0, help="how many processes to kill on the way")
    options = parser.parse_args()
    shutil.rmtree(options.home, ignore_errors=True)
    week = Week(options.home.absolute(), options.seed)
    reaper = Reaper(week.ratchet, options.kills, options.seed, lambda text: week.tell("", text))
    watch = Watch(week.ratchet, MODEL)
    try:
        week.before(options.events)
        week.ratchet.up()
        for name, service in week.ratchet.services()["services"].items():
            week.tell("before", f"{name} answers at {service['url']}")
        with watch, reaper:
            week.monday()
            week.wednesday()
            week.saturday(week.friday())
            reaper.finish(week)
        week.sunday()
        week.tell("Sunday", f"one champion at each of {watch.looks} looks; {reaper.killed} processes were killed")
    finally:
        week.ratchet.down()
    print(f"The week is over; every step was as it should be. Look around: ratchet status --home {options.home}")


if __name__ == "__main__":
    main()
