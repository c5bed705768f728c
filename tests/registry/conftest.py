"""A real MLflow on SQLite for each test, started from a database that is migrated once."""

import contextlib
import json
import shutil
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from registry.connection import connect
from registry.history import History
from registry.home import Home
from registry.models import Candidate, ModelRegistry
from registry.records import (
    DatasetManifest,
    Decision,
    Evidence,
    GateResult,
    ModelVersion,
    Readiness,
    StageResult,
    ValidationReport,
)
from registry.serving import Serving
from registry.transitions import Actor, Transitions
from registry.trust.bundles import Bundles
from registry.trust.signing import Keyring

TOY = Path(__file__).parent / "toy_model.py"
ANN = Actor("ann")


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A migrated, empty MLflow database: the installed one, or one made here (which takes seconds)."""
    installed = Path(sys.prefix) / "share" / "ratchet" / f"mlflow-{version('mlflow')}.db"
    if installed.exists():
        return installed
    home = Home(tmp_path_factory.mktemp("template") / "home").create()
    connect(home, experiment="elsewhere")
    copy = home.root / "copy.db"
    with (
        contextlib.closing(sqlite3.connect(home.mlflow_database)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("DELETE FROM experiments")
        target.commit()
        target.execute("PRAGMA journal_mode=DELETE")
    return copy


class Bench(NamedTuple):
    """A home with everything in it opened."""

    home: Home
    registry: ModelRegistry
    history: History
    transitions: Transitions
    bundles: Bundles

    @property
    def serving(self) -> Serving:
        return Serving(self.registry, self.bundles)

    def candidate(
        self, work: str = "work-1", answer: str = "hello", model: str = "support", attested: bool = True, **more
    ) -> ModelVersion:
        """Train a toy and register it."""
        tracking = self.registry.tracking
        run = tracking.start_run(model, f"run-{work}", work, params={"train": {"rank": 16}})
        folder = self.home.scratch / f"toy-{work}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "answer.json").write_text(json.dumps({"answer": answer}))
        tracking.log_dataset(run, manifest(), "datasets/support/1.0.0")
        version = self.registry.log_candidate(
            Candidate(model, run, folder, TOY, ["ratchet-learn"], work, manifest(), "full_retrain", **more)
        )
        shutil.rmtree(folder)
        tracking.set_state(run, "COMPLETED")
        if attested:
            self.bundles.attest(version, {"seed": 7}, by="ann")
        self.transitions.registered(version, ANN)
        return version

    def bare(self, model: str, run: str) -> ModelVersion:
        """Register a version without files: enough to be moved, and made in no time."""
        client = self.registry.connection.client
        if model not in self.registry.names():
            client.create_registered_model(model)
        made = client.create_model_version(model, source="file:///nowhere", run_id=run, tags={"stage": "development"})
        self.transitions.registered(self.registry.get(model, str(made.version)), ANN)
        return self.registry.get(model, str(made.version))

    def champion(self, work: str, **more) -> ModelVersion:
        """Train a toy and bring it all the way to production."""
        version = self.candidate(work, **more)
        serving = self.registry.champion(version.name)
        made = decision(version.version, "promoted", serving.version if serving else None, model=version.name)
        return self.transitions.carry_out(made, evidence(version), ANN)


def open_bench(path: Path, template: Path | None = None, uri: str | None = None, reached=lambda step: None) -> Bench:
    home = Home(path).create()
    registry = ModelRegistry(connect(home, uri, template=template))
    history = History(home.database_url)
    bundles = Bundles(home.database_url, Keyring(home.keys), lambda: registry)
    return Bench(home, registry, history, Transitions(registry, history, bundles, reached=reached), bundles)


@pytest.fixture
def bench(tmp_path, template):
    made = open_bench(tmp_path / "home", template)
    yield made
    made.history.close()


def manifest(version: str = "1.0.0", name: str = "support", digest: str = "d" * 64) -> DatasetManifest:
    return DatasetManifest(
        name=name,
        version=version,
        digest=digest,
        splits={"train": 8, "validation": 1, "test": 1},
        source_digest="e" * 64,
        code_version="0.1.0",
    )


def decision(
    version: str, verdict: str, replaced: str | None = None, target: str | None = None, model: str = "support", **more
) -> Decision:
    targets = {
        "promoted": "production",
        "staged": "staging",
        "pending_approval": "staging",
        "rejected": "archived",
        "quarantined": "quarantine",
    }
    gates = [GateResult(name="approval", status="PASS" if verdict == "promoted" else "PENDING", reason="toy")]
    return Decision(
        **{
            "model": model,
            "version": version,
            "verdict": verdict,
            "target": target or targets[verdict],
            "gates": gates,
            "evidence_digest": f"evidence-{version}",
            "replaced": replaced,
            "reason": f"the gates said {verdict}",
        }
        | more
    )


def evidence(version: ModelVersion) -> Evidence:
    return Evidence(
        model=version.name,
        version=version.version,
        stage=version.stage,
        training_state="COMPLETED",
        artifact_present=True,
        artifact_loadable=True,
        artifact_digest=version.artifact_digest or "",
        signed=True,
        metrics_recorded=True,
        strategy="full_retrain",
        report_digest=None,
        report=report(),
        readiness=Readiness(score=0.9, accuracy=0.9, confidence=0.9, consistency=0.9, robustness=0.9),
    )


def report(recommendation: str = "DEPLOY") -> ValidationReport:
    stages = [StageResult(name="regression", status="PASS", critical=True)]
    return ValidationReport(recommendation=recommendation, baseline="frozen base", stages=stages)


@pytest.fixture(scope="session")
def toys():
    """What tests make things with; test files cannot import this one."""
    return SimpleNamespace(
        actor=ANN,
        code=TOY,
        open=open_bench,
        manifest=manifest,
        decision=decision,
        evidence=evidence,
        report=report,
    )
