"""The verdict over an experiment: a pure function of what is known and the policy.

Harm stops at once. Everything else waits for the minimum duration. A challenger wins when the bound of its lift, which
may be looked at any time, is above 0 and the estimate reaches the margin; or, by policy, when it is no worse and
cheaper or faster. It loses when the upper bound says that the margin is out of reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from registry.records import Metric
from tasks.experiments.compare import compare
from tasks.experiments.judgement import ArmNumbers, Comparison, ExperimentEvidence, Judgement, Outcome
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.srm import SplitCheck, check_split
from tasks.experiments.thompson import thompson_weights
from tasks.experiments.units import Floats

MOVED = 0.05
"""A change of a weight from which it is worth moving units to another arm."""


def judge(evidence: ExperimentEvidence, policy: ExperimentPolicy) -> Judgement:
    """Judge an experiment on everything that is known of it now."""
    arms = _arms(evidence)
    split = _split(evidence, policy)
    control = evidence.units.of(0)
    challengers = range(1, len(evidence.arms))
    comparisons = [
        compare(control, evidence.units.of(arm), evidence.arms[arm], evidence.versions[arm], policy, len(challengers))
        for arm in challengers
    ]
    comparisons.sort(key=lambda found: -(found.lift if found.lift is not None else -np.inf))
    missing = _missing(evidence, arms, policy)
    verdict, reason, winner = _verdict(evidence, arms, split, comparisons, missing, policy)
    held = verdict != "continue" or not split.sound or any(found.suspicious for found in comparisons)
    return Judgement(
        verdict=verdict,
        reason=reason,
        winner=winner,
        missing=missing,
        arms=arms,
        split=split,
        comparisons=comparisons,
        numbers=_numbers(evidence, comparisons[0]),
        next_share=None if held else _next_share(evidence, policy),
        weights=_weights(evidence, comparisons, policy) if verdict == "continue" else None,
    )


def _verdict(
    evidence: ExperimentEvidence,
    arms: list[ArmNumbers],
    split: SplitCheck,
    comparisons: list[Comparison],
    missing: list[str],
    policy: ExperimentPolicy,
) -> tuple[Outcome, str, str | None]:
    over = _over(evidence, arms, policy)
    if evidence.mode == "shadow":
        return _shadow(evidence, comparisons, over)
    if all(found.verdict == "harm" for found in comparisons):
        return "harm", comparisons[0].reason, None
    if not split.sound:
        return "stop", f"the assignment is broken, so that nothing can be concluded: {split.reason}", None
    if missing:
        return "continue", f"waits for {', '.join(missing)}", None
    best = next((found for found in comparisons if found.verdict in {"better", "no worse"}), None)
    if best is not None:
        return "won", best.reason, best.version
    if all(found.verdict in {"harm", "too little"} for found in comparisons):
        return "lost", f"no better: {comparisons[0].reason}", None
    if over:
        return "inconclusive", f"no better was shown within {over}: {comparisons[0].reason}", None
    return "continue", comparisons[0].reason, None


def _shadow(
    evidence: ExperimentEvidence, comparisons: list[Comparison], over: str | None
) -> tuple[Outcome, str, str | None]:
    """What was never served is reported: it neither wins nor loses by itself."""
    alike = evidence.agreement
    seen = f"{len(alike):,} answers agree with the served ones by {np.mean(alike):.0%}" if alike else "nothing broke"
    broken = [found.reason for found in comparisons if any(guard.broken for guard in found.guards)]
    if broken:
        return "stop", f"in the shadow: {broken[0]}", None
    if over:
        return "stop", f"watched in the shadow for {over}: {seen}", None
    return "continue", f"in the shadow: {seen}", None


def _missing(evidence: ExperimentEvidence, arms: list[ArmNumbers], policy: ExperimentPolicy) -> list[str]:
    missing = []
    if evidence.hours < policy.min_hours:
        missing.append(f"{policy.min_hours - evidence.hours:.1f} more hours")
    few = min(arm.outcomes for arm in arms)
    if few < policy.min_units:
        missing.append(f"{policy.min_units - few:,} more units with an outcome in each arm")
    return missing


def _over(evidence: ExperimentEvidence, arms: list[ArmNumbers], policy: ExperimentPolicy) -> str | None:
    if min(arm.closed if evidence.mode == "shadow" else arm.outcomes for arm in arms) >= policy.max_units:
        return f"{policy.max_units:,} units an arm"
    return f"{policy.max_hours:,.0f} hours" if evidence.hours >= policy.max_hours else None


def _split(evidence: ExperimentEvidence, policy: ExperimentPolicy) -> SplitCheck:
    units = [int(count) for count in evidence.exposure.arms]
    wanted = [1.0 / len(units)] * len(units)
    if evidence.mode == "shadow" or evidence.weights is not None:
        why = "the champion answers all" if evidence.mode == "shadow" else "the weights changed on the way"
        return SplitCheck(units=units, wanted=wanted, p_value=1.0, sound=True, reason=f"not checked: {why}")
    return check_split(units, wanted, policy.srm_alpha)


def _next_share(evidence: ExperimentEvidence, policy: ExperimentPolicy) -> float | None:
    if evidence.step_hours < policy.ramp_hours or evidence.step_units < policy.ramp_units:
        return None
    most = 1.0 / len(evidence.arms)
    higher = [min(share, most) for share in policy.ramp if min(share, most) > evidence.share + 1e-9]
    return min(higher, default=None)


def _weights(
    evidence: ExperimentEvidence, comparisons: Sequence[Comparison], policy: ExperimentPolicy
) -> list[float] | None:
    """Return the arms' new weights, where Thompson sampling is on and they differ enough from those they have."""
    if not policy.thompson or len(evidence.arms) < 3 or evidence.mode == "shadow":
        return None
    outcomes = [_known(evidence.units.of(arm).quality) for arm in range(len(evidence.arms))]
    if min(map(len, outcomes)) < 1:
        return None
    weights = thompson_weights(outcomes, policy.thompson_floor, policy.seed)
    harmful = {found.arm for found in comparisons if found.verdict == "harm"}
    weights = [0.0 if name in harmful else weight for name, weight in zip(evidence.arms, weights, strict=True)]
    weights = [weight / sum(weights) for weight in weights]
    now = evidence.weights or [1.0 / len(weights)] * len(weights)
    moved = max(abs(new - old) for new, old in zip(weights, now, strict=True))
    return weights if moved >= MOVED else None


def _arms(evidence: ExperimentEvidence) -> list[ArmNumbers]:
    numbers = []
    for number, (name, version) in enumerate(zip(evidence.arms, evidence.versions, strict=True)):
        units = evidence.units.of(number)
        latency = _known(units.latency)
        numbers.append(
            ArmNumbers(
                name=name,
                version=version,
                units=int(evidence.exposure.arms[number]),
                closed=len(units.arm),
                outcomes=len(_known(units.quality)),
                quality=_mean(units.quality),
                error_rate=_mean(units.failed),
                latency_p95=float(np.quantile(latency, 0.95)) if len(latency) else None,
                cost=_mean(units.cost),
            )
        )
    return numbers


def _numbers(evidence: ExperimentEvidence, leading: Comparison) -> dict[str, Metric]:
    high = leading.high if leading.high is not None and isfinite(leading.high) else None
    return {
        "hours": round(evidence.hours, 3),
        "share": evidence.share,
        "pairs": leading.pairs,
        "lift": leading.lift,
        "low": leading.low,
        "high": high,
        "p_better": leading.p_better,
        "p_worse": leading.p_worse,
        "left_out_in_both_arms": evidence.exposure.both,
        "open_units": evidence.exposure.open,
        "agreement": float(np.mean(evidence.agreement)) if evidence.agreement else None,
    }


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _mean(values: Floats) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None
