"""What `ratchet verify` prints for people."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from flows.show import console, plain, table
from tasks.verification.page import shade
from tasks.verification.policy import STRENGTHS

COLOURS = {"all": "green", "most": "yellow", "held": "yellow", "missed": "red", "none": "bright_black"}


def show_verification(result: dict[str, Any]) -> None:
    """Print the self-checks, the table of faults, and what became of good candidates."""
    out = console()
    checks = table("component", "", "what it says")
    for check in result["checks"]:
        said = Text("in order", style="green") if check["ok"] else Text("wrong", style="red")
        checks.add_row(plain(check["name"]), said, plain(check["detail"]))
    out.print(checks)
    out.print()
    cells = {(cell["fault"], cell["strength"]): cell for cell in result["cells"]}
    faults = table("candidates with a fault", *STRENGTHS)
    for fault in dict.fromkeys(cell["fault"] for cell in result["cells"]):
        faults.add_row(fault, *(_cell(cells.get((fault, strength))) for strength in STRENGTHS))
    out.print(faults)
    for strength, each in result["strengths"].items():
        demanded = f", {each['demanded']:.0%} must be" if each["demanded"] else ""
        out.print(
            f"{strength}: {each['caught']} of {each['tried']} caught{demanded}; {each['review']} wait for a person "
            f"without a finding, {each['passed']} let through"
            + (f"; {each['harmless']} make no difference with this data" if each["harmless"] else "")
        )
    good = result["good"]
    out.print(
        f"good candidates: {good['rejected']} of {good['tried']} held up, at most {good['allowed']:.0%} may be; "
        f"{good['review']} wait for a person, {good['passed']} promoted"
    )
    for note in result["notes"]:
        out.print(plain(note))
    where = f"; report: {result['report']}" if result["report"] else ""
    out.print(
        f"{result['mode']} verification with {result['examples']['rows']:,} examples of "
        f"{result['examples']['source']} in {result['seconds']:.0f} s{where}"
    )


def _cell(cell: dict[str, Any] | None) -> Text:
    if cell is None or not cell["tried"]:
        return Text("–" if cell is None else "makes no difference", style=COLOURS["none"])
    by = ", ".join(list(cell["by"])[:2])
    said = f"{cell['caught']}/{cell['tried']}" + (f" {by}" if by else "")
    if cell["review"]:
        said += f", {cell['review']} to a person"
    if cell["passed"]:
        said += f", {cell['passed']} let through"
    return Text(said, style=COLOURS[shade(cell)])
