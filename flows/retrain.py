"""The scheduled retrain: look at the triggers, and learn from what the log has new where one fired.

check → note → learn → experiment
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from prefect import flow

from flows.audit import sealing
from flows.experiments import STAGES, start_experiment
from flows.learn import learn
from flows.policy import Policy, chosen_file, load_policy
from flows.promotion import decisions_of, not_tried_because, restore_champion
from flows.settings import Settings, load_settings
from flows.stores import Stores, open_stores
from flows.triggers import NOTHING, RETRAINED, Plan, agent_of, look, write_down
from registry.errors import CurationError, ExtractionError, FilteringError, RatchetError, TriggerError
from tasks.triggers.check import Check
from tasks.triggers.observations import Request
from tasks.triggers.task import show_checks

TOO_LITTLE = {"E7038", "E7101", "E7102", "E7103", "E7213"}
"""Errors that say that the log holds nothing, or too little, that could be learned."""
BUSY = {"E7721"}
"""An experiment of the model runs already."""


class Tried(NamedTuple):
    """The experiment that was started, if any, and why a version is not tried though it could be."""

    key: str | None = None
    held: str | None = None


@flow(name="retrain", flow_run_name="retrain {model}", log_prints=False, validate_parameters=True)
def retrain(
    model: str = "agent",
    events: str = "log:",
    policy: str | None = None,
    strategy: Plan = "auto",
    manual: bool = False,
    by: str = "ratchet",
    reason: str = "",
    dry_run: bool = False,
    approve_as: str | None = None,
    experiment: bool = True,
    home: str | None = None,
) -> dict[str, Any]:
    """Ask the triggers; where one fired, learn from what is new in the log and try the new version on live traffic.

    Every check is an audit record, also one after which nothing happens: `ratchet triggers --why TIME` reads them.

    Args:
        model: Name of the model.
        events: `log:` for everything in the event log, `log:AGENT` for one agent's events.
        policy: Policy file (YAML); where it is left out, that of the setting, else the defaults.
        strategy: As of `learn`; shadow tries the new version without serving it, rollback puts the previous champion
            back instead of learning.
        manual: Retrain in any case: no cooldown, no waiting for a running experiment.
        by: Who wants it; recorded for ever.
        reason: Why; recorded for ever.
        dry_run: Only look, and record the check.
        approve_as: Approve the promotion in this name, should every other gate pass.
        experiment: Try the new version beside the champion before it serves.
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        {"model", "fired", "outcome", "reason", "checks", "learn", "experiment", "experiment_held"}; the outcome is
        `not fired`, `dry run`, `learned`, `nothing to learn` or `rolled back`.

    Raises:
        SettingsError: E7823 another retrain of the model, or another run of `learn`, goes on.
        RatchetError: What `learn` raises.
    """
    settings = load_settings(home=home)
    file = chosen_file(policy, settings)
    wish = {
        "events": [events], "model": model, "policy": None if file is None else str(file), "by": by.strip(),
        "approve_as": approve_as, "strategy": strategy, "trial": experiment, "home": home,
    }  # fmt: skip
    agent_of(events)
    if not by.strip():
        raise TriggerError("E7702", "somebody without a name cannot retrain", "give a name with --by")
    request = Request(by.strip(), reason.strip())
    stores = open_stores(settings)
    with stores.home.lock(f"retrain-{model}", f"ratchet retrain of {model}"), sealing(stores):
        return _retrain(settings, wish, request, manual=manual, dry_run=dry_run)


def _retrain(
    settings: Settings, wish: dict[str, Any], request: Request, *, manual: bool, dry_run: bool
) -> dict[str, Any]:
    model, strategy, policy = wish["model"], wish["strategy"], wish["policy"]
    stores, rules = open_stores(settings), load_policy(chosen_file(policy, settings))
    tried = Tried()
    if wish["trial"] and strategy != "rollback" and not dry_run:
        tried = _try_waiting(stores, rules, model, request.by)  # first, so that the triggers know of it
    found = look(stores, model, wish["events"][0], rules, datetime.now(UTC), request if manual else None)
    note = write_down(stores, model, found, by=request.by, dry_run=dry_run, strategy=strategy, policy=policy)
    show_checks(model, found)
    if dry_run:
        return _told(model, found, "dry run", tried)
    if not found.fired:
        return _told(model, found, "not fired", tried)
    try:
        if strategy == "rollback":
            done = restore_champion(settings, model, request.by, request.reason or found.reason, None)
            result = {**_told(model, found, "rolled back", tried), "rollback": done}
        else:
            result = _learned(stores, rules, found, tried, wish, request.by)
    except RatchetError as error:
        _record(stores, model, note.sequence, {"outcome": "failed", "learn": {"error": str(error)}})
        raise
    _record(stores, model, note.sequence, {**result, "manual": manual})
    return result


def _learned(
    stores: Stores, rules: Policy, found: Check, tried: Tried, wish: dict[str, Any], by: str
) -> dict[str, Any]:
    """Run the main job, and try what it made; say what came of it."""
    model = str(wish["model"])
    try:
        summary: dict[str, Any] = learn(**wish)
    except (ExtractionError, FilteringError, CurationError) as error:
        if error.code not in TOO_LITTLE:
            raise
        return {**_told(model, found, NOTHING, tried), "learn": {"error": str(error)}}
    outcome = NOTHING if summary["decision"] == "unchanged" else "learned"
    if outcome == "learned" and wish["trial"]:
        new = _try(stores, rules, model, summary["model"]["version"], by)
        tried = Tried(new.key or tried.key, new.held or tried.held)
    return {**_told(model, found, outcome, tried), "learn": _short(summary)}


def _try(stores: Stores, rules: Policy, model: str, version: str, by: str) -> Tried:
    """Start the experiment that a version awaits, where it was examined against the champion that serves.

    One that is to serve is put before live users only where nothing but the experiment and a person's yes is missing. A
    shadow serves nobody.
    """
    decided = decisions_of(stores, model, version)
    if not decided:
        return Tried()
    decision, evidence = decided[-1]
    champion = stores.models.champion(model)
    awaited = evidence.trial is not None and evidence.trial.status == "awaited"
    if not awaited or champion is None or champion.version != evidence.champion:
        return Tried()
    mode: Literal["live", "shadow"] = "shadow" if evidence.strategy == "shadow" else "live"
    if stores.models.get(model, version).stage not in STAGES[mode]:
        return Tried()
    held = not_tried_because(decision, evidence) if mode == "live" else None
    if held is not None:
        return Tried(held=held)
    try:
        return Tried(start_experiment(stores, rules.experiments, model, version, by, mode=mode).key)
    except TriggerError as error:
        if error.code not in BUSY:
            raise
        return Tried(held=str(error))  # it waits, and is tried once the running one has ended


def _try_waiting(stores: Stores, rules: Policy, model: str, by: str) -> Tried:
    """Start the experiment that a version still awaits, the newest first.

    A crash came between, or another experiment, or a person had to look at it first.
    """
    experiments = stores.experiments.all(model)
    if any(each.state == "running" for each in experiments):
        return Tried()
    tried = {arm.version for each in experiments for arm in each.arms}
    decided = {decision.version for decision, _ in decisions_of(stores, model)}
    known = {version.version for version in stores.models.versions(model)}
    held = None
    for version in sorted(known & decided - tried, key=int, reverse=True):
        found = _try(stores, rules, model, version, by)
        if found.key is not None:
            return found
        held = held or found.held
    return Tried(held=held)


def _record(stores: Stores, model: str, checked: int, result: dict[str, Any]) -> None:
    body = {
        name: result.get(name) for name in ("outcome", "manual", "learn", "experiment", "experiment_held", "rollback")
    }
    version = ((result.get("learn") or {}).get("version")) or ""
    stores.history.note(RETRAINED, model, {"check": checked, **body}, version=version)


def _told(model: str, found: Check, outcome: str, tried: Tried) -> dict[str, Any]:
    return {
        "model": model,
        "fired": found.fired,
        "outcome": outcome,
        "reason": found.reason,
        "checks": [each.model_dump(mode="json") for each in found.checks],
        "learn": None,
        "experiment": tried.key,
        "experiment_held": tried.held,
    }


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a retrain tells of a run of the main job."""
    return {
        "run_id": summary["run_id"],
        "version": summary["model"]["version"],
        "stage": summary["model"]["stage"],
        "dataset": summary["dataset"]["version"],
        "strategy": summary["training"]["strategy"],
        "decision": summary["decision"],
        "reason": summary["reason"],
        "report": summary["report"],
    }
