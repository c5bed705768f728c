"""Experiments as they are recorded: events that are appended, folded to the state of each.

An experiment is started, ramped, reweighed and ended, and every one of these is a row that stays. What an experiment
is now follows from its rows alone, so the gateway, the judge and the command line always agree. Two starts at the same
moment cannot both win: the one whose row came second does not count.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field, model_validator

from registry import database
from registry.errors import TriggerError
from registry.home import now
from registry.records import Record, canonical_digest

State = Literal["running", "stopped", "won", "lost"]
Mode = Literal["live", "shadow"]
CONTROL, CHALLENGER = "control", "challenger"
ROUNDING = 1e-9


class Arm(Record):
    """One of the versions that are compared. The first arm of an experiment is the control: the champion."""

    name: str
    version: str


class Experiment(Record):
    """An experiment as it is now."""

    key: str
    """Also the seed of its assignment, so a key is used once."""
    model: str
    arms: list[Arm] = Field(min_length=2)
    share: float = Field(gt=0.0, le=0.5)
    """Share of all units that each arm gets while the weights are equal: 0.10 → 0.25 → 0.50."""
    weights: list[float] | None = None
    """Of the arms, where Thompson sampling set them; None: all equal."""
    mode: Mode = "live"
    """`shadow`: the champion serves every unit, the challenger answers beside it and is only logged."""
    holdout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the model's units that no experiment ever gets."""
    namespace: tuple[str, float, float] | None = None
    """Name and range: experiments in disjoint ranges of one namespace share no unit."""
    started: str
    state: State = "running"
    reason: str = ""
    by: str
    first_offset: int = Field(default=0, ge=0)
    """Head of the event log at the start: what counts comes after it."""
    ramped: str | None = None
    """When the share was last changed."""
    ended: str | None = None
    result_digest: str | None = None
    """sha256 of the recorded result that ended it."""

    @model_validator(mode="after")
    def _coherent(self) -> Experiment:
        names, versions = [arm.name for arm in self.arms], [arm.version for arm in self.arms]
        if len(set(names)) < len(names) or len(set(versions)) < len(versions):
            raise ValueError("arms must have different names and versions")
        if self.share * len(self.arms) > 1.0 + ROUNDING:
            raise ValueError(f"share {self.share:g} of {len(self.arms)} arms is more than everything")
        if self.weights is not None and not _is_split(self.weights, len(self.arms)):
            raise ValueError("weights must be one a arm, at least 0, and sum to 1")
        if self.namespace is not None and not 0.0 <= self.namespace[1] < self.namespace[2] <= 1.0:
            raise ValueError("a namespace is a name and a range within 0 and 1")
        return self

    @property
    def control(self) -> Arm:
        """The champion's arm."""
        return self.arms[0]

    @property
    def challenger(self) -> Arm:
        """The first arm that is tried; the only one but for Thompson sampling."""
        return self.arms[1]

    @property
    def coverage(self) -> float:
        """Share of the units that are in the experiment at all."""
        return min(1.0, self.share * len(self.arms))


def _is_split(weights: Sequence[float], arms: int) -> bool:
    return len(weights) == arms and all(weight >= 0.0 for weight in weights) and abs(sum(weights) - 1.0) < 1e-6


class Experiments:
    """The experiments of a record database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = database.connect(url)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def start(self, experiment: Experiment) -> Experiment:
        """Record the start of an experiment and return it; again under the same key: what is there.

        Raises:
            TriggerError: E7721 another experiment runs on the same units of this model, or the key was used.
        """
        running = self.running(experiment.model)
        other = next((known for known in running if known.key != experiment.key and overlap(known, experiment)), None)
        if other is None:
            self._append(experiment, "start", experiment.model_dump(mode="json"), f"{experiment.key}:start")
            found = {known.key: known for known in self.all(experiment.model)}.get(experiment.key)
            if found is not None and [*found.arms] == [*experiment.arms]:
                return found
            other = next((known for known in self.running(experiment.model) if overlap(known, experiment)), found)
        name = other.key if other else experiment.key
        raise TriggerError(
            "E7721",
            f"experiment {name} of {experiment.model} runs already, or its key was used",
            f"end it with `ratchet experiment stop {experiment.model}`, or give both disjoint ranges of a namespace",
        )

    def ramp(self, key: str, share: float, by: str, reason: str = "") -> Experiment:
        """Give every arm `share` of the units. A larger share adds units and moves none.

        Raises:
            TriggerError: E7720 no such experiment, E7722 it has ended, E7723 the share does not fit its arms.
        """
        experiment = self._running(key)
        if not 0.0 < share <= 1.0 / len(experiment.arms) + ROUNDING:
            most = 1.0 / len(experiment.arms)
            raise TriggerError(
                "E7723",
                f"each of {len(experiment.arms)} arms of {key} gets at most {most:.0%} of the units, not {share:.0%}",
                "give a share above 0 and up to that",
            )
        if share == experiment.share:
            return experiment
        self._append(experiment, "ramp", {"share": share, "by": by, "reason": reason})
        return self.get(key)

    def reweigh(self, key: str, weights: Sequence[float], by: str, reason: str = "") -> Experiment:
        """Set the arms' weights, as Thompson sampling does.

        Raises:
            TriggerError: E7720 no such experiment, E7722 it has ended, E7723 the weights do not fit its arms.
        """
        experiment = self._running(key)
        if not _is_split(weights, len(experiment.arms)):
            raise TriggerError(
                "E7723", f"{len(experiment.arms)} arms of {key} need as many weights that sum to 1", "correct them"
            )
        self._append(experiment, "reweigh", {"weights": list(weights), "by": by, "reason": reason})
        return self.get(key)

    def stop(self, key: str, by: str, reason: str) -> Experiment:
        """End an experiment without a verdict; one that has ended stays as it is."""
        return self.conclude(key, "stopped", reason, by=by)

    def conclude(
        self,
        key: str,
        state: Literal["won", "lost", "stopped"],
        reason: str,
        result: Mapping[str, Any] | None = None,
        by: str = "judge",
    ) -> Experiment:
        """End an experiment with what was found. The first end counts; a repetition changes nothing.

        Raises:
            TriggerError: E7720 no such experiment.
        """
        experiment = self.get(key)
        body = {"state": state, "reason": reason, "by": by, "result": result}
        self._append(experiment, "end", body, f"{key}:end")
        return self.get(key)

    def get(self, key: str) -> Experiment:
        """Return an experiment.

        Raises:
            TriggerError: E7720.
        """
        for experiment in self.all():
            if experiment.key == key:
                return experiment
        raise TriggerError("E7720", f"there is no experiment {key}", "`ratchet experiment list` shows all")

    def running(self, model: str | None = None) -> list[Experiment]:
        """Return the running experiments, of one model or of all, oldest first."""
        return [experiment for experiment in self.all(model) if experiment.state == "running"]

    def all(self, model: str | None = None) -> list[Experiment]:
        """Return every experiment there was, of one model or of all, oldest first."""
        table = database.experiments
        query = sa.select(table).order_by(table.c.sequence)
        if model is not None:
            query = query.where(table.c.model == model)
        return fold([dict(row) for row in database.read(self._engine, query)])

    def result(self, key: str) -> dict[str, Any] | None:
        """Return what was recorded as the result of an experiment that has ended."""
        table = database.experiments
        query = sa.select(table.c.body).where(table.c.key == f"{key}:end")
        rows = database.read(self._engine, query)
        return json.loads(rows[0]["body"])["result"] if rows else None

    def _running(self, key: str) -> Experiment:
        experiment = self.get(key)
        if experiment.state != "running":
            raise TriggerError("E7722", f"experiment {key} has ended: {experiment.reason}", "start another")
        return experiment

    def _append(self, experiment: Experiment, event: str, body: Mapping[str, Any], key: str | None = None) -> None:
        values = {"time": now(), "experiment": experiment.key, "model": experiment.model, "event": event}
        text = json.dumps(body, ensure_ascii=False)
        database.append(
            self._engine, database.experiments, key or f"{experiment.key}:{uuid.uuid4().hex}", values | {"body": text}
        )


def fold(rows: Sequence[Mapping[str, Any]]) -> list[Experiment]:
    """Return the experiments that these rows amount to, in the order of their starts (pure)."""
    found: dict[str, Experiment] = {}
    for row in rows:
        key, body = row["experiment"], json.loads(row["body"])
        known = found.get(key)
        if row["event"] == "start":
            started = Experiment.model_validate(body)
            if known is None and not any(overlap(other, started) for other in found.values() if _runs(other)):
                found[key] = started
        elif known is not None and _runs(known):
            found[key] = known.model_copy(update=_change(row["event"], row["time"], body))
    return list(found.values())


def _change(event: str, time: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if event == "ramp":
        return {"share": body["share"], "ramped": time}
    if event == "reweigh":
        return {"weights": body["weights"]}
    result = body.get("result")
    digest = None if result is None else canonical_digest(result)
    return {"state": body["state"], "reason": body["reason"], "ended": time, "result_digest": digest}


def _runs(experiment: Experiment) -> bool:
    return experiment.state == "running"


def overlap(one: Experiment, other: Experiment) -> bool:
    """Tell whether two experiments could get the same unit of the same model."""
    if one.model != other.model:
        return False
    if one.namespace is None or other.namespace is None or one.namespace[0] != other.namespace[0]:
        return True
    return one.namespace[1] < other.namespace[2] and other.namespace[1] < one.namespace[2]
