"""Versions registered in a sandbox, with signatures that must not count, and what the gate says to each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

import tasks.training
from flows.stores import Stores
from flows.verification_trials import decided
from registry import __version__, database
from registry.artifacts import local_model
from registry.models import Candidate as NewVersion
from registry.records import (
    DatasetManifest,
    Evidence,
    ModelVersion,
    Readiness,
    StageResult,
    ValidationReport,
    canonical_json,
)
from registry.trust.bundles import Bundles
from registry.trust.signing import Keyring
from tasks.promotion.policy import PromotionPolicy
from tasks.validation.verdict import STAGES
from tasks.verification.outcomes import GOOD, Candidate
from tasks.verification.policy import SIGNATURES, Strength

MODEL = "verified"
CODE = Path(tasks.training.__file__).with_name("pyfunc.py")


def signature_trials(stores: Stores, policy: PromotionPolicy, strengths: tuple[Strength, ...]) -> Iterator[Candidate]:
    """Yield a version that is signed, and those that are not, or wrongly; all else about them is in order.

    Args:
        stores: Of a sandbox.
        policy: What the gates ask for.
        strengths: Of the faults that are tried.
    """
    signed = register(stores, "signed")
    stores.bundles.attest(signed, {}, by="verifier")
    outcome = decided(evidence_of(stores, signed), policy)
    yield Candidate(
        fault=GOOD, strength=None, what="signed", seed=0, outcome=outcome.outcome, caught_by=outcome.refused_by
    )
    for (fault, strength), what in SIGNATURES.items():
        if strength in strengths:
            version = _MADE[fault, strength](stores, f"{fault} {strength}".replace(" ", "-"))
            done = decided(evidence_of(stores, version), policy)
            yield Candidate(
                fault=fault, strength=strength, what=what, seed=0, outcome=done.outcome, caught_by=done.refused_by
            )


def register(stores: Stores, work: str, model: str = MODEL, artifact: Path | None = None) -> ModelVersion:
    """Register a version, with a small artifact of its own where none is given."""
    run = stores.models.tracking.start_run(model, f"run-{work}", work)
    folder = artifact or stores.home.scratch / f"artifact-{work}"
    if artifact is None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"backend": "none", "work": work}))
    manifest = DatasetManifest(
        name=model, version="1.0.0", digest="d" * 64, splits={"train": 1, "validation": 1, "test": 1},
        source_digest="e" * 64, code_version=__version__,
    )  # fmt: skip
    version = stores.models.log_candidate(NewVersion(model, run, folder, CODE, [], work, manifest, "full_retrain"))
    stores.models.tracking.set_state(run, "COMPLETED")
    return version


def evidence_of(stores: Stores, version: ModelVersion) -> Evidence:
    """Return evidence in which everything is in order, but for the signature, which is looked at."""
    stages = [StageResult.model_validate({"name": name, "status": "PASS", "critical": True}) for name in STAGES]
    rate = {"metrics": {"pass_rate": 1.0}, "counts": {"cases": 500}}
    stages[0] = stages[0].model_copy(update=rate)
    return Evidence(
        model=version.name, version=version.version, stage="development", training_state="COMPLETED",
        artifact_present=True, artifact_loadable=True, artifact_digest=version.artifact_digest or "",
        signed=stores.bundles.attested(version), metrics_recorded=True, strategy="full_retrain", report_digest="report",
        report=ValidationReport(recommendation="DEPLOY", baseline=f"{version.name}/0", stages=stages),
        readiness=Readiness(score=0.95, accuracy=0.95, confidence=0.95, consistency=0.95, robustness=0.95),
        champion="0", trained_by="who trained it",
    )  # fmt: skip


def _without_signature(stores: Stores, work: str) -> ModelVersion:
    """Append a bundle whose envelope nobody signed."""
    version = register(stores, work, work)
    elsewhere = register(stores, f"{work}-elsewhere", "elsewhere")
    bundle = stores.bundles.attest(elsewhere, {}, by="verifier")
    envelope = canonical_json({**json.loads(bundle.envelope), "signatures": []})
    with database.writing(database.connect(stores.settings.records_url)) as connection:
        last = connection.execute(sa.select(sa.func.max(database.bundles.c.sequence))).scalar() or 0
        connection.execute(
            sa.insert(database.bundles).values(
                sequence=last + 1, key=work, time=bundle.time, model=version.name, version=version.version,
                action=bundle.action, digest=bundle.digest, envelope=envelope,
            )
        )  # fmt: skip
    return version


def _one_byte(stores: Stores, work: str) -> ModelVersion:
    version = register(stores, work, work)
    stores.bundles.attest(version, {}, by="verifier")
    file = next(iter(sorted(_files(stores, version))))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    return version


def _one_file(stores: Stores, work: str) -> ModelVersion:
    version = register(stores, work, work)
    stores.bundles.attest(version, {}, by="verifier")
    next(iter(_files(stores, version))).with_name("more.json").write_text("{}")
    return version


def _stranger(stores: Stores, work: str) -> ModelVersion:
    """Sign with a key that only its holder trusts."""
    version = register(stores, work, work)
    theirs = Bundles(stores.settings.records_url, Keyring(stores.home.scratch / "stranger"), lambda: stores.models)
    theirs.attest(version, {}, by="a stranger")
    return version


def _files(stores: Stores, version: ModelVersion) -> list[Path]:
    folder = local_model(stores.models.connection, version.name, version.version, version.model_id)
    return [path for path in folder.rglob("config.json") if path.is_file()]


_MADE: dict[tuple[str, Strength], Callable[[Stores, str], ModelVersion]] = {
    ("unsigned", "weak"): lambda stores, work: register(stores, work),
    ("unsigned", "medium"): _without_signature,
    ("unsigned", "strong"): lambda stores, work: register(stores, work, work),
    ("wrongly signed", "weak"): _one_file,
    ("wrongly signed", "medium"): _one_byte,
    ("wrongly signed", "strong"): _stranger,
}
