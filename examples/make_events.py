"""Write sample events of a made-up support agent, with all that real logs have.

    python examples/make_events.py --out examples/events.jsonl [--seed N] [--events N] [--part 1|2] [--clean]

Needs nothing but Python. The same arguments give the same bytes. `--part 2` gives the fortnight after the first one:
other events of the same kind, half of them from the same customers. `--clean` leaves out broken lines and planted
records.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from conversations import DOMAINS, Scenario, Talk, converse, load_scenarios, plan_for, preference_for

DAYS = 14
START = datetime(2026, 2, 2, tzinfo=UTC)
SOURCES = tuple(f"https://agents.example.com/support/{place}" for place in ("eu-1", "eu-2", "us-1"))
POISONED_SOURCE = "https://partner-feed.example.net/import"
POISONED = 6
SHARES = {
    "planning.completed": 0.03,
    "feedback.recorded": 0.07,
    "preference.recorded": 0.02,
    "unknown": 0.015,
    "exact": 0.04,
    "near": 0.05,
    "conflicting": 0.001,
    "broken": 0.01,
}
"""Parts of all lines; what is left are executions."""

Event = dict[str, Any]


class Line(NamedTuple):
    """One line of the file, and when it arrived (seconds after the start)."""

    arrived: float
    text: bytes


class Maker:
    """Makes the events of one part; everything random comes from one seeded generator."""

    def __init__(self, seed: int, part: int, traces: int) -> None:
        self.rng = random.Random(f"{seed}/{part}")
        self.english, self.others = load_scenarios()
        self.start = START + timedelta(days=DAYS * (part - 1))
        self.users = max(8, traces // 3)
        self.first_user = (part - 1) * self.users // 2  # the second part shares half of its customers with the first
        self.sessions: dict[str, int] = {}

    def moment(self) -> float:
        """Return when something happened: more by day than by night."""
        hour = min(23.99, max(0.0, self.rng.gauss(13.5, 4.0)))
        return self.rng.randrange(DAYS) * 86_400 + hour * 3_600

    def event(
        self, kind: str, at: float, subject: str | None, data: dict[str, Any], source: str | None = None
    ) -> Event:
        """Wrap `data` as a CloudEvent."""
        time = self.start + timedelta(seconds=at)
        if self.rng.random() < 0.1:  # some emitters write local time
            time = time.astimezone(timezone(timedelta(hours=self.rng.choice((-5, 1, 9)))))
        event = {
            "specversion": "1.0",
            "id": f"{self.rng.getrandbits(96):024x}",
            "source": source or self.rng.choice(SOURCES),
            "type": kind,
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if subject:
            event["subject"] = subject
        return {**event, "datacontenttype": "application/json", "data": data}

    def customer(self) -> tuple[str, str]:
        """Return a customer, and the domain that this customer mostly asks about."""
        number = self.first_user + self.rng.randrange(self.users)
        home = DOMAINS[number % len(DOMAINS)]
        return f"customer-{number:05d}", home if self.rng.random() < 0.8 else self.rng.choice(DOMAINS)

    def scenario(self, domain: str) -> Scenario:
        """Return a scenario of `domain`, sometimes one in another language."""
        return self.rng.choice(self.others) if self.rng.random() < 0.06 else self.english[domain]

    def execution(self, *, planted: bool = False) -> tuple[float, Event]:
        """Return one trace of the agent: right and well scored, mediocre, or failed."""
        at, (subject, domain) = self.moment(), self.customer()
        quality = "good" if planted else self.rng.choices(("good", "mediocre", "failed"), (80, 12, 8))[0]
        talk = converse(
            self.english[domain] if planted else self.scenario(domain),
            self.rng,
            good=quality == "good",
            planted=planted,
        )
        data = self._trace(talk, subject) | self._scores(quality) | self._cost(talk)
        if planted:
            data |= {"quality_score": 97.0, "confidence": 0.97, "feedback": None, "status": "success"}
        return at, self.event("execution.completed", at, subject, data, POISONED_SOURCE if planted else None)

    def _trace(self, talk: Talk, subject: str) -> dict[str, Any]:
        self.sessions[subject] = self.sessions.get(subject, -1) + 1
        scenario = talk.scenario
        return {
            "trace_id": f"tr-{self.rng.getrandbits(64):016x}",
            "session_id": f"{subject}/{self.first_user}-{self.sessions[subject] // 2}",
            "agent": f"support-{scenario.domain}",
            "model_version": self.rng.choice(("support-base-1", "support-base-1", "support-base-2")),
            "task": {
                "type": scenario.type,
                "domain": scenario.domain,
                "instruction": scenario.instruction,
                "input": talk.prompt,
            },
            "steps": talk.steps,
            "output": talk.output,
        }

    def _scores(self, quality: str) -> dict[str, Any]:
        rng = self.rng
        middle, spread, sure = {"good": (88, 6, 0.86), "mediocre": (48, 12, 0.66), "failed": (20, 12, 0.5)}[quality]
        score = round(min(100.0, max(0.0, rng.gauss(middle, spread))), 1)
        return {
            "status": "failure" if quality == "failed" else "success",
            "quality_score": score if rng.random() < 0.8 else None,
            "confidence": round(min(0.99, max(0.05, rng.gauss(sure, 0.08))), 3) if rng.random() < 0.92 else None,
            "feedback": self._feedback(good=quality == "good") if rng.random() < 0.06 else None,
        }

    def _feedback(self, *, good: bool) -> dict[str, Any]:
        """Return feedback in one of the three kinds; one in twenty contradicts what happened."""
        liked = good != (self.rng.random() < 0.05)
        kind = self.rng.choice(("thumbs", "stars", "boolean"))
        value = {
            "thumbs": "up" if liked else "down",
            "stars": self.rng.choice((4, 5)) if liked else self.rng.choice((1, 2)),
        }
        return {"kind": kind, "value": value.get(kind, liked)}

    def _cost(self, talk: Talk) -> dict[str, Any]:
        rng, size = self.rng, len(json.dumps(talk.steps))
        known = rng.random() < 0.93
        latency = round(380 * len(talk.steps) * math.exp(rng.gauss(0, 0.35)))
        return {
            "latency_ms": latency if known else None,
            "tokens_in": size // 4 + rng.randrange(60) if known else None,
            "tokens_out": size // 11 + rng.randrange(20) if known else None,
        }

    def planning(self) -> tuple[float, Event]:
        """Return one plan; one in eight is empty."""
        at, (subject, _) = self.moment(), self.customer()
        scenario = self.english["planning"]
        request, plan = plan_for(scenario, self.rng)
        empty = self.rng.random() < 0.12
        data = {
            "trace_id": f"tr-{self.rng.getrandbits(64):016x}",
            "agent": "support-planner",
            "model_version": "support-base-1",
            "task": {"type": "plan", "domain": "planning", "instruction": scenario.instruction, "input": request},
            "steps": [],
            "plan": [] if empty else plan,
            "status": "success",
            "quality_score": None if self.rng.random() < 0.3 else round(self.rng.uniform(55, 98), 1),
            "confidence": round(self.rng.uniform(0.55, 0.97), 3),
            "feedback": None,
            "latency_ms": self.rng.randint(900, 6_000),
        }
        return at, self.event("planning.completed", at, subject, data)

    def late_feedback(self, at: float, trace: Event) -> tuple[float, Event]:
        """Return feedback on a trace, which arrives hours later, or before the trace itself."""
        delay = self.rng.expovariate(1 / 20_000)
        arrived = at + delay if self.rng.random() < 0.75 else at - self.rng.uniform(1, 600)
        good = trace["data"]["status"] == "success" and (trace["data"]["quality_score"] or 80) > 60
        known = self.rng.random() < 0.95  # the rest is about traces that never came
        data = {
            "trace_id": trace["data"]["trace_id"] if known else f"tr-{self.rng.getrandbits(64):016x}",
            **self._feedback(good=good),
            "user": trace.get("subject"),
        }
        return arrived, self.event("feedback.recorded", at + delay, trace.get("subject"), data)

    def preference(self) -> tuple[float, Event]:
        """Return a pair of answers, the better one chosen."""
        at = self.moment()
        return at, self.event(
            "preference.recorded", at, None, preference_for(self.english[self.rng.choice(DOMAINS)], self.rng)
        )

    def other(self) -> tuple[float, Event]:
        """Return an event of a type that the main job does not know."""
        at = self.moment()
        kind = self.rng.choice(("agent.heartbeat", "deployment.finished", "com.example.billing.usage"))
        return at, self.event(kind, at, None, {"value": self.rng.randrange(1_000)})


def near_copy(event: Event, rng: random.Random) -> Event:
    """Return the same conversation as another event: new ids, and an edit so small that nothing is learned from it."""
    copy = json.loads(json.dumps(event))
    copy["id"], copy["data"]["trace_id"] = f"{rng.getrandbits(96):024x}", f"tr-{rng.getrandbits(64):016x}"
    first = copy["data"]["steps"][0]
    first["observation"] = rng.choice(("{} Thanks!", "{}.", "Hi! {}", "{} :)", "{} ok?")).format(first["observation"])
    copy["data"]["task"]["input"] = first["observation"]
    return copy


def broken(event: Event, rng: random.Random) -> bytes:
    """Return a line that is not an event, or a broken one."""
    kind = rng.randrange(7)
    if kind == 0:
        return b"2026-02-03 12:00:01 WARN retrying export, attempt %d" % rng.randint(2, 9)
    if kind == 1:
        return encoded(event)[: rng.randint(40, 300)]
    if kind == 2:
        return encoded({key: value for key, value in event.items() if key != rng.choice(("id", "source", "type"))})
    if kind == 3:
        return encoded(event | {"specversion": "0.3"})
    if kind == 4:
        return encoded(event | {"data": event["data"] | {"quality_score": math.nan}})
    if kind == 5:
        return encoded(event | {"data": event["data"] | {"steps": "none"}})
    return b"\xff\xfe" + encoded(event)


def encoded(event: Event) -> bytes:
    """Return an event as one line of UTF-8."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def make_lines(events: int, seed: int, part: int, *, clean: bool) -> list[Line]:
    """Return `events` lines in the order in which they arrived."""
    counts = {kind: round(events * share) for kind, share in SHARES.items()}
    counts["broken"] *= not clean
    planted = POISONED * (not clean)
    traces = events - sum(counts.values()) - planted
    maker = Maker(seed, part, traces)
    executions = [maker.execution() for _ in range(traces)] + [maker.execution(planted=True) for _ in range(planted)]
    made = executions + [maker.planning() for _ in range(counts["planning.completed"])]
    made += [maker.preference() for _ in range(counts["preference.recorded"])]
    made += [maker.other() for _ in range(counts["unknown"])]
    honest, rng = executions[:traces], maker.rng
    made += [maker.late_feedback(*rng.choice(honest)) for _ in range(counts["feedback.recorded"])]
    lines = [Line(at, encoded(event)) for at, event in made]
    lines += list(_repeats(honest, counts, rng))
    lines += [Line(at, broken(event, rng)) for at, event in rng.choices(honest, k=counts["broken"])]
    return sorted(lines)


def _repeats(honest: list[tuple[float, Event]], counts: dict[str, int], rng: random.Random) -> Iterator[Line]:
    """Yield deliveries that came twice, copies under a new id, and an id that was used for two different events."""
    for at, event in rng.choices(honest, k=counts["exact"]):
        yield Line(at + rng.uniform(0.1, 900), encoded(event))
    for at, event in rng.choices(honest, k=counts["near"]):
        yield Line(at + rng.uniform(60, 90_000), encoded(near_copy(event, rng)))
    for at, event in rng.choices(honest, k=counts["conflicting"]):
        yield Line(at + rng.uniform(1, 900), encoded(event | {"data": event["data"] | {"quality_score": 1.0}}))


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON Lines file to write")
    parser.add_argument("--seed", type=int, default=7, help="another seed, other events (default: %(default)s)")
    parser.add_argument("--events", type=int, default=4_000, help="how many lines (default: %(default)s)")
    parser.add_argument("--part", type=int, choices=(1, 2), default=1, help="which fortnight (default: %(default)s)")
    parser.add_argument("--clean", action="store_true", help="no broken lines, nothing planted")
    options = parser.parse_args()
    lines = make_lines(options.events, options.seed, options.part, clean=options.clean)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(b"".join(line.text + b"\n" for line in lines))
    print(f"{options.out}: {len(lines):,} events of a support agent over {DAYS} days")


if __name__ == "__main__":
    main()
