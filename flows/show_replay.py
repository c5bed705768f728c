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
    out.print(f"signed by  {plain(summary['signed_by'])}, key {summary['key_id']}", soft_wrap=True)
    if (summary["code_version"], summary["rules"]) != (summary["code_version_now"], summary["rules_now"]):
        then, now = (
            f"Ratchet {summary[f'code_version{of}']} with rules {summary[f'rules{of}'][:12]}" for of in ("", "_now")
        )
        out.print(f"decided by {then}, made again by {now}: they agree", soft_wrap=True)


def show_rebuild(summary: dict[str, Any]) -> None:
    """Print which versions of a dataset were made again, and what came of it."""
    rows = table("dataset", "inputs", "digest", "")
    for each in summary["versions"]:
        rows.add_row(
            f"{summary['name']}/{each['version']}", str(each["inputs"]), each["digest"][:12], plain(each["outcome"])
        )  # fmt: skip
    console().print(rows)
    for name in summary["unused"]:
        console().print(f"not used: {plain(name)} is none of its inputs as they were", soft_wrap=True)
