"""Verdicts on live traffic, carried out. What is to be done is decided by pure functions; here it is done.

Each effect can be repeated: an experiment is first recorded as ended, then its version is moved by the gates, then it
loses the alias of a challenger, and a note says that all is done. So an ended experiment without that note is one that
a crash left half done, and the next look finishes it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flows.audit import sealing
from flows.experiments import SETTLED, STAGES, gather, mark_settled, write_page
from flows.policy import Policy, chosen_file, load_policy
from flows.promotion import current_evidence, decide_and_carry_out, policy_of
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.errors import PromotionError, RatchetError, TriggerError, listed
from registry.event_queries import Query
from registry.models import CHAMPION
from registry.records import ModelVersion
from registry.situation import champions
from registry.transitions import Actor
from tasks.experiments.bake import bake
from tasks.experiments.decide import judge
from tasks.experiments.policy import ExperimentPolicy

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.experiments import Experiment

logger = logging.getLogger(__name__)

JUDGE = Actor("ratchet")
"""Who does what a verdict says."""
End = Literal["won", "lost", "stopped"]
ENDS: dict[str, End] = {
    "won": "won", "lost": "lost", "harm": "lost", "inconclusive": "lost", "stop": "stopped",
}  # fmt: skip
"""How an experiment ends with each verdict. A challenger that was not shown to be better has lost."""


def judge_all(settings: Settings, model: str | None = None, policy: Path | str | None = None) -> dict[str, Any]:
    """Judge one model, or all that there are; see `flows.judge.judge`.

    Returns:
        {"models": ...}; what failed is in the model's list `failed`, and keeps nothing else from being judged.
    """
    stores = open_stores(settings)
    file = chosen_file(policy, settings)
    chosen = None if file is None else load_policy(file)
    models = [model] if model is not None else stores.history.models()
    with sealing(stores):
        return {"models": [judge_model(stores, name, chosen) for name in models]}


def judge_model(stores: Stores, model: str, policy: Policy | None = None) -> dict[str, Any]:
    """Judge the experiments of a model and the champion that is new, and carry out what follows.

    Args:
        stores: Where everything is kept.
        model: Name of the model.
        policy: Its section `experiments`; where it is left out, that of the policy each version was trained under.
    """
    told: dict[str, Any] = {"model": model, "champion": None, "bake": None, "experiments": [], "failed": []}
    with _reported(told):
        stores.transitions.recover(model)
    with _reported(told):
        told["bake"] = watch(stores, model, policy)
    for experiment in _half_done(stores, model):
        with _reported(told):
            told["experiments"].append(settle(stores, experiment))
    for experiment in stores.experiments.running(model):
        with _reported(told):
            told["experiments"].append(look(stores, experiment, policy))
    with _reported(told):
        champion = stores.models.champion(model)
        told["champion"] = champion.version if champion else None
    return told


@contextmanager
def _reported(told: dict[str, Any]) -> Iterator[None]:
    """Write down a failure instead of raising it: what is left to judge must not wait for it."""
    try:
        yield
    except Exception as error:
        logger.exception("judging %s failed", told["model"])
        said = str(error) if isinstance(error, RatchetError) else f"unexpected {type(error).__name__}: {error}"
        if said not in told["failed"]:
            told["failed"].append(said)


def check_failures(judged: dict[str, Any]) -> None:
    """Raise what failed, once everything is judged.

    Raises:
        TriggerError: E7727.
    """
    failed = [f"{found['model']}: {said}" for found in judged["models"] for said in found["failed"]]
    if failed:
        what = f"not all could be judged: {listed(failed)}"
        raise TriggerError("E7727", what, "put that right; everything else was judged, and the next look tries again")


# --- experiments ---------------------------------------------------------------------------------------------------


def look(stores: Stores, experiment: Experiment, policy: Policy | None) -> dict[str, Any]:
    """Look at a running experiment, and end it or give it more traffic where that is due."""
    reason = _overtaken(experiment, stores.models.versions(experiment.model))
    if reason is not None:
        result: dict[str, Any] = {"verdict": "overtaken", "reason": reason}
        stores.history.note("experiment", experiment.model, {"experiment": experiment.key, "look": result})
        return _end(stores, experiment, "stopped", reason, result)
    rules = (policy or policy_of(stores, experiment.model, experiment.challenger.version)).experiments
    judgement = judge(gather(stores, experiment, rules, datetime.now(UTC)), rules)
    result = judgement.model_dump(mode="json")
    stores.history.note("experiment", experiment.model, {"experiment": experiment.key, "look": result})
    page = write_page(stores, experiment, judgement, rules.margin)
    if judgement.verdict != "continue":
        for arm in experiment.arms[1:]:  # for who has only MLflow
            run_id = stores.models.get(experiment.model, arm.version).run_id
            stores.models.tracking.log_artifacts(run_id, [page])
        return _end(stores, experiment, ENDS[judgement.verdict], judgement.reason, result)
    if judgement.next_share is not None:
        experiment = stores.experiments.ramp(experiment.key, judgement.next_share, JUDGE.by, judgement.reason)
    if judgement.weights is not None:
        experiment = stores.experiments.reweigh(experiment.key, judgement.weights, JUDGE.by, judgement.reason)
    return _told(experiment, judgement.reason, None)


def _overtaken(experiment: Experiment, versions: Sequence[ModelVersion]) -> str | None:
    """Say why an experiment cannot go on, whatever its numbers: somebody moved one of its versions meanwhile."""
    control = experiment.control.version
    champion = next((version.version for version in versions if CHAMPION in version.aliases), None)
    if champion != control:
        serving = f"version {champion}" if champion else "nobody"
        return f"version {control} was the champion it was tried against, and {serving} serves now"
    stages = {version.version: version.stage for version in versions}
    for arm in experiment.arms[1:]:
        if arm.version not in stages:
            return f"version {arm.version} is not in the registry any more"
        if stages[arm.version] not in STAGES[experiment.mode]:
            return f"version {arm.version} is in {stages[arm.version]}, and is tried no more"
    return None


def _end(stores: Stores, experiment: Experiment, state: End, reason: str, result: dict[str, Any]) -> dict[str, Any]:
    """End an experiment, and do what follows; the first end counts, should somebody else have ended it just now."""
    return settle(stores, stores.experiments.conclude(experiment.key, state, reason, result, JUDGE.by))


def settle(stores: Stores, experiment: Experiment) -> dict[str, Any]:
    """Do what the end of an experiment says; again: nothing."""
    decided = None
    stages = {version.version: version.stage for version in stores.models.versions(experiment.model)}
    newest = _newest(stores.experiments.all(experiment.model))
    for arm in experiment.arms[1:]:
        if arm.version not in stages or newest[arm.version].key != experiment.key:
            continue  # deleted, or tried once more meanwhile: that experiment decides
        if experiment.mode == "live" and experiment.state in {"won", "lost"} and stages[arm.version] == "staging":
            said = _through_the_gates(stores, experiment, arm.version)
            decided = said if decided in (None, "rejected") else decided
        stores.transitions.withdraw(experiment.model, arm.version, _why(experiment), JUDGE)
    mark_settled(stores, experiment)
    return _told(experiment, experiment.reason, decided)


def _through_the_gates(stores: Stores, experiment: Experiment, version: str) -> str:
    """Look at all gates of a version again, now that live traffic has spoken, and return the verdict.

    A winner that has beaten a champion which serves no more is not promoted in another one's place: it waits. A loser
    is archived also where a gate in front of the experiment's would have kept it.
    """
    model = experiment.model
    evidence = current_evidence(stores, model, version)
    trial = evidence.trial.status if evidence.trial else None
    if trial == "won" and evidence.champion != experiment.control.version:
        return "champion changed"
    decision, after = decide_and_carry_out(stores, evidence, policy_of(stores, model, version), JUDGE)
    if trial == "lost" and after.stage == "staging":
        stores.transitions.archive(model, version, _why(experiment), JUDGE)
        return "rejected"
    return decision.verdict


def _half_done(stores: Stores, model: str) -> Sequence[Experiment]:
    """Return the experiments that have ended, and of which nobody wrote down that all is done."""
    settled = {note.body["experiment"] for note in stores.history.notes(SETTLED, model)}
    return [each for each in stores.experiments.all(model) if each.state != "running" and each.key not in settled]


def _newest(experiments: Sequence[Experiment]) -> dict[str, Experiment]:
    """Return the newest experiment of each version that was tried."""
    return {arm.version: experiment for experiment in experiments for arm in experiment.arms[1:]}


def _why(experiment: Experiment) -> str:
    return f"experiment {experiment.key} {experiment.state}: {experiment.reason}"


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
