"""A process with everything imported that forks a child for every command, which may kill itself or a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


class Nursery:
    """Runs commands through `tests/flows/killed.py`."""

    def __init__(self, scratch: Path, environment: dict[str, str]) -> None:
        self.scratch = scratch
        scratch.mkdir()
        with (scratch / "nursery.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / "tests/flows/killed.py")], env=environment, cwd=REPOSITORY,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def run(
        self, home: Path, *arguments: object, at: int = 0, delay: float = 0.0, victim: int | None = None
    ) -> dict[str, Any]:
        """Run a command; return its exit code, its seconds, what it said, and the steps of its points.

        At point `at` it kills itself, or the process `victim` with all of its group.
        """
        out, points = self.scratch / "out", self.scratch / "points"
        points.unlink(missing_ok=True)
        wish = {
            "at": at, "delay": delay, "out": str(out), "points": str(points), "victim": victim,
            "arguments": [*map(str, arguments), "--home", str(home)],
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        steps = json.loads(points.read_text()) if points.exists() else []
        return {**answer, "said": out.read_text()[-3000:], "steps": steps}

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
