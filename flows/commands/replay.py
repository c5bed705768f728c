"""`ratchet replay` and `ratchet rebuild`: make again what was decided, and what was learned from, and compare."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import Debug, Home, Json, existing, print_json, reported

app = typer.Typer()


@app.command()
@reported
def replay(
    decision: Annotated[
        str,
        typer.Argument(
            metavar="DECISION",
            help="MODEL/VERSION for its last decision, MODEL/VERSION#N, or an audit record's number.",
        ),
    ],
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Decide again from the recorded evidence; it must agree byte for byte, and what was signed with it.

    Example:  ratchet replay agent/3
    """
    from flows.replay import replay_decision
    from flows.show_replay import show_replay

    replayed = replay_decision(existing(home, debug), decision)
    if json_:
        print_json(replayed)
    else:
        show_replay(replayed)


@app.command()
@reported
def rebuild(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="NAME or NAME/VERSION (default: the latest).")],
    events: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVENTS]", help="Where its event files lie now, should they have moved.", show_default=False
        ),
    ] = None,
    home: Home = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Make a dataset version, and those below it, again from their events; the digests must be the same.

    Example:  ratchet rebuild agent/1.1.0 archive/*.jsonl.gz
    """
    from flows.rebuild import check_same, rebuild_dataset
    from flows.show_replay import show_rebuild

    rebuilt = rebuild_dataset(existing(home, debug), dataset, events or [])
    if json_:
        print_json(rebuilt)
    else:
        show_rebuild(rebuilt)
    check_same(rebuilt)
