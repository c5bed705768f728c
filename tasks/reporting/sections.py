"""What the page's sections hold: `ReportData` turned into texts and pictures, so that the template only places them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from registry.records import GateResult
from tasks.reporting.charts import bar_pairs, histogram, loss_chart, strata_chart
from tasks.reporting.data import BeforeAfter, ReportData
from tasks.reporting.exam_charts import readiness_chart
from tasks.reporting.funnel import funnel_picture
from tasks.reporting.tables import MARKS, funnel
from tasks.reporting.words import DASH, decimal, duration, plain, shortened, signed_percent, size, whole


def data_section(data: ReportData) -> dict[str, Any]:
    """Prepare the funnel, the reasons and the distributions."""
    splits: dict[str, int] = {name: count for name, count in data.dataset.splits.items()} if data.dataset else {}
    steps = funnel(data.events, data.examples, data.dataset)
    spread = data.distributions
    pictures: list[tuple[str, str]] = []
    if spread is not None:
        if spread.score:
            pictures.append(("composite score", histogram(_by_range(spread.score), "composite score")))
        if spread.domain:
            pictures.append(("domain", bar_pairs(spread.domain, "domain")))
        if spread.difficulty:
            pictures.append(("difficulty", bar_pairs(_by_difficulty(spread.difficulty), "difficulty")))
    return {
        "funnel": funnel_picture(steps, splits) if steps else "",
        "steps": steps,
        "event_reasons": _explained(data.events.by_reason if data.events else {}, data.meanings),
        "example_reasons": _ordered(data.examples.by_reason if data.examples else {}),
        "redacted": _ordered(data.dataset.redacted if data.dataset else {}),
        "suspected": [
            (
                shortened(each.words, 120),
                shortened(each.answer, 160),
                decimal(each.suspicion, 2),
                each.examples,
                each.brought,
            )
            for each in data.suspected
        ],
        "evidence": data.evidence,
        "pictures": pictures,
        "strata": strata_chart(data.dataset.strata) if data.dataset and data.dataset.strata else "",
    }


def _by_difficulty(counts: BeforeAfter) -> BeforeAfter:
    """Put easy before medium before hard, whatever the order they came in."""
    order = {"easy": 0, "medium": 1, "hard": 2}
    return _sorted(counts, lambda label: order.get(label, 3))


def _by_range(counts: BeforeAfter) -> BeforeAfter:
    """Put ranges such as `0.7–0.8` in the order of their numbers, and classes without a number last."""

    def start(label: str) -> float:
        number = re.match(r"\d+(?:\.\d+)?", label)
        return float(number.group()) if number else math.inf

    return _sorted(counts, start)


def _sorted(counts: BeforeAfter, place: Callable[[str], float]) -> BeforeAfter:
    rows = sorted(zip(counts.labels, counts.before, counts.after, strict=True), key=lambda row: place(row[0]))
    return BeforeAfter(labels=[r[0] for r in rows], before=[r[1] for r in rows], after=[r[2] for r in rows])


def _explained(counts: dict[str, int], meanings: dict[str, str]) -> list[tuple[str, int]]:
    """Return the counts by reason, codes with their meaning."""
    return [(f"{name} {meanings[name]}" if name in meanings else name, count) for name, count in _ordered(counts)]


def _ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def training_section(data: ReportData) -> dict[str, Any] | None:
    """Prepare the loss curves and the facts of the training; None where nothing was trained."""
    result = data.training
    if result is None:
        return None
    gain = result.score / result.base_score - 1 if result.base_score > 0 else None
    facts = [
        ("backend", result.backend),
        ("strategy", plain(result.strategy)),
        ("frozen base", result.base),
        ("training pairs", whole(result.pairs)),
        ("known turns", whole(result.known_turns)),
        ("epochs", f"{len(result.epochs)}, kept {result.best_epoch}"),
        ("final loss", decimal(result.final_loss)),
        ("time", duration(result.seconds)),
        ("peak memory", size(result.peak_memory_bytes)),
        ("adapter", f"sha256 {result.artifact_digest[:16]}"),
        ("MLflow run", data.mlflow_run_id or DASH),
    ]
    return {
        "curve": loss_chart(result.epochs, result.best_epoch) if result.epochs else "",
        "base_score": decimal(result.base_score),
        "score": decimal(result.score),
        "gain": signed_percent(gain),
        "facts": facts,
        "config": [(plain(name), str(value)) for name, value in sorted(result.config.items())],
    }


def readiness_section(data: ReportData) -> str:
    """Return the readiness chart, or nothing where readiness was not measured."""
    return readiness_chart(data.readiness, data.readiness_required) if data.readiness else ""


def accuracy_meaning(data: ReportData) -> str:
    """Return what the accuracy of readiness is in this run: the pass rate, or where cases are too few the kept rate."""
    stages = data.validation.stages if data.validation else []
    rates = [stage.metrics.get("pass_rate") for stage in stages if stage.name == "regression"]
    rate = float(rates[0]) if rates and rates[0] is not None else None
    if data.readiness is None or (rate is not None and abs(rate - data.readiness.accuracy) < 1e-5):
        return "the regression pass rate"
    return "the share of all cases that are not worse than the baseline's, because regression has too few cases"


def gate_rows(gates: Sequence[GateResult]) -> list[tuple[str, str, str, str]]:
    """Return the gates as (mark, status, name, reason)."""
    return [(MARKS[gate.status], gate.status, plain(gate.name), gate.reason) for gate in gates]


class Station(NamedTuple):
    """One box of the lineage."""

    kind: str
    title: str
    lines: list[str]
    below: str = ""


def lineage(data: ReportData) -> list[Station]:
    """Return the way from events to what the version replaced, as far as the run came."""
    found: list[Station] = []
    if data.dataset:
        d = data.dataset
        files = ", ".join(data.inputs[:3]) + (f" and {len(data.inputs) - 3} more" if len(data.inputs) > 3 else "")
        found.append(
            Station("events", f"{whole(d.source_events)} events used", [f"sha256 {d.source_digest[:12]}"], files)
        )
        lines = [f"{whole(sum(d.splits.values()))} examples", f"sha256 {d.digest[:12]}"]
        found.append(
            Station("dataset", f"{d.name} {d.version}", lines, f"parent: {d.parent}" if d.parent else "no parent")
        )
    if data.training:
        lines = [
            f"{data.training.backend}, {plain(data.training.strategy)}",
            f"sha256 {data.training.artifact_digest[:12]}",
        ]
        found.append(
            Station(
                "training run", shortened(data.mlflow_run_id or data.run_id, 14), lines, f"base {data.training.base}"
            )
        )
    if data.version:
        v = data.version
        lines = [f"stage {v.stage}", *[f"alias @{alias}" for alias in v.aliases]]
        found.append(Station("model version", f"{v.name}/{v.version}", lines))
    if data.champion:
        c = data.champion
        kind = {"promoted": "replaced", "pending_approval": "would replace"}.get(data.verdict, "goes on serving")
        found.append(Station(kind, f"{c.name}/{c.version}", [f"dataset {c.dataset}" if c.dataset else "champion"]))
    elif data.version:
        found.append(Station("serves now", "nothing yet", ["the first version of this model"]))
    return found


def change_rows(data: ReportData) -> dict[str, Any] | None:
    """Prepare what is different from the champion; None where there is none."""
    changes = data.changes
    if changes is None:
        return None
    scores = []
    for delta in changes.scores:
        known = delta.champion is not None and delta.candidate is not None
        change = (delta.candidate or 0.0) - (delta.champion or 0.0) if known else None
        text = DASH if change is None else f"{change:+.3f}".replace("-", "−")
        scores.append((plain(delta.name), decimal(delta.champion), decimal(delta.candidate), text))
    return {
        "champion": changes.champion,
        "dataset": f"{changes.dataset_before or DASH} → {changes.dataset_after or DASH}",
        "added": whole(changes.examples_added),
        "removed": whole(changes.examples_removed),
        "scores": scores,
        "policy": [(c.name, str(c.before), str(c.after)) for c in changes.policy],
    }


def time_rows(seconds: dict[str, float]) -> list[tuple[str, str, float]]:
    """Return each stage's time as (name, text, share of the longest)."""
    longest = max(seconds.values(), default=0.0) or 1.0
    return [(plain(name), duration(value), value / longest) for name, value in seconds.items()]
