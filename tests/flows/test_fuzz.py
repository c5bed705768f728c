"""Damaged input of every kind that comes from outside is taken or refused: no crash, no hang, no memory without end.

`make chaos` runs this with `--inputs 5000`; the suite runs a short form.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzzed.py")
COSTLY = {"artifact": 10, "events": 2, "logged": 2}
"""Parsers that get so many times fewer inputs."""
GROWTH_KIB = 300_000


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "parser", ["events", "packed", "logged", "policy", "golden", "envelope", "trusted", "artifact"]
)
def test_damaged_input_is_taken_or_refused(parser, tmp_path, request):
    count = max(1, request.config.getoption("--inputs") // COSTLY.get(parser, 1))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), parser, "0", str(count), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=SCRIPT.parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tried"] == count
    assert told["refused"] > 0 or parser in {"events", "logged"}, "damage that nobody notices is no test"
    assert told["grown_kib"] < GROWTH_KIB
