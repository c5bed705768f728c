"""`ratchet events` and `ratchet feedback`: the event log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import Debug, Home, Json, existing, print_json, reported, said, settings_of

top = typer.Typer()
"""Commands that stand beside `events`."""
events = typer.Typer(
    name="events",
    help="The event log: import, figures, queries.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Of this agent.", show_default=False)]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From this time on (ISO 8601).", show_default=False)
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.", show_default=False)]
Versions = Annotated[
    list[str] | None,
    typer.Option("--model-version", metavar="V", help="Of this model version; may be repeated.", show_default=False),
]
Domains = Annotated[
    list[str] | None, typer.Option("--domain", metavar="D", help="Of this domain; may be repeated.", show_default=False)
]
Experiment = Annotated[
    str | None, typer.Option("--experiment", metavar="KEY", help="Of this experiment.", show_default=False)
]
LIMIT = 100
LAST = 2**63 - 1
"""No offset is larger."""
Shadow = Annotated[bool, typer.Option("--shadow", help="Answers that were never served, as well.")]
AtLeast = Annotated[
    float | None,
    typer.Option("--min-quality", metavar="Q", min=0, max=100, help="Of this quality at least.", show_default=False),
]
AtMost = Annotated[
    float | None,
    typer.Option("--max-quality", metavar="Q", min=0, max=100, help="Of this quality at most.", show_default=False),
]
After = Annotated[int, typer.Option("--after", metavar="OFFSET", min=0, help="Offsets above this one.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="At most so many (default: 100).", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write all of them there as JSON lines, as they came, in order; - for standard output.",
        show_default=False,
    ),
]


@events.command("import")
@reported
def import_(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Files, folders, globs, .gz, .zst, or - for standard input.")
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Append events to the log; what is there already is left as it is.

    Example:  ratchet events import 'logs/*.jsonl.gz'
    """
    from flows.event_log import import_events
    from flows.show_events import show_import

    summary = import_events(settings_of(home, debug), files)
    if json_:
        print_json(summary)
    else:
        show_import(summary)


@events.command()
@reported
def stats(
    agent: Agent = None,
    since: Since = None,
    until: Until = None,
    model_version: Versions = None,
    domain: Domains = None,
    experiment: Experiment = None,
    shadow: Shadow = False,
    by_day: Annotated[bool, typer.Option("--by-day", help="A line for each day (UTC) of each.")] = False,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Print quality, failures, feedback, latency and tokens by model version.

    Example:  ratchet events stats --agent support --since 2026-11-01 --by-day
    """
    from flows.event_log import log_statistics
    from flows.show_events import show_statistics
    from registry.event_queries import Query

    where = Query(
        since=since, until=until, model_versions=model_version or (), agent=agent, domains=domain or (),
        experiment=experiment, shadow=None if shadow else False,
    )  # fmt: skip
    summary = log_statistics(existing(home, debug), where)
    if json_:
        print_json(summary)
    else:
        show_statistics(summary, by_day=by_day)


@events.command()
@reported
def query(
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="T", help="Of this type; may be repeated.", show_default=False)
    ] = None,
    agent: Agent = None,
    since: Since = None,
    until: Until = None,
    model_version: Versions = None,
    domain: Domains = None,
    trace: Annotated[
        list[str] | None,
        typer.Option("--trace", metavar="ID", help="Of this trace; may be repeated.", show_default=False),
    ] = None,
    min_quality: AtLeast = None,
    max_quality: AtMost = None,
    feedback: Annotated[
        Literal["negative", "positive", "any"] | None,
        typer.Option("--feedback", help="What the last feedback about the trace says.", show_default=False),
    ] = None,
    experiment: Experiment = None,
    after: After = 0,
    limit: Limit = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    unique: Annotated[bool, typer.Option("--unique", help="Without traces that say what an earlier one says.")] = False,
    shadow: Shadow = False,
    out: Out = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """List events; everything that is asked for must hold.

    Example:  ratchet events query --agent support --feedback negative --newest
    """
    from flows.event_log import log_query, write_query
    from flows.show_events import show_query
    from registry.event_queries import Query

    quality = None if min_quality is None and max_quality is None else (min_quality, max_quality)
    where = Query(
        type_ or (), since, until, model_version or (), agent, domain or (), trace or (), quality, feedback, experiment,
        min(after, LAST), shadow=None if shadow else False,
    )  # fmt: skip
    if out is not None and (limit is not None or newest or unique):
        raise typer.BadParameter("it writes all in order: leave out --limit, --newest and --unique", param_hint="--out")
    settings = existing(home, debug)
    if out is not None:
        file = None if str(out) == "-" else out
        written = write_query(settings, where, file)
        if file is not None and json_:
            print_json({"rows": written, "path": str(file)})
        elif file is not None:
            typer.echo(f"{written:,} events written to {file}", err=True)
        return
    summary = log_query(settings, where, min(limit or LIMIT, LAST), newest_first=newest, unique=unique)
    if json_:
        print_json(summary)
    else:
        show_query(summary)


@top.command()
@reported
def feedback(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="Trace id.", callback=said)],
    kind: Annotated[str, typer.Option("--kind", metavar="K", help="thumbs, stars, resolved, ...", callback=said)],
    value: Annotated[str, typer.Option("--value", metavar="V", help="true, false, 4, 0.7, up, ...", callback=said)],
    user: Annotated[str, typer.Option("--user", metavar="U", help="Who says so.", callback=said)],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Record what somebody says about a trace; it may come at any time.

    Example:  ratchet feedback 4f2c81d0 --kind stars --value 2 --user dana
    """
    from flows.event_log import record_feedback
    from flows.show_events import show_feedback

    summary = record_feedback(existing(home, debug), trace, kind, value, user)
    if json_:
        print_json(summary)
    else:
        show_feedback(summary)
