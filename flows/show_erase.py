"""A person's traces on a terminal: what saw them, and what was erased."""

from __future__ import annotations

from typing import Any

from flows.show import console, plain, table


def show_found(found: dict[str, Any]) -> None:
    """Print which events, datasets, models and experiments saw a person."""
    out = console()
    out.print(f"{found['events']:,} events of {found['traces']:,} traces are in the event log")
    _print_datasets(found)
    if found["models"]:
        rows = table("model that saw them", "stage", "aliases", "trained on")
        for each in found["models"]:
            aliases = ", ".join(each["aliases"]) or "–"
            rows.add_row(plain(f"{each['name']}/{each['version']}"), each["stage"], aliases, plain(each["dataset"]))
        out.print(rows)
    if found["experiments"]:
        out.print(f"experiments: {plain(', '.join(found['experiments']))}", soft_wrap=True)


def show_erased(done: dict[str, Any]) -> None:
    """Print what was erased, what is tainted by it, and what is left to do."""
    out = console()
    out.print(f"erased: {done['events']:,} events, and what {done['files']:,} files and records said of them")
    _print_datasets(done)
    if done["tainted"]:
        rows = table("tainted version", "known turns changed", right=("known turns changed",))
        for each in done["tainted"]:
            rows.add_row(plain(f"{each['name']}/{each['version']}"), f"{each['turns']:,}")
        out.print(rows)
    for each in done["rolled_back"]:
        out.print(f"rolled back: {plain(each['model'])} from version {each['from']} to {each['to']}")
    out.print(f"signed record: number {done['record']} of the audit log, erasure {done['erasure']}")
    if done["retrain"]:
        out.print("\nweights that were learned stay until the models are trained again:")
        for command in done["retrain"]:
            out.print(f"  {plain(command)}", soft_wrap=True)
    out.print("\nnot reached from here:")
    for each in done["not_reached"]:
        out.print(f"  {plain(each)}", soft_wrap=True)


def _print_datasets(found: dict[str, Any]) -> None:
    if not found["datasets"]:
        return
    rows = table("dataset", "train", "validation", "test", right=("train", "validation", "test"))
    for each in found["datasets"]:
        counts = [f"{each['rows'].get(split, 0):,}" for split in ("train", "validation", "test")]
        rows.add_row(plain(each["dataset"]), *counts)
    console().print(rows)
