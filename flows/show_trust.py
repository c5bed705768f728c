"""Keys and verified models on a terminal."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from flows.show import console, plain, table

STYLES = {"counts": "green", "retired": "bright_black", "revoked": "red"}
SHOWN = 12
"""Digits of a key's id that are shown."""


def show_keys(found: dict[str, Any]) -> None:
    """Print the keys, one a line."""
    out = console()
    if not found["keys"]:
        out.print("no keys yet: the first is made when something is signed")
        return
    rows = table("key", "whose", "counts for", "state", "since", "why")
    for key in found["keys"]:
        since = key["revoked"] or key["retired"] or key["added"]
        rows.add_row(
            key["key_id"][:SHOWN], plain(key["identity"]), ", ".join(key["roles"]),
            Text(key["state"], style=STYLES[key["state"]]), _minute(since), plain(key["reason"]),
        )  # fmt: skip
    out.print(rows)
    out.print(f"kept in {plain(found['file'])}", style="bright_black", soft_wrap=True)


def show_key(done: dict[str, Any]) -> None:
    """Print what became of a key."""
    out = console()
    roles = " and ".join(done["roles"])
    out.print(f"{done['what']}: key {done['key_id'][:SHOWN]} of {plain(done['identity'])}, to {roles}", soft_wrap=True)
    if done["what"] == "revoked":
        for version in done["unsigned"]:
            out.print(f"  {plain(version)} cannot be used until you look at it and `ratchet sign {plain(version)}`")
    else:
        out.print(f"  public key {done['public']}", soft_wrap=True)


def show_verified(found: dict[str, Any]) -> None:
    """Print that a version is what was signed, by whom, and what was decided about it."""
    out = console()
    alias = f" ({plain(found['alias'])})" if found["alias"] else ""
    out.print(f"[green]good[/green]  {plain(found['model'])}/{found['version']}{alias}", highlight=False)
    size = f"{found['files']} files, {found['bytes'] / 1e6:.1f} MB, nothing else"
    rows = {
        "files": size,
        "signed": f"{_minute(found['time'])} by {found['signed_by']} with the key {found['key_id'][:SHOWN]}",
        "trained": f"on {found['dataset']} by {found['trained_by'] or 'nobody that is known'}",
    }
    if found["attested_by"] != found["trained_by"]:
        rows["looked at"] = f"by {found['attested_by']}: {found['reason']}"
    if found["served_by"]:
        rows["served"] = f"elsewhere, by {found['served_by']}, as signed"
    decision = found["decision"]
    if decision is not None:
        revoked = "" if decision["counts"] else " (the key that signed this was revoked since)"
        approved = ", ".join(approval["by"] for approval in decision["approvals"]) or "nobody"
        rows |= {
            "decided": f"{_minute(decision['time'])} {decision['verdict']}: {decision['reason']}{revoked}",
            "approved": f"by {approved}",
            "replaced": f"version {decision['replaced']}" if decision["replaced"] else "nothing",
        }
    for name, value in rows.items():
        out.print(f"  {name:9} {plain(value)}", soft_wrap=True, highlight=False)
    if found["alias"] is None and found["stage"] is None:
        out.print("  whether it is the one that should serve now cannot be seen from a file", style="yellow")


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
