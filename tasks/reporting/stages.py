"""The stages of the examination as the page shows them: figures, plots, and cases to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from registry.records import Case, Interval, Metric, StageResult
from tasks.reporting.exam_charts import Measured, forest_plot, interval_plot, latency_plot
from tasks.reporting.tables import MARKS, QUESTIONS, key_figure, metric_text
from tasks.reporting.words import (
    Piece,
    compared,
    decimal,
    duration,
    more_cases,
    percent,
    plain,
    shortened,
    signed_percent,
    whole,
)

LONGEST = 1_200
"""Characters of a text in a case that the page shows at most."""


class ShownCase(NamedTuple):
    """A case as the page shows it; the texts are cut and compared."""

    case_id: str
    domain: str
    note: str
    scores: str
    context: str
    expected: list[Piece]
    baseline: list[Piece]
    candidate: list[Piece]


class ShownStage(NamedTuple):
    """A validation stage as the page shows it."""

    name: str
    question: str
    status: str
    mark: str
    critical: bool
    figure: str
    reasons: list[str]
    more: str
    plots: list[tuple[str, str]]
    """(caption, picture)."""
    facts: list[tuple[str, str]]
    columns: list[str]
    rows: list[list[str]]
    cases: list[ShownCase]


def shown_stage(stage: StageResult) -> ShownStage:
    """Prepare a stage."""
    columns = list(dict.fromkeys(name for row in stage.slices for name in row))
    facts = [(plain(name), metric_text(name, value)) for name, value in stage.metrics.items()]
    facts += [(plain(name), whole(count)) for name, count in stage.counts.items()]
    facts += [(f"threshold: {plain(name)}", metric_text(name, value)) for name, value in stage.thresholds.items()]
    return ShownStage(
        name=stage.name,
        question=QUESTIONS[stage.name],
        status=stage.status,
        mark=MARKS[stage.status],
        critical=stage.critical,
        figure=key_figure(stage),
        reasons=stage.reasons,
        more=more_cases(stage.more_cases_needed),
        plots=stage_plots(stage),
        facts=[*facts, ("time", duration(stage.seconds))],
        columns=[plain(name) for name in columns],
        rows=[[_cell(stage.name, name, row.get(name)) for name in columns] for row in stage.slices],
        cases=[shown_case(case) for case in stage.failing],
    )


def _cell(stage: str, name: str, value: Metric) -> str:
    if stage == "diversity" and name in ("low", "high") and isinstance(value, float):
        return signed_percent(value)  # the bounds of the relative change
    return metric_text(name, value)


def shown_case(case: Case) -> ShownCase:
    """Prepare a case: what the candidate said otherwise than expected, and what it left out, can be marked."""
    context, expected, baseline, candidate = (
        shortened(part, LONGEST) for part in (case.context, case.expected, case.baseline, case.candidate)
    )
    known = bool(expected)
    scores = ""
    if case.baseline_score is not None and case.candidate_score is not None:
        scores = f"{decimal(case.baseline_score, 2)} → {decimal(case.candidate_score, 2)}"
    return ShownCase(
        case.case_id,
        case.domain,
        case.note,
        scores,
        context,
        compared(expected, candidate) if known else [],
        compared(baseline, expected) if known and baseline else [Piece(baseline, "same")] if baseline else [],
        compared(candidate, expected) if known else [Piece(candidate, "same")] if candidate else [],
    )


# --- plots of the stages -------------------------------------------------------------------------------------------


def stage_plots(stage: StageResult) -> list[tuple[str, str]]:
    """Return the plots of a stage with their captions; none where there is nothing to plot."""
    found = _measured(stage)
    plots = [(f"{m.name}, with its interval", interval_plot(m)) for m in found]
    if stage.name == "diversity" and found:
        plots = [("score of each domain against the baseline, with intervals", forest_plot(found))]
    series = stage.series
    if stage.name == "latency" and series.get("baseline_ms") and series.get("candidate_ms"):
        allowed = _allowed_ms(stage, "p95")
        plots.insert(
            0,
            (
                "share of requests answered within a time",
                latency_plot(series["baseline_ms"], series["candidate_ms"], allowed),
            ),
        )
    return plots


def _measured(stage: StageResult) -> list[Measured]:
    found = stage.intervals
    if stage.name == "regression" and "pass_rate" in found:
        return [_of("cases still right", found["pass_rate"], stage.thresholds["pass_rate"], "above", percent)]
    if stage.name == "performance" and "relative_change" in found:
        threshold = stage.thresholds["relative_change"]
        return [_of("score against the baseline", found["relative_change"], threshold, "above", signed_percent, 0.0)]
    if stage.name == "diversity":
        threshold = stage.thresholds.get("domain_relative_change", -0.25)
        return [
            Measured(str(row["domain"]), *edges, threshold, "above", signed_percent, 0.0)
            for row in stage.slices
            if (edges := _edges(row)) is not None
        ]
    if stage.name == "latency" and "candidate_p95_ms" in found and (allowed := _allowed_ms(stage, "p95")) is not None:
        before = found["baseline_p95_ms"].estimate
        return [_of("95th percentile", found["candidate_p95_ms"], allowed, "below", lambda v: f"{v:.2f} ms", before)]
    return []


def _edges(row: dict[str, Metric]) -> tuple[float, float, float] | None:
    edges = tuple(row.get(name) for name in ("relative_change", "low", "high"))
    if any(not isinstance(edge, int | float) for edge in edges):
        return None
    estimate, low, high = (float(edge) for edge in edges if edge is not None)
    return estimate, low, high


def _of(
    name: str, found: Interval, threshold: float, good: str, show: Callable[[float], str], baseline: float | None = None
) -> Measured:
    return Measured(name, found.estimate, found.low, found.high, threshold, good, show, baseline)


def _allowed_ms(stage: StageResult, quantile: str) -> float | None:
    """Return what a quantile may be: the baseline's with the relative rise, or with the one that is always allowed."""
    before = stage.intervals.get(f"baseline_{quantile}_ms")
    if before is None or "increase" not in stage.thresholds:
        return None
    base = before.estimate
    return max(base * (1 + stage.thresholds["increase"]), base + stage.thresholds.get("floor_ms", 0.0))
