"""What `ratchet status` prints for people."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from flows.show import console, number, plain, table

COLOURS = {"healthy": "green", "silent": "red", "not running": "bright_black"}


def show_status(summary: dict[str, Any]) -> None:
    """Print how things stand, one table a kind."""
    out = console()
    rows = table("service", "", "address")
    for name, service in summary["services"].items():
        state = service["state"]
        rows.add_row(name, Text(state, style=COLOURS[state]), plain(service["url"] or "–"))
    out.print(rows)
    if summary["up"] is None and any(each["state"] == "not running" for each in summary["services"].values()):
        out.print("start what does not run with: ratchet up")
    out.print()
    _show_models(summary["models"])
    for model in summary["models"]:
        _show_model(model)
    log = summary["log"]
    last = f", the last that came in is of {_when(log['last_event'])}" if log["last_event"] else ""
    out.print(f"event log: {number(log['head'])} events{last}")
    if summary["runs"]:
        out.print()
        runs = table("last runs", "model", "", "")
        for run in summary["runs"]:
            said = plain(run["decision"] or run["error"] or "")
            runs.add_row(_when(run["time"]), plain(run["model"]), run["event"], said)
        out.print(runs)


def _show_models(models: list[dict[str, Any]]) -> None:
    if not models:
        console().print("there is no model yet: run `ratchet learn` first")
        return
    rows = table("model", "champion", "since", "readiness", "experiment", "waits", right=("readiness",))
    for each in models:
        champion = each["champion"] or {}
        rows.add_row(
            plain(each["model"]), number(champion.get("version")), _when(champion.get("since")),
            number(champion.get("readiness")), ", ".join(x["key"] for x in each["experiments"]) or "–",
            ", ".join(waits["version"] for waits in each["pending"]) or "–",
        )  # fmt: skip
    console().print(rows)


def _show_model(model: dict[str, Any]) -> None:
    out = console()
    for experiment in model["experiments"]:
        arms = ", ".join(f"{arm['name']} {arm['version']}: {arm['units']:,} units" for arm in experiment["arms"])
        out.print(
            f"experiment {experiment['key']} ({experiment['mode']}, {experiment['share']:.0%} each, since "
            f"{_when(experiment['started'])}): {arms}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    check = model["trigger_check"]
    if check is not None:
        out.print(f"triggers of {plain(model['model'])}, {_when(check['time'])}: {_said(check)}", soft_wrap=True)
    for waits in model["pending"]:
        out.print(f"{plain(model['model'])}/{waits['version']} waits for approval: {waits['command']}", soft_wrap=True)


def _said(check: dict[str, Any]) -> str:
    """Say in one line what the last look at the triggers found."""
    return f"{'retrain' if check.get('fired') else 'no retrain'}; {plain(str(check.get('reason', '')))}"


def _when(time: str | None) -> str:
    return "–" if time is None else time[:16].replace("T", " ")
