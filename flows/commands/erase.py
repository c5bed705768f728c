"""`ratchet erase`: what a person said, gone from everything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.options import By, Debug, Home, Json, existing, print_json, reported, said

if TYPE_CHECKING:
    from flows.settings import Settings
    from registry.erasure.events import Person

app = typer.Typer()
Subject = Annotated[
    str | None,
    typer.Option("--subject", metavar="S", help="Whose events have this subject.", callback=said, show_default=False),
]
User = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="U", help="The user that events, or feedback, name.", callback=said, show_default=False
    ),
]
Trace = Annotated[
    str | None,
    typer.Option("--trace", metavar="ID", help="One trace, with all said about it.", callback=said, show_default=False),
]


def person(subject: str | None, user: str | None, trace: str | None, other: str = "--subject") -> Person:
    """Return who is asked for; usage is wrong unless it is exactly one."""
    from registry.erasure.events import Person

    given = [Person(kind, value) for kind, value in _kinds(subject, user, trace) if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --subject, --user and --trace", param_hint=other)
    return given[0]


def _kinds(
    subject: str | None, user: str | None, trace: str | None
) -> list[tuple[Literal["subject", "user", "trace"], str | None]]:
    return [("subject", subject), ("user", user), ("trace", trace)]


def show_where(settings: Settings, whose: Person, json_: bool) -> None:
    """Print what saw a person."""
    from flows.show_erase import show_found
    from flows.whereabouts import where_is

    summary = where_is(settings, whose)
    print_json(summary) if json_ else show_found(summary)


@app.command()
@reported
def erase(
    by: By,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever, so without the name.", callback=said),
    ],
    subject: Subject = None,
    user: User = None,
    trace: Trace = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Policy file (env RATCHET_POLICY).", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Erase what a person said from event log, datasets, models, reports and caches; it cannot be undone.

    Digests, counts and numbers stay. Versions that saw the person are marked, and a signed record is kept.

    Example:  ratchet erase --subject customer-00870 --by dana --reason "request 12 under Art. 17"
    """
    settings, whose = existing(home, debug), person(subject, user, trace)
    if dry_run:
        show_where(settings, whose, json_)
        return
    if not yes:
        if json_ or not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here: give it to say that you are sure", param_hint="--yes")
        show_where(settings, whose, json_=False)
        typer.confirm("Erase this for ever?", abort=True, err=True)
    from flows.erase import erase as erase_person
    from flows.policy import chosen_file, load_policy
    from flows.settings import prepare_environment
    from flows.show_erase import show_erased

    prepare_environment(settings)
    chosen = load_policy(chosen_file(policy, settings)).erasure
    summary = erase_person(settings, whose, reason=reason, by=by, policy=chosen)
    print_json(summary) if json_ else show_erased(summary)
