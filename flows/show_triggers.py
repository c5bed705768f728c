"""The triggers on a terminal: what each says now, or said at some moment."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from flows.show import console, plain, table

SHARES = frozenset({"quality_drop", "error_rate"})
"""Triggers whose numbers are shares."""


def show_triggers(found: dict[str, Any]) -> None:
    """Print every trigger with its numbers, and whether a retrain starts."""
    out = console()
    rows = table("trigger", "fired", "value", "limit", "missing", right=("value", "limit", "missing"))
    for each in found["checks"]:
        fired = Text("yes", style="yellow") if each["fired"] else Text("no", style="bright_black")
        numbers = [_shown(each["kind"], each[name]) for name in ("value", "threshold", "missing")]
        rows.add_row(plain(each["kind"]), fired, *numbers)
    out.print(rows)
    out.print()
    for each in found["checks"]:
        out.print(f"{each['kind']}: {plain(each['reason'])}", soft_wrap=True)
        if not each["fired"]:
            out.print(f"  would fire {plain(each['would_fire'])}", style="bright_black", soft_wrap=True)
    said = "retrain" if found["fired"] else "no retrain"
    out.print(f"\n{plain(found['model'])} at {_when(found['time'])}: {said}; {plain(found['reason'])}", soft_wrap=True)
    if found["held"] is not None and not any(each["fired"] for each in found["checks"]):
        out.print(f"were one to fire now: {plain(found['held'])}", soft_wrap=True)
    if found.get("dry_run"):
        out.print("it was a dry run")
    if (outcome := found.get("retrain")) is not None:
        out.print(f"at {_when(outcome['time'])}: {plain(_came_of(outcome))}", soft_wrap=True)


def show_retrain(done: dict[str, Any]) -> None:
    """Print what a retrain did."""
    out = console()
    outcome = done["outcome"]
    if outcome == "dry run":
        outcome = f"dry run, {'a' if done['fired'] else 'no'} retrain would start"
    out.print(f"{plain(done['model'])}: {outcome}; {plain(done['reason'])}", soft_wrap=True)
    if came := "; ".join(_parts(done)):
        out.print(plain(came), soft_wrap=True)
    if done["outcome"] in {"not fired", "dry run"}:
        out.print(f"`ratchet triggers {plain(done['model'])}` shows every trigger's numbers", soft_wrap=True)


def _came_of(outcome: dict[str, Any]) -> str:
    return "; ".join([outcome["outcome"], *_parts(outcome)])


def _parts(outcome: dict[str, Any]) -> list[str]:
    """Return what became of a retrain that started, in a few words each."""
    learned, parts = outcome.get("learn") or {}, list[str]()
    if "version" in learned:
        parts.append(f"version {learned['version']} is {learned['decision'].replace('_', ' ')} ({learned['reason']})")
    if "error" in learned:
        parts.append(learned["error"])
    if outcome.get("experiment"):
        parts.append(f"experiment {outcome['experiment']} runs")
    if outcome.get("experiment_held"):
        parts.append(outcome["experiment_held"])
    if outcome.get("rollback"):
        parts.append(f"version {outcome['rollback']['version']} serves again")
    return parts


def _shown(kind: str, value: float | None) -> str:
    if value is None:
        return "–"
    if kind in SHARES:
        return f"{value:.1%}"
    return f"{value:,.1f} h" if kind == "schedule" else f"{value:,.0f}"


def _when(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC"
