"""What was caught is counted by strength, weak faults are only told, and good candidates may not be held up."""

from __future__ import annotations

import pytest

from tasks.verification.outcomes import GOOD, Candidate, problems, summarise
from tasks.verification.page import render, shade
from tasks.verification.policy import Demands


def candidate(fault: str, strength: str | None, outcome: str, *by: str) -> Candidate:
    return Candidate(fault=fault, strength=strength, what="so", seed=0, outcome=outcome, caught_by=list(by))


def of(strength: str, caught: int, missed: int) -> list[Candidate]:
    return [candidate("slower", strength, "flagged", "latency")] * caught + [
        candidate("slower", strength, "passed")
    ] * missed


def good(passed: int, stopped: int = 0) -> list[Candidate]:
    return [candidate(GOOD, None, "passed")] * passed + [candidate(GOOD, None, "stopped", "readiness")] * stopped


@pytest.mark.parametrize(
    ("candidates", "ok"),
    [
        (of("strong", 20, 0), True),
        (of("strong", 19, 1), False),  # 95 %, 99 % are demanded
        (of("medium", 18, 2), True),
        (of("medium", 17, 3), False),  # 85 %, 90 % are demanded
        (of("weak", 0, 9), True),
        (of("strong", 5, 0) + good(19, 1), True),
        (of("strong", 5, 0) + good(16, 2), False),  # 10 %, 5 % are allowed
    ],
)
def test_the_verdict_follows_from_the_shares(candidates, ok):
    summary = summarise([*good(1), *candidates], Demands())
    assert summary["ok"] is ok
    assert bool(problems(summary)) is not ok


def test_one_fault_that_is_never_caught_is_a_failure_among_many_that_are():
    others = [candidate(f"fault {i}", "medium", "stopped", "safety") for i in range(30)]
    assert summarise([*good(1), *others], Demands())["ok"]
    missed = summarise([*good(1), *others, candidate("new", "medium", "passed")], Demands())
    assert not missed["ok"]
    assert problems(missed) == ["new (medium): 0 of 1 caught, 0 sent to a person without a finding, 1 let through"]


def test_what_is_stopped_for_what_its_good_origin_is_stopped_for_is_not_caught():
    summary = summarise([*good(1), candidate("slower", "strong", "stopped")], Demands())
    cell = summary["cells"][0]
    assert (cell["caught"], cell["review"], cell["passed"], cell["ok"]) == (0, 1, 0, False)


def test_a_fault_that_makes_no_difference_is_counted_apart_and_nothing_is_demanded_of_it():
    same = [candidate("slower", "strong", "harmless")] * 2
    alone = summarise([*good(1), *same], Demands())
    assert alone["ok"]
    assert (alone["cells"][0]["tried"], alone["cells"][0]["harmless"]) == (0, 2)
    assert alone["strengths"]["strong"]["share"] is None
    assert not summarise([*good(1), *same, candidate("slower", "strong", "passed")], Demands())["ok"]


def test_the_table_says_who_caught_what():
    both = [candidate("slower", "strong", "flagged", "latency", "diversity"), *of("strong", 2, 0)]
    assert summarise([*good(1), *both], Demands())["cells"][0]["by"] == {"latency": 3, "diversity": 1}


@pytest.mark.parametrize(
    ("caught", "passed", "colour"), [(4, 0, "all"), (3, 1, "most"), (1, 0, "held"), (1, 3, "missed")]
)
def test_the_colour_of_a_cell_is_worse_the_more_gets_through(caught, passed, colour):
    assert shade({"tried": 4, "caught": caught, "passed": passed}) == colour


def test_the_page_holds_the_table_escaped_and_loads_nothing():
    summary = summarise([*good(3), candidate("<slower>", "strong", "passed")], Demands())
    page = render(
        {
            **summary, "problems": problems(summary), "mode": "full", "seeds": 1, "seconds": 3.5, "notes": ["nothing"],
            "examples": {"rows": 5, "source": "<b>"},
            "checks": [{"name": "registry", "ok": False, "detail": "it fell"}],
        }
    )  # fmt: skip
    assert "&lt;slower&gt;" in page
    assert "&lt;b&gt;" in page
    assert "<slower>" not in page
    assert "0 of 1</b>, 1 let through" in page
    assert "it fell" in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
