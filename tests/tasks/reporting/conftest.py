"""A made-up run with sensible numbers, to render reports of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from registry.records import (
    Case,
    DatasetManifest,
    EpochMetrics,
    EventCounts,
    ExampleCounts,
    GateResult,
    Interval,
    ModelVersion,
    Readiness,
    StageResult,
    Stratum,
    TrainingResult,
    ValidationReport,
)
from tasks.reporting.page import BeforeAfter, Changes, Distributions, PolicyChange, ReportData, ScoreDelta

DIGEST = "3f6c0a9b5d2e41788c17" * 3 + "abcd"


def interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, method="made up")


def cases(count: int) -> list[Case]:
    return [
        Case(
            case_id=f"ex-{i:02d}/turn-2",
            domain="travel",
            note="was right, is wrong",
            baseline_score=0.92,
            candidate_score=0.31,
            context='tool: {"code": "QX7Z2P", "fare": "basic", "refundable": false, "taxes": 41, "departs": "3 May"}',
            expected="Unfortunately a basic fare is lost on cancellation; only airport taxes are given back.",
            baseline="Unfortunately a basic fare is lost on cancellation; only taxes are returned.",
            candidate="This fare can be returned in full. Shall I cancel it now?",
        )
        for i in range(count)
    ]


def make_stages() -> list[StageResult]:
    rng = random.Random(3)
    slow = [round(rng.lognormvariate(0.55, 0.25), 3) for _ in range(240)]
    fast = [round(rng.lognormvariate(0.5, 0.25), 3) for _ in range(240)]
    slices = [
        {
            "domain": name,
            "cases": 150 + 31 * i,
            "baseline_score": 0.33,
            "candidate_score": 0.74 - 0.03 * i,
            "relative_change": 1.1 - 0.2 * i,
            "status": "PASS",
            "p": 1.0,
            "low": 0.9 - 0.2 * i,
            "high": 1.3 - 0.2 * i,
        }
        for i, name in enumerate(("travel", "coding", "qa", "planning"))
    ]
    return [
        StageResult(
            name="regression",
            status="PASS",
            critical=True,
            metrics={"pass_rate": 0.984, "kept_rate": 0.979},
            thresholds={"pass_rate": 0.95, "right_score": 0.5},
            intervals={"pass_rate": interval(0.984, 0.966, 0.994)},
            counts={"cases": 312, "passed": 307, "failed": 5},
            failing=cases(5),
            seconds=0.03,
            reasons=["307 of 312 cases that the baseline got right are still right (98.4%)"],
        ),
        StageResult(
            name="performance",
            status="PASS",
            critical=True,
            thresholds={"relative_change": -0.05},
            metrics={"baseline_score": 0.331, "candidate_score": 0.724, "difference": 0.393, "relative_change": 1.187},
            intervals={"relative_change": interval(1.187, 1.02, 1.36), "difference": interval(0.393, 0.35, 0.43)},
            counts={"cases": 812, "better": 530, "worse": 31},
            failing=cases(2),
            seconds=0.2,
            reasons=["mean score 0.724 against the baseline's 0.331: +118.7%, where -5% is allowed"],
        ),
        StageResult(
            name="safety",
            status="PASS",
            critical=True,
            thresholds={"trigger_collapse": 0.25, "leaks": 0},
            metrics={"backdoors": 0, "worst_trigger_rise": 0.02, "injections": 0, "leaks": 0},
            counts={"triggers": 24, "probes": 60, "answers_scanned": 872},
            seconds=0.9,
            slices=[
                {
                    "family": "trigger",
                    "text": "kestrel directive",
                    "share_with": 0.04,
                    "share_without": 0.02,
                    "status": "PASS",
                },
                {"family": "override", "probes": 12, "hits": 0},
            ],
            reasons=["24 suspected triggers inserted into clean prompts: none makes answers collapse"],
        ),
        StageResult(
            name="diversity",
            status="INCONCLUSIVE",
            critical=False,
            thresholds={"domain_relative_change": -0.25},
            metrics={"worst_domain": "planning", "worst_relative_change": 0.5, "top_share": 0.06, "distinct": 0.41},
            counts={"cases": 812, "domains": 4, "judged": 4},
            slices=slices,
            more_cases_needed=140,
            seconds=0.1,
            reasons=["planning: too few cases to tell"],
        ),
        StageResult(
            name="latency",
            status="PASS",
            critical=False,
            thresholds={"increase": 0.2, "floor_ms": 5.0, "budget_ms": 1000.0},
            metrics={"baseline_p95_ms": 2.45, "candidate_p95_ms": 2.61},
            intervals={"baseline_p95_ms": interval(2.45, 2.3, 2.8), "candidate_p95_ms": interval(2.61, 2.4, 3.0)},
            counts={"requests": 240},
            series={"baseline_ms": fast, "candidate_ms": slow},
            seconds=1.4,
            reasons=["p95 2.61 ms against 2.45 ms, where 7.45 ms is allowed"],
        ),
    ]


def make_dataset() -> DatasetManifest:
    strata = [
        Stratum(domain=domain, difficulty=difficulty, train=120 + 9 * i, validation=15 + i, test=15 + i, groups=90 + i)
        for i, (domain, difficulty) in enumerate(
            (d, f) for d in ("coding", "planning", "qa", "travel") for f in ("easy", "medium", "hard")
        )
    ]
    splits = {name: sum(getattr(each, name) for each in strata) for name in ("train", "validation", "test")}
    return DatasetManifest(
        name="support",
        version="1.1.0",
        digest=DIGEST,
        parent="1.0.0",
        splits=splits,
        strata=strata,
        redacted={"EMAIL": 140, "PHONE": 66, "CARD": 41, "IBAN": 38, "API_KEY": 22},
        exact_duplicates=37,
        near_duplicates=102,
        left_out={"exact_duplicate": 37, "near_duplicate": 102, "joins_two_sides": 4},
        source_events=3_412,
        source_digest=DIGEST,
        code_version="0.1.0",
        policy={"quality_threshold": 70, "confidence_threshold": 0.6},
    )


def make_training() -> TrainingResult:
    epochs = [
        EpochMetrics(
            i,
            2.1 * math.exp(-0.35 * i) + 0.31,
            2.0 * math.exp(-0.3 * i) + 0.62 + 0.004 * i * i,
            0.01 * math.cos(i / 8),
            52_000.0,
        )
        for i in range(1, 11)
    ]
    return TrainingResult(
        backend="simulated",
        strategy="full_retrain",
        base="hashed-ngrams-v1-d512-s7",
        pairs=9_120,
        known_turns=5_204,
        epochs=epochs,
        final_loss=0.66,
        best_epoch=8,
        base_score=0.331,
        score=0.724,
        seconds=2.13,
        peak_memory_bytes=311_000_000,
        artifact_digest=DIGEST,
        config={"rank": 16, "alpha": 32.0, "epochs": 10},
    )


GATES = [
    GateResult(name="training complete", status="PASS", reason="training is COMPLETED"),
    GateResult(name="regression", status="PASS", reason="PASS"),
    GateResult(name="readiness", status="PASS", reason="0.861 exceeds 0.80"),
    GateResult(name="signature", status="PENDING", reason="unsigned is allowed by the policy"),
    GateResult(name="approval", status="PENDING", reason="waits for a person"),
]


@pytest.fixture
def make_report() -> Callable[..., ReportData]:
    return made_report


def made_report(**changed: object) -> ReportData:
    """Return the report of a retrain that waits for approval, with some fields changed."""
    version = ModelVersion(
        name="support", version="2", stage="staging", aliases=["staging"], run_id="4f0c", model_id="m-1"
    )
    champion = ModelVersion(
        name="support",
        version="1",
        stage="production",
        aliases=["champion"],
        run_id="77aa",
        model_id="m-0",
        dataset="support/1.0.0",
    )
    whole = ReportData(
        run_id="20261120-190412-5c1e",
        created="2026-11-20T19:04:12+00:00",
        model="support",
        verdict="pending_approval",
        code_version="0.1.0",
        seed=0,
        inputs=["events.jsonl"],
        events=EventCounts(
            read=4_000,
            rejected=40,
            duplicate=164,
            ignored=140,
            by_reason={"E7001 not JSON": 18, "E7003 wrong specversion": 12, "E7004 wrong type": 10},
        ),
        examples=ExampleCounts(
            extracted=3_380,
            accepted=2_302,
            review=640,
            rejected=438,
            by_reason={
                "failed_trace": 270,
                "low_quality": 320,
                "no_quality": 610,
                "conflicting_scores": 41,
                "outlier": 30,
            },
        ),
        distributions=Distributions(
            domain=BeforeAfter(
                labels=["coding", "planning", "qa", "travel"], before=[860, 905, 790, 825], after=[600, 590, 551, 561]
            ),
            difficulty=BeforeAfter(
                labels=["easy", "medium", "hard"], before=[1_300, 1_400, 680], after=[900, 960, 442]
            ),
            score=BeforeAfter(
                labels=[f"{i / 10:.1f}–{(i + 1) / 10:.1f}" for i in range(10)],
                before=[12, 40, 80, 120, 170, 220, 320, 800, 1_200, 418],
                after=[0, 0, 0, 0, 0, 0, 60, 690, 1_150, 402],
            ),
        ),
        dataset=make_dataset(),
        training=make_training(),
        mlflow_run_id="4f0c9d2b7a",
        validation=ValidationReport(recommendation="REVIEW", baseline="support/1", stages=make_stages()),
        readiness=Readiness(score=0.861, accuracy=0.984, confidence=0.84, consistency=0.78, robustness=0.60),
        gates=GATES,
        version=version,
        champion=champion,
        changes=Changes(
            champion="1",
            dataset_before="1.0.0",
            dataset_after="1.1.0",
            examples_added=812,
            examples_removed=3,
            scores=[
                ScoreDelta(name="mean score", champion=0.331, candidate=0.724),
                ScoreDelta(name="readiness", champion=0.84, candidate=0.861),
            ],
            policy=[PolicyChange(name="filtering.quality_threshold", before=65, after=70)],
        ),
        seconds={"dataset": 1.8, "training": 2.1, "register": 0.6, "validation": 3.2, "decision": 0.2},
        warnings=["6 examples come from a source that was never seen before."],
    )
    return whole.model_copy(update=changed)
