"""What `ratchet replay` and `ratchet rebuild` print for people."""

from __future__ import annotations

from typing import Any

from flows.show import coloured, console, plain, table


def show_replay(summary: dict[str, Any]) -> None:
    """Print a decision that was made again."""
    out = console()
    out.print(
        f"{summary['model']}/{summary['version']}: decision {summary['sequence']} of {summary['time'][:19]} ", end=""
    )
    out.print(coloured(summary["verdict"]))
    out.print(plain(summary["reason"]), style="bright_black")
    out.print("made again from its evidence and its policy: the same, byte for byte")
    out.print(f"evidence   {summary['evidence_digest']}", soft_wrap=True)
    out.print(f"signed by  {_signature(summary)}", soft_wrap=True)
    if summary["code_version"] != summary["code_version_now"]:
        by = f"by Ratchet {summary['code_version']}" if summary["code_version"] else "before versions were recorded"
        out.print(f"decided {by}, made again by {summary['code_version_now']}")


def _signature(summary: dict[str, Any]) -> str:
    if summary["signed_by"] is None:
        return "nobody: nothing followed from it, or it was made before decisions were signed"
    return f"{plain(summary['signed_by'])}, key {summary['key_id']}"


def show_rebuild(summary: dict[str, Any]) -> None:
    """Print which versions of a dataset were made again, and what came of it."""
    rows = table("dataset", "inputs", "digest", "")
    for each in summary["versions"]:
        rows.add_row(
            f"{summary['name']}/{each['version']}", str(each["inputs"]), each["digest"][:12], plain(each["outcome"])
        )  # fmt: skip
    console().print(rows)
