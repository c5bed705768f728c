"""A home with a champion and versions that wait for an experiment, made in no time: toys in a real registry."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from flows.policy import Policy
from flows.promotion import approve_and_promote, decide_and_carry_out
from flows.stores import Stores
from registry.assignment import assign
from registry.models import Candidate
from registry.records import (
    DatasetManifest,
    Evidence,
    ModelVersion,
    Readiness,
    StageResult,
    Trial,
    ValidationReport,
)
from registry.transitions import Actor

MODEL = "support"
ANN = Actor("ann")
BACKEND = "tests.flows.toy_backend:Parrot"
CODE = Path(__file__).parents[1] / "registry" / "toy_model.py"
POLICY = Policy.model_validate(
    {
        "experiments": {
            "min_hours": 0.0, "min_units": 50, "outcome_hours": 0.0, "ramp_hours": 0.0, "ramp_units": 20,
            "max_units": 2_000,
        }
    }
)  # fmt: skip
RULES = POLICY.experiments


def registered(stores: Stores, work: str, model: str = MODEL) -> ModelVersion:
    """Register a version that can be loaded, with the policy it was made under."""
    tracking = stores.models.tracking
    data = DatasetManifest(
        name=model, version="1.0.0", digest="d" * 64, splits={"train": 8, "validation": 1, "test": 1},
        source_digest="e" * 64, code_version="0.1.0",
    )  # fmt: skip
    run = tracking.start_run(model, f"run-{work}", work)
    folder = stores.home.scratch / f"toy-{work}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"backend": BACKEND}))
    tracking.log_text(run, POLICY.model_dump_json(), "policy.json")
    version = stores.models.log_candidate(Candidate(model, run, folder, CODE, [], work, data, "full_retrain"))
    tracking.set_state(run, "COMPLETED")
    stores.bundles.attest(version, {}, by="zeno")
    stores.transitions.registered(version, ANN)
    return version


def evidence(version: ModelVersion, champion: str | None, **changes: Any) -> Evidence:
    stages = [
        StageResult(name=name, status="PASS", critical=True, counts={"cases": 200}, metrics={"pass_rate": 0.99})
        for name in ("regression", "performance", "safety")
    ]
    known = {
        "model": version.name, "version": version.version, "stage": version.stage, "training_state": "COMPLETED",
        "artifact_present": True, "artifact_loadable": True, "artifact_digest": version.artifact_digest or "",
        "signed": True, "metrics_recorded": True, "strategy": "full_retrain", "report_digest": "ab" * 32,
        "report": ValidationReport(
            recommendation="DEPLOY", baseline=f"{version.name}/{champion}" if champion else "frozen base", stages=stages
        ),
        "readiness": Readiness(score=0.95, accuracy=0.95, confidence=0.95, consistency=0.95, robustness=0.95),
        "trial": Trial(status="awaited") if champion else None, "champion": champion,
    }  # fmt: skip
    return Evidence(**(known | changes))


def with_champion(stores: Stores, model: str = MODEL) -> None:
    """Make version 1 the champion and let versions 2 and 3 wait for an experiment."""
    first = registered(stores, f"{model}-1", model)
    decide_and_carry_out(stores, evidence(first, None), POLICY, ANN)
    approve_and_promote(stores.settings, model, "1", "ann", "")
    for number in ("2", "3"):
        version = registered(stores, f"{model}-{number}", model)
        decision, after = decide_and_carry_out(stores, evidence(version, "1"), POLICY, ANN)
        assert (decision.verdict, after.stage) == ("pending_approval", "staging")


def logged(number: int, when: datetime, quality: float, **data: Any) -> dict[str, Any]:
    """An answer that was served to a user of its own, as the gateway logs it."""
    values = {
        "trace_id": f"{when.isoformat()}-{number}",
        "agent": MODEL, "unit": f"user-{number}", "status": "success", "output": "an answer", "latency_ms": 100.0,
        "task": {"type": "chat", "domain": "d", "instruction": "q"}, "tokens_in": 10, "tokens_out": 10,
        "quality_score": quality, **data,
    }  # fmt: skip
    return {
        "specversion": "1.0", "id": values["trace_id"], "source": "test", "type": "execution.completed",
        "time": (when + timedelta(microseconds=number)).isoformat(), "data": values,
    }  # fmt: skip


def traffic(stores: Stores, experiment: Any, units: int, rates: dict[str, float], start: int = 0) -> None:
    """Let `units` users ask once each while an experiment runs."""
    random, when = np.random.default_rng(0), datetime.now(UTC)
    events = []
    for number in range(start, start + units):
        found = assign([experiment], experiment.model, experiment.control.version, f"user-{number}")
        if found.arm is not None:
            quality = 100.0 * (random.random() < rates[found.arm])
            arm = {"model_version": found.version, "experiment": found.experiment, "arm": found.arm}
            events.append(logged(number, when, quality, agent=experiment.model, **arm))
    stores.events.append(events)
