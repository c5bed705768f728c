"""`ratchet verify-model` and `ratchet sign`: is a version what was signed, and signing it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.keys import Reason
from flows.commands.options import By, Debug, Home, Json, existing, print_json, reported

app = typer.Typer()


@app.command("verify-model")
@reported
def verify_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="The version; the champion where none is named.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="DIR", help="A model that was fetched by hand; with --bundle.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Its run's bundle.json; with --folder.", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Check that a version is what was signed: signature, trust, every file, and that its alias is where it should be.

    No server is needed. It ends with 1 where the version may not be used.

    Example:  ratchet verify-model agent@champion
    """
    from flows import trust
    from flows.show_trust import show_verified

    if (folder is None) != (bundle is None):
        raise typer.BadParameter("--folder and --bundle go together")
    if folder is not None and bundle is not None:
        found = trust.verify_folder(existing(home, debug), model, folder, bundle)
    else:
        found = trust.verify_model(existing(home, debug), model)
    if json_:
        print_json(found)
    else:
        show_verified(found)


@app.command()
@reported
def sign(
    model: Annotated[str, typer.Argument(metavar="MODEL/VERSION", help="The version that you looked at.")],
    by: By,
    reason: Reason,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Sign a version again with the installation's key: after a key was revoked, or one from before there were keys.

    Its files must be those that were registered.

    Example:  ratchet sign agent/3 --by ann --reason "looked at it after the key was revoked"
    """
    from flows.show_trust import show_verified
    from flows.trust import sign_model

    done = sign_model(existing(home, debug), model, by, reason)
    if json_:
        print_json(done)
    else:
        show_verified(done)
