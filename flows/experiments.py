"""Experiments started, looked at and stopped: what the command line, the judge and the retrain flow share."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from flows.audit import sealing
from flows.promotion import check_compared, policy_of
from flows.stores import Stores
from registry import home
from registry.errors import TriggerError, listed
from registry.events import Query
from registry.experiments import CHALLENGER, CONTROL, Arm, Experiment, overlap
from registry.files import write_whole
from registry.transitions import Actor
from tasks.experiments.agreement import agreement
from tasks.experiments.judgement import ExperimentEvidence, Judgement
from tasks.experiments.page import render_html
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.units import by_unit

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "offset", "time", "arm", "unit", "quality", "failed", "negative", "latency_ms", "tokens_in", "tokens_out", "cost",
)  # fmt: skip
COMPARED = 500
"""Shadow answers, the newest, that are compared with the served ones."""
STAGES = {"live": {"staging"}, "shadow": {"staging", "development"}}
"""Where a version must be to be tried."""
SETTLED = "experiment_settled"
"""Kind of the audit note that is written when everything that the end of an experiment asks for is done."""


# --- started, ramped, stopped ----------------------------------------------------------------------------------------


def start_experiment(
    stores: Stores,
    policy: ExperimentPolicy,
    model: str,
    version: str,
    by: str,
    share: float | None = None,
    mode: Literal["live", "shadow"] = "live",
    namespace: tuple[str, float, float] | None = None,
    others: list[str] | None = None,
) -> Experiment:
    """Try a version beside the champion, from now on; again: the experiment that runs already.

    Args:
        stores: Where everything is kept.
        policy: Says the first share and the holdout.
        model: Name of the model.
        version: The challenger.
        by: Who starts it.
        share: Share of the units that each arm gets at first; by policy where it is left out.
        mode: `shadow`: the challenger's answers are only logged.
        namespace: Name and range, where several experiments of a model run side by side.
        others: More challengers, each of which is an arm.

    Raises:
        PromotionError: E7522 no such version, E7566 it was examined against another version than the champion.
        TriggerError: E7721 another experiment runs, E7724 there is no champion or it is the challenger itself, E7725
            the version is in a stage that is not tried.
    """
    versions = [version, *(others or [])]
    running = _running_with(stores, model, versions)
    if running is not None:
        return running
    champion = stores.models.champion(model)
    if champion is None or champion.version in versions:
        what = f"version {champion.version} is the champion itself" if champion else "it has no champion"
        raise TriggerError("E7724", f"{model} cannot be tried: {what}", "promote a version first, or name another")
    wrong = [
        found for found in (stores.models.get(model, each) for each in versions) if found.stage not in STAGES[mode]
    ]
    if wrong:
        raise TriggerError(
            "E7725",
            f"{model} version {wrong[0].version} is in {wrong[0].stage} and cannot be tried",
            f"an experiment ({mode}) takes versions in {' or '.join(sorted(STAGES[mode]))}",
        )
    for each in versions if mode == "live" else []:
        check_compared(stores, model, each)
    arms = [Arm(name=CONTROL, version=champion.version)]
    arms += [Arm(name=CHALLENGER if len(versions) == 1 else f"version-{each}", version=each) for each in versions]
    experiment = _experiment(
        key=_key(stores, model, version),
        model=model,
        arms=arms,
        share=min(policy.ramp[0], 1.0 / len(arms)) if share is None else share,
        mode=mode,
        holdout=policy.holdout,
        namespace=namespace,
        started=home.now(),
        by=by,
        first_offset=stores.events.head(),
    )
    other = next((known for known in stores.experiments.running(model) if overlap(known, experiment)), None)
    if other is None:  # the alias first: who is killed here starts it again, and finds the alias there
        for each in versions:
            stores.transitions.challenge(model, each, f"tried against version {champion.version}", Actor(by))
    started = stores.experiments.start(experiment)
    note(stores, started, "started", by, key=f"experiment:{started.key}:started")
    return started


def ramp_experiment(stores: Stores, policy: ExperimentPolicy, model: str, by: str, share: float | None) -> Experiment:
    """Give the arms of a model's running experiment `share` of the units, or the next step of the policy's ramp."""
    experiment = running_experiment(stores, model)
    if share is None:
        share = min((step for step in policy.ramp if step > experiment.share + 1e-9), default=experiment.share)
    ramped = stores.experiments.ramp(experiment.key, share, by)
    note(stores, ramped, "ramped", by)
    return ramped


def stop_experiment(stores: Stores, model: str, by: str, reason: str) -> Experiment:
    """End a model's running experiment without a verdict; its challengers stay in their stage."""
    experiment = running_experiment(stores, model)
    stopped = stores.experiments.stop(experiment.key, by, reason)
    note(stores, stopped, "stopped", by, key=f"experiment:{stopped.key}:stopped")
    for arm in stopped.arms[1:]:
        stores.transitions.withdraw(model, arm.version, f"experiment {stopped.key} stopped: {reason}", Actor(by))
    mark_settled(stores, stopped)
    return stopped


def mark_settled(stores: Stores, experiment: Experiment) -> None:
    """Write down that nothing is left to do for an experiment that has ended."""
    body = {"experiment": experiment.key, "state": experiment.state}
    version = experiment.challenger.version
    stores.history.note(SETTLED, experiment.model, body, version=version, key=f"{SETTLED}:{experiment.key}")


def running_experiment(stores: Stores, model: str) -> Experiment:
    """Return the running experiment of a model, or the one that is named by its key.

    Raises:
        TriggerError: E7720 none runs.
    """
    for experiment in stores.experiments.running():
        if model in {experiment.model, experiment.key}:
            return experiment
    raise TriggerError("E7720", f"no experiment of {model} runs", "`ratchet experiment list` shows all there were")


def latest_experiment(stores: Stores, model: str) -> Experiment:
    """Return the running experiment of a model, else its last one, or the one that is named by its key.

    Raises:
        TriggerError: E7720 there was none.
    """
    found = [known for known in stores.experiments.all() if model in {known.model, known.key}]
    if not found:
        raise TriggerError("E7720", f"there was no experiment of {model} yet", "`ratchet experiment start` starts one")
    return next((known for known in found if known.state == "running"), found[-1])


def note(stores: Stores, experiment: Experiment, event: str, by: str, key: str | None = None) -> None:
    """Write down for the audit what was done to an experiment."""
    body = {"experiment": experiment.key, "event": event, "by": by, "state": experiment.model_dump(mode="json")}
    with sealing(stores):
        stores.history.note("experiment", experiment.model, body, version=experiment.challenger.version, by=by, key=key)


def _experiment(**values: Any) -> Experiment:
    try:
        return Experiment(**values)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in error.errors(include_url=False)]
        raise TriggerError(
            "E7726", f"this is no experiment: {listed(said)}", "correct its share, arms or namespace"
        ) from None


def _running_with(stores: Stores, model: str, versions: list[str]) -> Experiment | None:
    for experiment in stores.experiments.running(model):
        if {arm.version for arm in experiment.arms[1:]} == set(versions):
            return experiment
    return None


def _key(stores: Stores, model: str, version: str) -> str:
    used = {experiment.key for experiment in stores.experiments.all()}
    names = (f"{model}-{version}" + (f"-{again}" if again > 1 else "") for again in range(1, len(used) + 2))
    return next(name for name in names if name not in used)


# --- what is known ---------------------------------------------------------------------------------------------------


def gather(stores: Stores, experiment: Experiment, policy: ExperimentPolicy, now: datetime) -> ExperimentEvidence:
    """Return everything that the log knows of an experiment at the time `now`."""
    traces = _traces(stores, Query(experiment=experiment.key, after=experiment.first_offset, shadow=None))
    until = _time(experiment.ended) if experiment.ended else now
    names = [arm.name for arm in experiment.arms]
    prices = (policy.price_in, policy.price_out)
    units, exposure = by_unit(traces, names, until, policy.outcome_hours, prices)
    step = _time(experiment.ramped or experiment.started)
    recent = np.bincount(units.arm[units.opened >= np.int64(step.timestamp() * 1e6)], minlength=len(names))
    return ExperimentEvidence(
        key=experiment.key,
        arms=names,
        versions=[arm.version for arm in experiment.arms],
        mode=experiment.mode,
        share=experiment.share,
        weights=experiment.weights,
        units=units,
        exposure=exposure,
        hours=_hours(_time(experiment.started), until),
        step_hours=_hours(step, until),
        step_units=int(recent.min()),
        agreement=_agreement(stores, experiment) if experiment.mode == "shadow" else [],
    )


def _traces(stores: Stores, where: Query) -> pa.Table:
    return stores.events.traces(where, COLUMNS)


def _agreement(stores: Stores, experiment: Experiment) -> list[float]:
    shadows = stores.events.query(Query(experiment=experiment.key, shadow=True), limit=COMPARED, newest_first=True)
    data = [found.event.get("data") or {} for found in shadows]
    names = [str(each["shadow_of"]) for each in data if each.get("shadow_of")]
    served = stores.events.query(Query(trace_ids=names)) if names else []
    return agreement(data, [found.event.get("data") or {} for found in served])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _hours(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 3600


# --- what is shown ---------------------------------------------------------------------------------------------------


def write_page(stores: Stores, experiment: Experiment, judgement: Judgement, margin: float = 0.05) -> Path:
    """Write the page of an experiment and return where it is."""
    page = stores.home.reports / "experiments" / f"{experiment.key}.html"
    html = render_html(judgement, f"Experiment {experiment.key}", facts(experiment), margin)
    return write_whole(page, html.encode())


def facts(experiment: Experiment) -> list[tuple[str, str]]:
    """Return what is to be said of an experiment beside its verdict."""
    told = [
        ("model", experiment.model),
        ("state", f"{experiment.state}{f': {experiment.reason}' if experiment.reason else ''}"),
        ("champion", f"version {experiment.control.version}"),
        ("tried", ", ".join(f"version {arm.version}" for arm in experiment.arms[1:])),
        ("mode", experiment.mode),
        ("share of each arm", f"{experiment.share:.0%}"),
        ("started", f"{experiment.started} by {experiment.by}"),
    ]
    if experiment.holdout:
        told.append(("holdout", f"{experiment.holdout:.0%}"))
    if experiment.ended:
        told.append(("ended", experiment.ended))
    return told


def version_rules(stores: Stores, model: str, version: str, file: Path | None = None) -> ExperimentPolicy:
    """Return the policy of a file or of the setting, or else the one that a version was trained under."""
    from flows.policy import chosen_file, load_policy

    chosen = chosen_file(file, stores.settings)
    return (load_policy(chosen) if chosen else policy_of(stores, model, version)).experiments


def rules_of(stores: Stores, experiment: Experiment, file: Path | None = None) -> ExperimentPolicy:
    """Return the policy that an experiment is judged by."""
    return version_rules(stores, experiment.model, experiment.challenger.version, file)


def experiment_status(
    stores: Stores, experiment: Experiment, policy: ExperimentPolicy, now: datetime
) -> tuple[Judgement, dict[str, Any]]:
    """Look at an experiment without doing anything, and return what was found with what `--json` prints."""
    from tasks.experiments.decide import judge

    judgement = judge(gather(stores, experiment, policy, now), policy)
    page = write_page(stores, experiment, judgement, policy.margin)
    told = {**experiment.model_dump(mode="json"), "judgement": judgement.model_dump(mode="json"), "page": str(page)}
    return judgement, told
