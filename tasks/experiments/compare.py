"""One challenger beside the control: quality by bounds that hold at all times, guards, secondary metrics."""

from __future__ import annotations

from math import exp, isfinite, log

import numpy as np

from tasks.experiments.eprocess import SUSPICIOUS, Floats, LiftBounds, LiftEvidence, confidence_sequence, pair
from tasks.experiments.guards import Guard, Tolerances, guards, saving
from tasks.experiments.judgement import Comparison
from tasks.experiments.policy import ExperimentPolicy
from tasks.experiments.secondary import secondary
from tasks.experiments.units import Units


def compare(
    control: Units, challenger: Units, arm: str, version: str, policy: ExperimentPolicy, challengers: int = 1
) -> Comparison:
    """Compare a challenger with the control. The error probabilities are divided by the number of challengers."""
    ways = 1 if policy.accept_no_worse == "never" else 2
    alpha, harm_alpha = policy.alpha / challengers / ways, policy.harm_alpha / challengers
    left, right = (units.quality[~np.isnan(units.quality)] for units in (control, challenger))
    evidence = pair(left, right, policy.expected_lift)
    least = policy.margin if ways == 1 else -policy.no_worse
    bounds = confidence_sequence(evidence, alpha, harm_alpha, marks=(0.0, policy.margin, -policy.no_worse))
    within = Tolerances(policy.error_rate_worse, policy.latency_worse, policy.latency_slack_ms, policy.cost_worse)
    found = guards(control, challenger, within, policy.guard_alpha / challengers)
    lift = _lift(left, right)
    low, high = (bounds.low[-1], bounds.high[-1]) if len(bounds.pairs) else (-1.0, np.inf)
    verdict, reason = _verdict(evidence, lift, (low, high), found, least, (alpha, harm_alpha), policy)
    if verdict == "open" and ways == 2:
        saved = _no_worse(control, challenger, evidence, alpha, policy)
        verdict, reason = ("no worse", saved) if saved else (verdict, reason)
    return Comparison(
        arm=arm,
        version=version,
        pairs=len(evidence.control),
        lift=lift,
        low=float(low),
        high=float(high) if isfinite(high) else None,
        alpha_low=alpha,
        alpha_high=harm_alpha,
        p_better=exp(-evidence.above(0.0)),
        p_worse=exp(-evidence.below(0.0)),
        verdict=verdict,
        reason=reason,
        suspicious=evidence.worse_now() >= SUSPICIOUS or any(guard.suspicious for guard in found),
        guards=found,
        secondary=secondary(control, challenger),
        series=_series(bounds),
    )


def _verdict(
    evidence: LiftEvidence,
    lift: float | None,
    bounds: tuple[float, float],
    found: list[Guard],
    least: float,
    alphas: tuple[float, float],
    policy: ExperimentPolicy,
) -> tuple[str, str]:
    low, high = bounds
    seen = f"{lift:+.1%}" if lift is not None else "unknown"
    broken = [guard for guard in found if guard.broken]
    if broken:
        return "harm", "; ".join(described(guard) for guard in broken)
    if evidence.below(0.0) >= -log(alphas[1]):
        return "harm", f"quality is worse: lift {seen}, at most {high:+.1%}"
    if evidence.above(0.0) >= -log(alphas[0]):
        if lift is not None and lift >= policy.margin:
            return "better", f"quality is better: lift {seen}, at least {low:+.1%}"
        return "open", f"quality is better, but its lift {seen} is below the margin of {policy.margin:.0%}"
    if evidence.below(least) >= -log(alphas[1]):
        return "too little", f"its lift {seen} is at most {high:+.1%}, and {least:+.0%} is wanted"
    return "open", f"lift {seen}, not decided yet"


def _no_worse(
    control: Units, challenger: Units, evidence: LiftEvidence, alpha: float, policy: ExperimentPolicy
) -> str | None:
    """Return why a challenger that is no worse is preferred, None where that is not shown."""
    if evidence.above(-policy.no_worse) < -log(alpha):
        return None
    tried = {"cheaper": ["cost"], "faster": ["latency"], "either": ["cost", "latency"]}[policy.accept_no_worse]
    for name in tried:
        if saving(getattr(control, name), getattr(challenger, name), policy.saving) >= -log(alpha / len(tried)):
            word = "cheaper" if name == "cost" else "faster"
            return f"quality is no worse than by {policy.no_worse:.0%}, and it is {word} by {policy.saving:.0%} or more"
    return None


def described(guard: Guard) -> str:
    """Return a broken guard in words."""
    words = {
        "error_rate": ("error rate", "{:.1%}", "by more than {:.1%} of all requests"),
        "latency_p95": ("latency p95", "{:,.0f} ms", "by more than {:.0%}"),
        "cost_per_resolved": ("cost of a resolved task", "{:.3g}", "by more than {:.0%}"),
        "quality": ("quality", "{:.3f}", "by more than {:.0%}"),
    }
    name, form, allowed = words[guard.name]
    shown = [form.format(value) if value is not None else "unknown" for value in (guard.control, guard.challenger)]
    return f"{name} went from {shown[0]} to {shown[1]}, worse {allowed.format(guard.tolerance)}"


def _lift(control: Floats, challenger: Floats) -> float | None:
    if not len(control) or not len(challenger) or control.mean() <= 0.0:
        return None
    return float(challenger.mean() / control.mean() - 1.0)


def _series(bounds: LiftBounds) -> dict[str, list[float]]:
    top = 10.0  # JSON knows no infinity
    return {
        "pairs": [float(value) for value in bounds.pairs],
        "estimate": [float(value) for value in np.nan_to_num(bounds.estimate, nan=0.0, posinf=top)],
        "low": [float(value) for value in bounds.low],
        "high": [float(value) for value in np.minimum(bounds.high, top)],
    }
