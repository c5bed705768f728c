"""A seeded generator of events of about 1.5 kB, with planted exact and near-duplicates and their truth.

Every event says something of its own: words are drawn from a vocabulary of 20,000, so that two events that are not
planted as duplicates share next to no word 3-gram. 10 % repeat the content of an earlier event under another identity,
10 % repeat it with a few words changed (Jaccard 0.83 to 0.95; none is so repeated twice, because two repetitions may be
less alike than that). A tenth holds personal data, 3 % failed, 2 % have no score.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

ORIGINAL, EXACT, NEAR = 0, 1, 2
DOMAINS = ("travel", "coding", "qa", "planning")
TOOLS = ("search", "lookup", "book", "calculate", "write_file")
SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ar", "en", "il", "os", "um")]
MEMORY = 20_000
"""Duplicates repeat one of so many events before them."""


class Truth(NamedTuple):
    """What was planted: for each of n events its kind, and which event it repeats (itself for an original)."""

    kind: NDArray[np.uint8]
    of: NDArray[np.int64]


def vocabulary(generator: random.Random, size: int = 20_000) -> list[str]:
    """Return `size` distinct made-up words."""
    words: set[str] = set()
    while len(words) < size:
        words.add("".join(generator.choices(SYLLABLES, k=generator.randint(2, 4))))
    return sorted(words)


def _content(generator: random.Random, words: list[str], number: int) -> dict[str, object]:
    def text(size: int) -> str:
        return " ".join(generator.choices(words, k=size))

    steps = [
        {
            "type": "tool_call",
            "tool": generator.choice(TOOLS),
            "arguments": {"query": text(4), "limit": generator.randint(1, 50)},
            "observation": text(24),
        }
        for _ in range(generator.randint(1, 3))
    ]
    instruction = text(22)
    if number % 10 == 0:
        address = f"{generator.choice(words)}@{generator.choice(words)}.com"
        instruction += f" my e-mail is {address}, phone +1 415 555 {number % 10000:04d}"
    return {
        "task": {"type": "support", "domain": generator.choice(DOMAINS), "instruction": instruction, "input": None},
        "steps": steps,
        "output": text(45),
    }


def _nearly(generator: random.Random, words: list[str], content: dict[str, object]) -> dict[str, object]:
    """Change two words of the answer and one of the first observation."""
    output = str(content["output"]).split()
    for place in generator.sample(range(len(output)), 2):
        output[place] = generator.choice(words)
    steps = [dict(step) for step in content["steps"]]  # type: ignore[attr-defined]
    observation = steps[0]["observation"].split()
    observation[generator.randrange(len(observation))] = generator.choice(words)
    steps[0]["observation"] = " ".join(observation)
    return {**content, "steps": steps, "output": " ".join(output)}


def write_events(path: Path, count: int, seed: int = 0) -> Truth:
    """Write `count` events and return what was planted."""
    generator = random.Random(seed)
    words = vocabulary(generator)
    encoder = msgspec.json.Encoder()
    kind, of = np.zeros(count, dtype=np.uint8), np.arange(count, dtype=np.int64)
    recent: list[tuple[int, dict[str, object]]] = []
    with path.open("wb") as stream:
        for number in range(count):
            draw = generator.random()
            if draw < 0.2 and recent:
                kind[number] = EXACT if draw < 0.1 else NEAR
                place = generator.randrange(len(recent))
                of[number], content = recent[place]
                if draw >= 0.1:
                    content = _nearly(generator, words, content)
                    recent[place] = recent[-1]
                    recent.pop()
            else:
                content = _content(generator, words, number)
                if len(recent) < MEMORY:
                    recent.append((number, content))
                else:
                    recent[generator.randrange(MEMORY)] = (number, content)
            stream.write(encoder.encode(_event(generator, number, content)) + b"\n")
    return Truth(kind, of)


def _event(generator: random.Random, number: int, content: dict[str, object]) -> dict[str, object]:
    failed, unscored = generator.random() < 0.03, generator.random() < 0.02
    return {
        "specversion": "1.0",
        "id": f"e-{number:09d}",
        "source": f"https://agents.example/{number % 7}",
        "type": "execution.completed",
        "time": f"2026-03-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:00Z",
        "subject": f"customer-{number // 2}",
        "datacontenttype": "application/json",
        "data": {
            "trace_id": f"t-{number:09d}",
            "agent": "support",
            "model_version": "m-1",
            **content,
            "status": "failure" if failed else "success",
            "quality_score": None if unscored else round(generator.uniform(60, 100), 1),
            "confidence": round(generator.uniform(0.55, 1), 3),
            "feedback": None,
            "latency_ms": generator.randint(200, 9000),
            "tokens_in": generator.randint(50, 900),
            "tokens_out": generator.randint(50, 900),
        },
    }


def main() -> None:
    """Write events and their truth (`.npz` beside it)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truth = write_events(options.path, options.count, options.seed)
    np.savez(options.path.with_suffix(".npz"), kind=truth.kind, of=truth.of)
    print(f"{options.path}: {options.count:,} events, {options.path.stat().st_size / options.count:,.0f} bytes each")


if __name__ == "__main__":
    main()
