"""What `ratchet sources` prints for people."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from flows.show import console, number, plain, table
from registry.source_names import shown

COLOURS = {"trial": "yellow", "trusted": "green", "probation": "yellow", "blocked": "red"}
LONGEST = 300
"""Letters of a name that are shown."""
LINES = 20
"""Of a source's newest lines, how many are shown."""


def show_list(summary: dict[str, Any]) -> None:
    """Print a line for each source."""
    out = console()
    if not summary["sources"]:
        out.print("no source is known yet; a run of `ratchet learn` writes down those of its events", soft_wrap=True)
        return
    numbers = ("score", "examples", "harm", "left out")
    made = table("source", "state", *numbers, right=numbers)
    for column in made.columns[1:]:
        column.no_wrap = True  # names fold where the terminal is narrow
    for row in summary["sources"]:
        made.add_row(
            plain(shown(row["source"][:LONGEST])), Text(row["state"], style=COLOURS[row["state"]]),
            f"{row['score']:.2f}", number(row["examples"]), f"{row['harm']:.1f}",
            number(row["blocked_attempts"]),
        )  # fmt: skip
    out.print(made)
    out.print()
    told = ", ".join(f"{count:,} {state}" for state, count in summary["counts"].items())
    out.print(f"{told}; `ratchet sources show SOURCE` tells why", soft_wrap=True)


def show_one(summary: dict[str, Any]) -> None:
    """Print a source and its newest lines."""
    out = console()
    out.print(plain(shown(summary["source"])), style="bold", soft_wrap=True)
    out.print(f"  {summary['state']}, score {summary['score']:.2f}: {plain(summary['why'])}", soft_wrap=True)
    said = ", ".join(f"{name} {summary[name]:,.1f}" for name in ("good", "poor", "harm"))
    out.print(f"  {summary['examples']:,} examples in {summary['runs']:,} runs: {said}", soft_wrap=True)
    _below(summary)
    if summary["blocked_attempts"]:
        out.print(f"  {summary['blocked_attempts']:,} events left out, as it may not teach", soft_wrap=True)
    out.print()
    for line in summary["lines"][-LINES:]:
        when, reason = line["time"][:19].replace("T", " "), plain(line.get("reason", ""))
        out.print(f"  {when}  {line['state']:9}  {plain(line['by'])}: {line['action']}, {reason}", soft_wrap=True)
    if more := len(summary["lines"]) - LINES:
        out.print(f"  and {more:,} older lines (--json has them)" if more > 0 else "")


def show_change(summary: dict[str, Any]) -> None:
    """Print what a person decided."""
    out = console()
    before = f", was {summary['before']}" if summary["before"] else ""
    out.print(f"{plain(shown(summary['source']))} is {summary['state']} from now on{before}", soft_wrap=True)
    _below(summary)
    if summary["state"] == "blocked":
        out.print("what it brought leaves the next version of each dataset: run `ratchet learn` again", soft_wrap=True)


def _below(summary: dict[str, Any]) -> None:
    if summary["below"]:
        block = plain(shown(summary["below"]))
        console().print(f"  it teaches nothing all the same: it lies below {block}, which is blocked", soft_wrap=True)
