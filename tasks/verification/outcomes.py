"""What became of the candidates: counted, compared with what is demanded, and told."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from registry.records import Record
from tasks.verification.policy import STRENGTHS, Demands, Strength

Outcome = Literal["stopped", "flagged", "review", "passed", "harmless"]
"""`stopped`: a gate refuses it, whoever approves. `flagged`: a stage fails, and a person is told so. `review`: a person
must look, but nothing was found. `passed`: promoted, by itself where the policy lets it. `harmless`: with this data the
fault changes less than what the gates call no difference, so that there is nothing to catch (an equivalent mutant)."""
CAUGHT: tuple[Outcome, ...] = ("stopped", "flagged")
GOOD = "good"


class Candidate(Record):
    """One candidate, and what became of it."""

    fault: str
    """`good` where it has none."""
    strength: Strength | None
    what: str
    seed: int
    outcome: Outcome
    caught_by: list[str]
    """Stages and gates that refuse it, and did not refuse the good candidate that it was made of."""


class Cell(Record):
    """The candidates with one fault at one strength."""

    fault: str
    strength: Strength
    what: str
    tried: int
    """Those whose fault makes a difference."""
    harmless: int
    """Those whose fault makes none."""
    caught: int
    review: int
    """Held up, though nothing was found: a person must look."""
    passed: int
    by: dict[str, int]
    """Candidates that each stage or gate caught."""
    demanded: float
    """Share that must be caught."""
    ok: bool


def summarise(candidates: Sequence[Candidate], demands: Demands) -> dict[str, Any]:
    """Return {"ok", "strengths", "cells", "good"}: what was caught, against what is demanded.

    Weak faults are told; nothing is demanded of them. Strong and medium ones are judged all together, by strength: the
    share over all faults must be reached, and none of a fault may be missed altogether.
    """
    cells = [
        _cell(
            fault, strength, [each for each in candidates if (each.fault, each.strength) == (fault, strength)], demands
        )
        for fault in dict.fromkeys(each.fault for each in candidates if each.fault != GOOD)
        for strength in STRENGTHS
        if any((each.fault, each.strength) == (fault, strength) for each in candidates)
    ]
    strengths = {
        strength: _strength([cell for cell in cells if cell.strength == strength], _demanded(strength, demands))
        for strength in STRENGTHS
        if any(cell.strength == strength for cell in cells)
    }
    good = _good([each for each in candidates if each.fault == GOOD], demands)
    return {
        "ok": good["ok"] and all(each["ok"] for each in strengths.values()),
        "strengths": strengths,
        "cells": [cell.model_dump() for cell in cells],
        "good": good,
    }


def problems(summary: dict[str, Any]) -> list[str]:
    """Return what is not as demanded, a clause each."""
    found = [
        f"{cell['fault']} ({cell['strength']}): {cell['caught']} of {cell['tried']} caught, {cell['review']} sent to a "
        f"person without a finding, {cell['passed']} let through"
        for cell in summary["cells"]
        if not cell["ok"]
    ]
    good = summary["good"]
    if not good["ok"]:
        by = ", ".join(f"{name} {count}" for name, count in good["by"].items())
        found.append(f"{good['rejected']} of {good['tried']} good candidates are held up (by {by})")
    return found


def _demanded(strength: Strength, demands: Demands) -> float:
    return {"weak": 0.0, "medium": demands.medium, "strong": demands.strong}[strength]


def _cell(fault: str, strength: Strength, made: Sequence[Candidate], demands: Demands) -> Cell:
    tried = [each for each in made if each.outcome != "harmless"]
    caught = [each for each in tried if each.outcome in CAUGHT and each.caught_by]
    passed = sum(each.outcome == "passed" for each in tried)
    demanded = _demanded(strength, demands)
    return Cell(
        fault=fault,
        strength=strength,
        what=made[0].what,
        tried=len(tried),
        harmless=len(made) - len(tried),
        caught=len(caught),
        review=len(tried) - len(caught) - passed,
        passed=passed,
        by=dict(Counter(name for each in caught for name in each.caught_by).most_common()),
        demanded=demanded,
        ok=len(caught) >= demanded * len(tried),
    )


def _strength(cells: Sequence[Cell], demanded: float) -> dict[str, Any]:
    tried, caught = sum(cell.tried for cell in cells), sum(cell.caught for cell in cells)
    return {
        "tried": tried,
        "caught": caught,
        "harmless": sum(cell.harmless for cell in cells),
        "share": round(caught / tried, 4) if tried else None,
        "review": sum(cell.review for cell in cells),
        "passed": sum(cell.passed for cell in cells),
        "demanded": demanded,
        "ok": caught >= demanded * tried and (demanded == 0 or all(cell.caught or not cell.tried for cell in cells)),
    }


def _good(good: Sequence[Candidate], demands: Demands) -> dict[str, Any]:
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in good:
        kinds[each.what][each.outcome] += 1
    rejected = [each for each in good if each.outcome == "stopped"]
    return {
        "tried": len(good),
        "rejected": len(rejected),
        "review": sum(each.outcome in ("flagged", "review") for each in good),
        "passed": sum(each.outcome == "passed" for each in good),
        "allowed": demands.good,
        "by": dict(Counter(name for each in rejected for name in each.caught_by).most_common()),
        "kinds": {kind: dict(counts) for kind, counts in kinds.items()},
        "ok": len(rejected) <= math.ceil(demands.good * len(good)),  # one of a few says nothing
    }
