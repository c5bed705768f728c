"""What `ratchet audit` prints for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.text import Text

from flows.show import console, number, plain, table

LONGEST = 100
"""Letters of what a record says that are shown."""


def show_records(found: dict[str, Any]) -> None:
    """Print records, one a line, which goes on past the end of a narrow terminal's."""
    out = console()
    if not found["records"]:
        out.print("there are no such records")
    heads = [("number", "time (UTC)", "who", "what", "version")]
    lines = heads + [_facts(each) for each in found["records"]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads[0]))]
    for line, record in zip(lines, [None, *found["records"]], strict=True):
        text = Text("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
        if record is None:
            text.stylize("bold")
        else:
            text.append(f"  {_line(_said(record))}", style="bright_black")
        out.print(text, soft_wrap=True)


def _facts(record: dict[str, Any]) -> tuple[str, ...]:
    version = f"{record['model']}/{record['version']}" if record["version"] else record["model"]
    told = (str(record["sequence"]), _when(record["time"]), record["by"], record["kind"].replace("_", " "), version)
    return tuple(_line(each)[:LONGEST] for each in told)


def _line(text: str) -> str:
    """Return a text from outside on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def show_verification(found: dict[str, Any]) -> None:
    """Print whether the log is as it was recorded, and else what is not."""
    out = console()
    state = Text("as it was recorded", style="green") if found["ok"] else Text("tampered with", style="red")
    out.print(Text("the audit log is ") + state)
    span = f", numbers {found['first']} to {found['last']}" if found["records"] else ""
    out.print(f"{number(found['records'])} records{span}; {number(found['checkpoints'])} signed checkpoints, "
              f"the newest at record {number(found['sealed'])}; {found['seconds']:.2f} s", soft_wrap=True)  # fmt: skip
    if found["findings"]:
        out.print()
        rows = table("records", "found", "")
        for each in found["findings"]:
            first, last = each["first"], each["last"]
            place = "" if not first else str(first) if first == last else f"{first}–{last}"
            rows.add_row(place, Text(each["kind"], style="red"), plain(each["what"]))
        out.print(rows)
    for note in found["notes"]:
        out.print(f"note: {plain(note)}", style="yellow", soft_wrap=True)


def show_acceptance(done: dict[str, Any]) -> None:
    """Print what was accepted."""
    out = console()
    for each in done["findings"]:
        out.print(f"accepted: {plain(each)}", style="yellow", soft_wrap=True)
    out.print(f"the audit log is accepted as it is, with {done['last']} as its last record", soft_wrap=True)


def show_pruning(done: dict[str, Any]) -> None:
    """Print what was removed."""
    out = console()
    if not done["removed"]:
        out.print(f"nothing is older than {_when(done['before'])} and no longer needed")
        return
    out.print(
        f"records {done['first']} to {done['last']} are removed, {number(done['removed'])} in all; "
        f"{number(done['carried'])} of them are still needed and were carried over",
        soft_wrap=True,
    )
    out.print(f"the signed record of it is in audit/pruned.jsonl; their last hash was {done['root']}", soft_wrap=True)


def _said(record: dict[str, Any]) -> str:
    """Return what a record says, in a few words."""
    body = record["body"]
    if body.get("erased"):
        return "(erased)"
    shown = SAYS.get(record["kind"], _reason)(body)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _reason(body: dict[str, Any]) -> str:
    reason = body.get("reason")
    return reason if isinstance(reason, str) else json.dumps(body, ensure_ascii=False)


def _models(body: dict[str, Any]) -> str:
    return f"{sum(map(len, body['models'].values()))} versions of {len(body['models'])} models"


SAYS: dict[str, Callable[[dict[str, Any]], str]] = {
    "decision": lambda body: f"{body['decision']['verdict'].replace('_', ' ')}: {body['decision']['reason']}",
    "source_state": lambda body: f"{body['source']}: {body['state']}",
    "bundle": lambda body: f"{body['action']}, signed",
    "intent": lambda body: "about to be done, by its digest",
    "closure": lambda body: f"an intent was closed: {body['outcome']}",
    "run": lambda body: f"run {body['run_id']} {body['event']}",
    "experiment_event": lambda body: f"{body['experiment']}: {body['event']}",
    "snapshot": _models,
    "settings": lambda body: f"changed: {', '.join(body['changed'])}",
    "prune": lambda body: f"records {body['first']} to {body['last']} were removed",
    "checkpoint": lambda body: f"signed checkpoints from here on, by the key {body['key_id'][:12]}",
}
"""How a kind of record is put in a few words."""


def _when(time: str) -> str:
    return time[:19].replace("T", " ")
