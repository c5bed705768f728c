"""`ratchet keys`: whose signatures count."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.commands.options import By, Debug, Home, Json, existing, print_json, reported, said

keys = typer.Typer(
    no_args_is_help=True, help="Whose signatures count: list keys, trust one, make a new one, revoke one."
)
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever.", callback=said)]


@keys.command("list")
@reported
def list_(home: Home = None, json_: Json = False, debug: Debug = False) -> None:
    """List the keys that count, and those that were retired or revoked."""
    from flows.show_trust import show_keys
    from flows.trust import list_keys

    found = list_keys(existing(home, debug))
    if json_:
        print_json(found)
    else:
        show_keys(found)


@keys.command()
@reported
def trust(
    key: Annotated[str, typer.Argument(metavar="KEY", help="File with a public key in PEM, or its 64 hex digits.")],
    identity: Annotated[str, typer.Option("--as", metavar="NAME", help="Whose key it is.", callback=said)],
    by: By,
    role: Annotated[
        Literal["sign", "approve"],
        typer.Option("--role", help="What it counts for: what an installation signs, or a person's approvals."),
    ] = "approve",
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Let the signatures of a public key count.

    Example:  ratchet keys trust dana.pub --as dana --by ann
    """
    from flows.show_trust import show_key
    from flows.trust import trust_key

    done = trust_key(existing(home, debug), key, identity, (role,), by)
    if json_:
        print_json(done)
    else:
        show_key(done)


@keys.command()
@reported
def rotate(
    by: By,
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="NAME", help="A person's key (default: the installation's).", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Make a new key. What the old one signed goes on counting; it signs nothing new."""
    from flows.show_trust import show_key
    from flows.trust import rotate_key

    done = rotate_key(existing(home, debug), of, by)
    if json_:
        print_json(done)
    else:
        show_key(done)


@keys.command()
@reported
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, or its beginning.")],
    by: By,
    reason: Reason,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Let nothing count any more that a key signed, whenever it did.

    Example:  ratchet keys revoke 3f2a --by ann --reason "the laptop was stolen"
    """
    from flows.show_trust import show_key
    from flows.trust import revoke_key

    done = revoke_key(existing(home, debug), key_id, by, reason)
    if json_:
        print_json(done)
    else:
        show_key(done)
