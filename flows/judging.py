"""Verdicts on live traffic, carried out. What is to be done is decided by pure functions; here it is done.

Each effect can be repeated: an experiment is first recorded as ended, then its version is moved by the gates, and it
loses the alias of a challenger last. So an ended experiment whose version still has the alias is one that a crash left
half done, and the next look finishes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flows.experiments import gather, write_page
from flows.policy import Policy, load_policy
from flows.promotion import current_evidence, decide_and_carry_out, policy_of
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.errors import PromotionError
from registry.event_queries import Query
from registry.models import CHALLENGER
from registry.records import ModelVersion
from registry.situation import champions
from registry.transitions import Actor
from tasks.experiments.bake import bake
from tasks.experiments.decide import judge
from tasks.experiments.policy import ExperimentPolicy

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.experiments import Experiment

JUDGE = Actor("ratchet")
"""Who does what a verdict says."""
ENDS: dict[str, Literal["won", "lost", "stopped"]] = {
    "won": "won", "lost": "lost", "harm": "lost", "inconclusive": "lost", "stop": "stopped",
}  # fmt: skip
"""How an experiment ends with each verdict. A challenger that was not shown to be better has lost."""


def judge_all(settings: Settings, model: str | None = None, policy: Path | str | None = None) -> dict[str, Any]:
    """Judge one model, or all that there are; see `flows.judge.judge`."""
    stores = open_stores(settings)
    chosen = None if policy is None else load_policy(Path(policy))
    models = [model] if model is not None else stores.history.models()
    return {"models": [judge_model(stores, name, chosen) for name in models]}


def judge_model(stores: Stores, model: str, policy: Policy | None = None) -> dict[str, Any]:
    """Judge the experiments of a model and the champion that is new, and carry out what follows."""
    stores.transitions.recover(model)
    baked = watch(stores, model, policy)
    settled = [settle(stores, experiment) for experiment in _half_done(stores, model)]
    looked = [look(stores, experiment, policy) for experiment in stores.experiments.running(model)]
    champion = stores.models.champion(model)
    return {
        "model": model,
        "champion": champion.version if champion else None,
        "bake": baked,
        "experiments": [*settled, *looked],
    }


# --- experiments ---------------------------------------------------------------------------------------------------


def look(stores: Stores, experiment: Experiment, policy: Policy | None) -> dict[str, Any]:
    """Look at a running experiment, and end it or give it more traffic where that is due."""
    champion = stores.models.champion(experiment.model)
    if champion is None or champion.version != experiment.control.version:
        serving = f"version {champion.version}" if champion else "nobody"
        reason = f"version {experiment.control.version} was the champion it was tried against, and {serving} serves now"
        stores.experiments.conclude(experiment.key, "lost", reason, {"verdict": "champion changed"})
        return settle(stores, stores.experiments.get(experiment.key))
    rules = policy or policy_of(stores, experiment.model, experiment.challenger.version)
    evidence = gather(stores, experiment, rules.experiments, datetime.now(UTC))
    judgement = judge(evidence, rules.experiments)
    result = judgement.model_dump(mode="json")
    stores.history.note("experiment", experiment.model, {"experiment": experiment.key, "look": result})
    write_page(stores, experiment, judgement, rules.experiments.margin)
    if judgement.verdict != "continue":
        stores.experiments.conclude(experiment.key, ENDS[judgement.verdict], judgement.reason, result, JUDGE.by)
        return settle(stores, stores.experiments.get(experiment.key))
    if judgement.next_share is not None:
        experiment = stores.experiments.ramp(experiment.key, judgement.next_share, JUDGE.by, judgement.reason)
    if judgement.weights is not None:
        experiment = stores.experiments.reweigh(experiment.key, judgement.weights, JUDGE.by, judgement.reason)
    return _told(experiment, judgement.reason, None)


def settle(stores: Stores, experiment: Experiment) -> dict[str, Any]:
    """Do what the end of an experiment says; again: nothing."""
    decided = None
    for arm in experiment.arms[1:]:
        version = stores.models.get(experiment.model, arm.version)
        if experiment.mode == "live" and experiment.state in {"won", "lost"} and version.stage == "staging":
            decided = _through_the_gates(stores, version)
        reason = f"experiment {experiment.key} {experiment.state}: {experiment.reason}"
        stores.transitions.withdraw(experiment.model, arm.version, reason, JUDGE)
    return _told(experiment, experiment.reason, decided)


def _through_the_gates(stores: Stores, version: ModelVersion) -> str:
    """Look at all gates of a version again, now that live traffic has spoken, and return the verdict."""
    evidence = current_evidence(stores, version.name, version.version)
    rules = policy_of(stores, version.name, version.version)
    decision, _ = decide_and_carry_out(stores, evidence, rules, JUDGE)
    return decision.verdict


def _half_done(stores: Stores, model: str) -> Sequence[Experiment]:
    """Return the experiments that have ended while a version of theirs still has the alias of a challenger."""
    challengers = {version.version for version in stores.models.versions(model) if CHALLENGER in version.aliases}
    return [
        experiment
        for experiment in stores.experiments.all(model)
        if experiment.state != "running" and challengers & {arm.version for arm in experiment.arms[1:]}
    ]


def _told(experiment: Experiment, reason: str, decision: str | None) -> dict[str, Any]:
    return {
        "experiment": experiment.key,
        "challenger": experiment.challenger.version,
        "state": experiment.state,
        "share": experiment.share,
        "reason": reason,
        "decision": decision,
    }


# --- the bake period -----------------------------------------------------------------------------------------------


class Baking(NamedTuple):
    """A champion in its bake period: what it served, and what the champion before served until then."""

    now: pa.Table
    before: pa.Table


def watch(stores: Stores, model: str, policy: Policy | None) -> dict[str, Any] | None:
    """Watch a champion that was promoted a short time ago, and roll it back where its guard metrics break.

    Returns:
        What was found; None where no champion is in its bake period.
    """
    champion = stores.models.champion(model)
    if champion is None:
        return None
    rules = (policy or policy_of(stores, model, champion.version)).experiments
    moment = datetime.now(UTC)
    baking = _baking(stores, champion, rules, moment)
    if baking is None:
        return None
    found = bake(baking.now, baking.before, rules, moment)
    told = {"version": champion.version, **found.model_dump(mode="json"), "restored": None}
    if found.broken:
        try:
            told["restored"] = stores.transitions.rollback(model, f"bake period: {found.reason}", JUDGE).version
        except PromotionError as error:  # there is nothing that could be restored: a person must act, and is told so
            told["rollback"] = str(error)
    stores.history.note("bake", model, told, version=champion.version)
    return told


def _baking(stores: Stores, champion: ModelVersion, rules: ExperimentPolicy, moment: datetime) -> Baking | None:
    """Return what a champion that is new served, and the one before; None where there is none or it is not new."""
    history = stores.history.of(champion.name)
    line, served = champions(history), [change for change in history if change.action in {"promote", "rollback"}]
    if len(line) < 2 or served[-1].action != "promote" or served[-1].version != champion.version:
        return None  # a version that was restored is known already
    since = datetime.fromisoformat(served[-1].time)
    if moment - since > timedelta(hours=rules.bake_hours):
        return None
    first = (since - timedelta(hours=rules.bake_reference_hours)).isoformat()
    mine = Query(agent=champion.name, shadow=False)
    return Baking(
        stores.events.traces(mine._replace(model_versions=[champion.version], since=served[-1].time)),
        stores.events.traces(mine._replace(model_versions=[line[-2]], since=first, until=served[-1].time)),
    )
