"""The bake period: a new champion beside the one before, until it is trusted or has to go."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.records import Metric, Record
from tasks.experiments.compare import described
from tasks.experiments.guards import Guard, cost_per_resolved, error_rate, latency_p95, quality
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.units import Units, by_unit

GUARDS = 4


class BakeResult(Record):
    """Whether a new champion breaks a guard."""

    broken: bool
    guard: str | None = None
    """The first that broke."""
    reason: str
    guards: list[Guard]
    numbers: dict[str, Metric]


def bake(now_rows: pa.Table, before_rows: pa.Table, policy: ExperimentPolicy, now: datetime) -> BakeResult:
    """Compare a champion since its promotion with the champion before.

    The same bets as in an experiment, on pairs of a unit of now and one of before, the latest of those first; so it may
    be looked at all the time, and a champion that is within its tolerances is called broken with probability
    `bake_alpha` at most. What it cannot know is whether the world changed instead of the model: there is no control at
    the same time. In doubt the champion before is restored.

    Args:
        now_rows: Requests (`EventLog.traces`) that the champion served since its promotion.
        before_rows: Requests that the champion before served, in a window that stays the same from look to look.
        policy: Tolerances, prices and error probability.
        now: What is closed depends on it.
    """
    prices = (policy.price_in, policy.price_out)
    before, after = (
        by_unit(_named(rows), ["all"], now, policy.outcome_hours, prices)[0] for rows in (before_rows, now_rows)
    )
    before = Units._make(column[::-1] for column in before)
    alpha = policy.bake_alpha / GUARDS
    guards = [
        quality(before, after, policy.bake_quality_drop, alpha),
        error_rate(before, after, policy.error_rate_worse, alpha),
        latency_p95(before, after, policy.latency_worse, policy.latency_slack_ms, alpha),
        cost_per_resolved(before, after, policy.cost_worse, alpha),
    ]
    broken = [guard for guard in guards if guard.broken]
    numbers: dict[str, Metric] = {"units_before": len(before.arm), "units_now": len(after.arm)}
    for guard in guards:
        numbers |= {f"{guard.name}_before": guard.control, f"{guard.name}_now": guard.challenger}
        numbers[f"{guard.name}_p"] = guard.p_value
    if broken:
        reason = "; ".join(described(guard) for guard in broken)
        return BakeResult(broken=True, guard=broken[0].name, reason=reason, guards=guards, numbers=numbers)
    pairs = max(guard.pairs for guard in guards)
    return BakeResult(broken=False, reason=f"no guard broke in {pairs:,} units", guards=guards, numbers=numbers)


def _named(rows: pa.Table) -> pa.Table:
    """Put all rows in one arm; a request without a unit is a unit of its own."""
    own = pc.binary_join_element_wise("request", pc.cast(rows["offset"], pa.string()), ":")
    unit = pc.coalesce(pc.cast(rows["unit"], pa.string()), own)
    for name, values in (("unit", unit), ("arm", pa.array(np.full(len(rows), "all"), pa.string()))):
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows
