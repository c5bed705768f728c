"""Triggers looked at: numbers gathered from the log and the history, checks written down, and read again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from flows.log_input import PREFIX, is_log
from flows.policy import Policy, chosen_file, load_policy
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.errors import TriggerError
from registry.situation import champions
from tasks.triggers.check import Check, check
from tasks.triggers.observations import Event, Observations, Past, Request

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from registry.history import AuditNote, LedgerEntry

CHECKED, RETRAINED = "trigger_check", "retrain"
"""Kinds of the audit notes: a look at the triggers, and what came of a retrain."""
NOTHING = "nothing to learn"
"""Outcome of a retrain that made no version."""
CONTROL = "control"
"""Name of the champion's arm."""
COLUMNS = ("offset", "time", "model_version", "domain", "arm", "unit", "quality", "failed", "negative")
LATEST = "now"
Plan = Literal["auto", "incremental", "full_retrain", "shadow", "rollback"]
PLANS: tuple[str, ...] = get_args(Plan)
"""Strategies of a retrain."""


# --- looked at -----------------------------------------------------------------------------------------------------


def triggers_now(settings: Settings, model: str, policy: Path | None = None, events: str = PREFIX) -> dict[str, Any]:
    """Return what each trigger says at this moment. It is a look: nothing is written down."""
    stores, moment = open_stores(settings), datetime.now(UTC)
    found = look(stores, model, events, load_policy(chosen_file(policy, settings)), moment)
    return {"model": model, "time": moment.isoformat(timespec="microseconds"), **found.model_dump(mode="json")}


def look(
    stores: Stores, model: str, events: str, policy: Policy, moment: datetime, request: Request | None = None
) -> Check:
    """Ask the triggers.

    Args:
        stores: Where everything is kept.
        model: Name of the model.
        events: `log:`, or `log:AGENT` for one agent's events alone.
        policy: Its triggers, and the quality from which an example is accepted.
        moment: What counts as now.
        request: A person who wants a retrain.

    Raises:
        TriggerError: E7700 the events are no window of the log.
    """
    observations, past = gather(stores, model, agent_of(events), policy.filtering.quality_threshold)
    return check(observations, past, moment, policy.triggers, request)


def agent_of(events: str) -> str | None:
    """Return whose events a retrain learns from, None for everybody's.

    Raises:
        TriggerError: E7700.
    """
    if not is_log(events):
        raise TriggerError(
            "E7700", f"{events[:80]!r} is not the event log, which a retrain learns from", "give log: or log:AGENT"
        )
    return events.removeprefix(PREFIX).partition("@")[0] or None


def gather(stores: Stores, model: str, agent: str | None, threshold: float) -> tuple[Observations, Past]:
    """Return what came since the last training, and what was before.

    The last training is the newest run that went through to its decision: what a killed run took in still counts as
    new, so that the next check takes it up.
    """
    from registry.events import Query

    runs = [entry for entry in stores.history.ledger() if entry.model == model and entry.event == "completed"]
    trainings = _trainings(runs)
    rows = stores.events.traces(Query(agent=agent, after=_taken(stores, model, trainings), shadow=False), COLUMNS)
    served = rows.filter(_of_champion(stores, model, rows))
    if trainings and _window_end(stores, model, trainings[-1]) is None:  # it learned from files: only time tells
        served = served.filter(_after(served, datetime.fromisoformat(trainings[-1].time)))
    return _observations(rows, served, threshold), _past(stores, model, trainings)


def _trainings(runs: list[LedgerEntry]) -> list[LedgerEntry]:
    """Return the runs that made a version, oldest first; a run that found nothing new repeats one."""
    first: dict[str, LedgerEntry] = {}
    for entry in runs:
        first.setdefault(entry.body["model"]["version"] if entry.body else "", entry)
    return [entry for version, entry in first.items() if version]


def _window_end(stores: Stores, model: str, run: LedgerEntry) -> int | None:
    body = run.body or {}
    version = (body.get("dataset") or {}).get("version")
    if version is None or version not in stores.datasets.versions(model):
        return None
    window = stores.datasets.manifest(model, version).log
    return window.end if window is not None and window.log_id == stores.events.log_id else None


def _taken(stores: Stores, model: str, trainings: list[LedgerEntry]) -> int:
    ends = [_window_end(stores, model, run) for run in trainings]
    return max((end for end in ends if end is not None), default=0)


def _of_champion(stores: Stores, model: str, rows: pa.Table) -> NDArray[np.bool_]:
    """Return which rows the champion served: no challenger's arm, and no other version of the model."""
    history = stores.history.of(model)
    serving = champions(history)[-1:]
    others = {change.version for change in history} - set(serving) if serving else set()
    arms = np.array([arm is not None and arm != CONTROL for arm in _names(rows, "arm")], np.bool_)
    versions = np.array([version in others for version in _names(rows, "model_version")], np.bool_)
    mine = ~np.append(arms, False)[_codes(rows, "arm")] & ~np.append(versions, False)[_codes(rows, "model_version")]
    return np.asarray(mine, np.bool_)


def _after(rows: pa.Table, moment: datetime) -> NDArray[np.bool_]:
    times = rows["time"].to_numpy()
    return np.asarray(times > np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us"), np.bool_)


def _observations(rows: pa.Table, served: pa.Table, threshold: float) -> Observations:
    quality, failed = _floats(rows, "quality"), _floats(rows, "failed") > 0
    return Observations(
        quality=_floats(served, "quality"),
        failed=_floats(served, "failed") > 0,
        negative=_floats(served, "negative"),
        domain=_codes(served, "domain"),
        unit=_codes(served, "unit"),
        domains=tuple(str(name) for name in _names(served, "domain")),
        samples=int(((quality >= threshold) & ~failed).sum()),
    )


def _floats(rows: pa.Table, column: str) -> NDArray[np.float64]:
    """Return a column as numbers; NaN where there is none."""
    import pyarrow as pa

    whole = rows[column]
    numbers = whole.cast(pa.uint8()) if pa.types.is_boolean(whole.type) else whole
    return np.asarray(numbers.cast(pa.float64()).to_numpy(), np.float64)


def _codes(rows: pa.Table, column: str) -> NDArray[np.int64]:
    """Return a column of names as positions in `_names`; -1 where there is none."""
    import pyarrow as pa

    indices = rows[column].combine_chunks().dictionary_encode()
    array = indices.chunk(0) if isinstance(indices, pa.ChunkedArray) else indices
    return np.asarray(array.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _names(rows: pa.Table, column: str) -> list[str | None]:
    indices = rows[column].combine_chunks().dictionary_encode()
    return list(indices.dictionary.to_pylist())


def _past(stores: Stores, model: str, trainings: list[LedgerEntry]) -> Past:
    events = [Event(_moment(run.time), f"version {_version(run)} was trained") for run in trainings]
    events += [
        Event(_moment(change.time), f"version {change.version} was {WORDS[change.action]}")
        for change in stores.history.of(model)
        if change.action in WORDS
    ]
    experiments = stores.experiments.all(model)
    events += [
        Event(_moment(each.ended), f"experiment {each.key} was lost")
        for each in experiments
        if each.state == "lost" and each.ended
    ]
    events += [
        Event(_moment(note.time), "a retrain found nothing to learn")
        for note in stores.history.notes(RETRAINED, model)
        if note.body["outcome"] == NOTHING and not note.body.get("manual")  # a person's wish holds nothing back
    ]
    newest = trainings[-1] if trainings else None
    return Past(
        trained=_moment(newest.time) if newest else None,
        version=_version(newest) if newest else None,
        events=tuple(events),
        running=tuple(each.key for each in experiments if each.state == "running"),
    )


WORDS = {"reject": "rejected", "quarantine": "quarantined", "rollback": "put back"}
"""Actions of a version's history after which the triggers wait."""


def _version(run: LedgerEntry) -> str:
    return str((run.body or {})["model"]["version"])


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(UTC)


# --- written down, and read again ----------------------------------------------------------------------------------


def write_down(
    stores: Stores, model: str, found: Check, *, by: str, dry_run: bool, strategy: str, policy: str | None
) -> AuditNote:
    """Record a check, whether anything fired or not."""
    body = {**found.model_dump(mode="json"), "by": by, "dry_run": dry_run, "strategy": strategy, "policy": policy}
    return stores.history.note(CHECKED, model, body)


def why(settings: Settings, model: str, time: str) -> dict[str, Any]:
    """Return the last check at or before a time, and what came of it.

    Args:
        settings: Say where the records are.
        model: Name of the model.
        time: ISO 8601 (without a zone it is UTC), or `now`.

    Raises:
        ExtractionError: E7033 the time is none.
        TriggerError: E7701 nothing was checked until then.
    """
    from registry.event_queries import moment

    stores = open_stores(settings)
    checks = stores.history.notes(CHECKED, model)
    if time != LATEST:
        asked = moment(time)
        checks = [note for note in checks if moment(note.time) <= asked]
    if not checks:
        raise TriggerError(
            "E7701",
            f"no check of {model}'s triggers was recorded until {time}",
            "`ratchet retrain --dry-run` checks and records; the deployment `retrain` does so every hour",
        )
    last = checks[-1]
    outcome = next(
        (note for note in stores.history.notes(RETRAINED, model) if note.body["check"] == last.sequence), None
    )
    return {
        "model": model,
        "time": last.time,
        **last.body,
        "retrain": {"time": outcome.time, **outcome.body} if outcome else None,
    }


# --- what the command calls ----------------------------------------------------------------------------------------


def run_retrain(
    settings: Settings,
    *,
    model: str,
    events: str,
    policy: Path | None,
    strategy: str,
    manual: bool,
    by: str,
    reason: str,
    dry_run: bool,
    approve_as: str | None,
    experiment: bool,
) -> dict[str, Any]:
    """Run the flow `retrain` on the engine that the settings name, and return what it returns.

    Raises:
        TriggerError: E7703 there is no such strategy.
        RatchetError: What the flow raises.
    """
    from flows.engine import engine
    from flows.logs import hush_prefect

    if strategy not in PLANS:
        raise TriggerError("E7703", f"there is no strategy {strategy[:40]!r}", f"give one of {', '.join(PLANS)}")
    agent_of(events)
    load_policy(chosen_file(policy, settings))  # what is wrong with it is told before anything is started
    with engine(settings) as live:
        from flows.retrain import retrain  # while the embedded server starts

        hush_prefect(settings.debug)
        live.ready()
        done: dict[str, Any] = retrain(
            model=model, events=events, policy=None if policy is None else str(policy), strategy=cast("Plan", strategy),
            manual=manual, by=by, reason=reason, dry_run=dry_run, approve_as=approve_as, experiment=experiment,
            home=str(settings.home),
        )  # fmt: skip
    return done
