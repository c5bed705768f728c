"""`ratchet audit`: who did what and when, and whether anybody changed that record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import By, Debug, Home, Json, existing, print_json, reported, said

audit = typer.Typer(
    no_args_is_help=True,
    help="Who did what and when, and whether anybody changed that: show, verify, export, prune, accept.",
)
OfModel = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Only records about this model.", show_default=False)
]
Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help="Only this kind, such as promote or decision.", show_default=False),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only from this time on (ISO 8601).", show_default=False)
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only before this time.", show_default=False)
]


@audit.command()
@reported
def show(
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", help="How many, the newest.", min=1)] = 20,
    model: OfModel = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Show the last records: who did what, when, to which version.

    Example:  ratchet audit show --model agent -n 50
    """
    from flows.audit_reading import Asked, read_audit
    from flows.show_audit import show_records

    found = read_audit(existing(home, debug), Asked(model, kind, since, until), last)
    if json_:
        print_json(found)
    else:
        show_records(found)


@audit.command()
@reported
def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="A copy of HOME/audit/checkpoints.jsonl that was kept elsewhere.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Find what was edited, deleted, moved, cut off or written anew, and where; exit 1 if anything was.

    Example:  ratchet audit verify --checkpoint /backup/checkpoints.jsonl
    """
    from flows.audit import tampered, verify_audit
    from flows.show_audit import show_verification

    found = verify_audit(existing(home, debug), checkpoint)
    if json_:
        print_json(found)
    else:
        show_verification(found)
    if not found["ok"]:
        raise tampered(found)


@audit.command()
@reported
def export(
    format_: Annotated[Literal["json", "csv"], typer.Option("--format", help="json has one object a line.")] = "json",
    model: OfModel = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write there (default: standard output).", show_default=False),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Write records as JSON lines or CSV.

    Example:  ratchet audit export --format csv --since 2026-10-01 --out audit.csv
    """
    from flows.audit_reading import Asked, export_audit

    summary = export_audit(existing(home, debug), Asked(model, kind, since, until), format_, out)
    if json_ and out is not None:
        print_json(summary)
    elif out is not None:
        typer.echo(f"{summary['records']} records written to {summary['path']}", err=True)


@audit.command()
@reported
def accept(
    by: By,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why it is right as it is; recorded.", callback=said)
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Begin anew with the log as it is, after it was restored from a backup; a signed record of it stays.

    Example:  ratchet audit accept --by dana --reason "disk failed; restored the backup of Monday"
    """
    from flows.audit import accept_audit
    from flows.show_audit import show_acceptance

    done = accept_audit(existing(home, debug), reason, by)
    if json_:
        print_json(done)
    else:
        show_acceptance(done)


@audit.command()
@reported
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Only what is older, such as 180d (default: all that may go).",
            show_default=False, callback=said,
        ),
    ] = None,
    by: By = "ratchet",
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Remove records that are older than RATCHET_AUDIT_RETENTION_DAYS (90), and leave a signed record of which went.

    What is still needed, such as the last decision about each version, is carried over.
    """
    from flows.audit import prune_audit
    from flows.show_audit import show_pruning

    done = prune_audit(existing(home, debug), older_than, by)
    if json_:
        print_json(done)
    else:
        show_pruning(done)
