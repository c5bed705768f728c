"""Stage 1, critical: does the candidate still get right what the baseline gets right?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.errors import ValidationError, listed
from registry.records import Interval, StageResult, Status
from tasks.validation.cases import Answered, TestCase, counted, groups_of, shown
from tasks.validation.policy import ValidationPolicy
from tasks.validation.statistics import (
    clustered_mean,
    clustered_share,
    design_effect,
    more_for_mean,
    more_for_share,
)

NET_LEVEL = 0.99
"""Confidence with which more must be lost than gained: one equally good retrain in a hundred is taken for worse."""


def regression(
    baseline: Answered, candidate: Answered, policy: ValidationPolicy, rounds: NDArray[np.int64] | None = None
) -> StageResult:
    """Examine the cases that the baseline gets right: at least `regression_rate` of them must still be right.

    Which right cases, says `right_cases`. A case passes when the candidate's score is at least `right_score`, or the
    baseline's own, less `tolerance`: an answer in other words is no regression.

    Cases that were chosen because the baseline is right on them can only be lost, so an equally good model that learned
    from other examples loses some, and gains as many elsewhere. FAIL therefore takes two things beyond doubt: too many
    are lost, and over all cases more are lost than gained (the paired test of McNemar 1947, over groups, at
    `NET_LEVEL`). Too many lost against as many gained is INCONCLUSIVE: a person looks at what was lost.

    Args:
        baseline: The baseline's answers to all cases.
        candidate: The candidate's answers to the same cases.
        policy: Thresholds.
        rounds: How steadily the baseline is right, shape (n,), see `steadiness`; None takes all right cases as steady.
    """
    if rounds is None:
        rounds = np.where(baseline.scores >= policy.right_score, policy.steady_rounds, -1)
    rows = right_cases(baseline.scores, rounds, policy)
    kept = _still_right(baseline.scores, candidate.scores, policy)
    gained = ~_still_right(candidate.scores, baseline.scores, policy)
    exchange = _exchange(~kept, gained, groups_of(candidate.cases), policy)
    what = "that the baseline gets right"
    result = _judge(baseline.take(rows), candidate.take(rows), kept[rows], policy, what, exchange)
    newly = (candidate.scores >= policy.right_score) & (baseline.scores < policy.right_score)
    counts = {
        "all_cases": len(kept),
        "right": int((rounds >= 0).sum()),
        "steady": int((rounds[rows] >= policy.steady_rounds).sum()),
        "newly_right": int(newly.sum()),
        "lost": exchange.lost,
        "gained": exchange.gained,
    }
    intervals = result.intervals if exchange.net is None else result.intervals | {"net_gain": exchange.net}
    metrics = result.metrics | {"kept_rate": _share(kept)}
    return result.model_copy(update={"metrics": metrics, "intervals": intervals, "counts": result.counts | counts})


def golden_regression(baseline: Answered, candidate: Answered, policy: ValidationPolicy) -> StageResult:
    """Examine the user's golden cases: at least `regression_rate` of them must be right, whatever the baseline says.

    Args:
        baseline: The baseline's answers to the golden cases, shown beside the failing ones.
        candidate: The candidate's answers to them.
        policy: Thresholds.
    """
    right = candidate.scores >= policy.right_score - policy.tolerance
    result = _judge(baseline, candidate, right, policy, "of the golden file")
    kept = _still_right(baseline.scores, candidate.scores, policy)
    return result.model_copy(update={"metrics": result.metrics | {"kept_rate": _share(kept)}})


def right_cases(scores: NDArray[np.float64], rounds: NDArray[np.int64], policy: ValidationPolicy) -> NDArray[np.int64]:
    """Return the rows that regression looks at, in the order of the cases.

    All steady ones, at most `regression_most`; where they are fewer than `regression_wanted`, the next steadiest up to
    that number, but none that did not stay right even once: that was luck.

    Args:
        scores: The baseline's scores, shape (n,).
        rounds: How steadily it is right, shape (n,).
        policy: Limits.
    """
    steadiest = np.lexsort((-scores, -rounds))
    beyond_luck = int((rounds >= min(1, policy.steady_rounds)).sum())
    steady = int((rounds >= policy.steady_rounds).sum())
    count = min(beyond_luck, max(steady, policy.regression_wanted), policy.regression_most)
    return np.sort(steadiest[:count])


def _still_right(
    baseline: NDArray[np.float64], candidate: NDArray[np.float64], policy: ValidationPolicy
) -> NDArray[np.bool_]:
    return np.asarray(candidate >= np.minimum(baseline, policy.right_score) - policy.tolerance)


class Exchange(NamedTuple):
    """Cases that the candidate lost against the baseline, those that it gained, and their balance."""

    lost: int
    gained: int
    net: Interval | None
    """Gained less lost, as a share of all cases; None with fewer than two groups."""


def _exchange(
    lost: NDArray[np.bool_], gained: NDArray[np.bool_], groups: NDArray[np.int64], policy: ValidationPolicy
) -> Exchange:
    net = None
    if len(np.unique(groups)) > 1:
        net = clustered_mean(gained.astype(np.float64) - lost, groups, max(policy.level, NET_LEVEL))
    return Exchange(int(lost.sum()), int(gained.sum()), net)


def _share(passed: NDArray[np.bool_]) -> float | None:
    return round(float(passed.mean()), 6) if len(passed) else None


def _judge(
    baseline: Answered,
    candidate: Answered,
    passed: NDArray[np.bool_],
    policy: ValidationPolicy,
    what: str,
    exchange: Exchange | None = None,
) -> StageResult:
    count, failed = len(passed), np.flatnonzero(~passed)
    worst_first = failed[np.argsort((candidate.scores - baseline.scores)[failed], kind="stable")]
    status: Status = "INCONCLUSIVE"
    more: int | None = max(0, policy.regression_minimum - count)
    intervals: dict[str, Interval] = {}
    if count < policy.regression_minimum:
        reasons = [
            f"only {counted(count, 'case')} {what}, fewer than the {policy.regression_minimum} that a conclusion "
            "needs; learn from more events, so that the test split grows, or give a golden file"
        ]
    else:
        groups = groups_of(candidate.cases)
        interval = clustered_share(passed, groups, policy.level)
        intervals["pass_rate"] = interval
        status = _status(interval, policy.regression_rate)
        more = None
        if status == "INCONCLUSIVE":
            effect = design_effect(passed, groups)
            more = more_for_share(interval.estimate, count, policy.regression_rate, effect, policy.level)
        reasons = [_reason(status, count - len(failed), count, interval, policy, what)]
        if status == "FAIL" and exchange is not None and exchange.net is not None and exchange.net.high >= 0:
            status, more = "INCONCLUSIVE", more_for_mean(exchange.net, 0.0, len(passed))
            reasons[0] += (
                f"; but over all cases {exchange.lost} are lost and {exchange.gained} gained, a balance that an "
                "equally good model can have by chance, so that nothing is concluded; read what was lost"
            )
    return StageResult(
        name="regression",
        status=status,
        critical=True,
        metrics={"pass_rate": _share(passed)},
        thresholds={"pass_rate": policy.regression_rate, "right_score": policy.right_score},
        intervals=intervals,
        counts={"cases": count, "passed": count - len(failed), "failed": len(failed)},
        reasons=reasons,
        more_cases_needed=more,
        failing=shown(baseline, candidate, worst_first[: policy.failing_shown], "was right, is wrong"),
    )


def _status(interval: Interval, threshold: float) -> Status:
    if interval.low >= threshold:
        return "PASS"
    return "FAIL" if interval.high < threshold else "INCONCLUSIVE"


def _reason(status: Status, passed: int, count: int, interval: Interval, policy: ValidationPolicy, what: str) -> str:
    said = {
        "PASS": "so at least",
        "FAIL": "so fewer than",
        "INCONCLUSIVE": "which leaves open whether at least",
    }[status]
    return (
        f"{passed:,} of {counted(count, 'case')} {what} are still right ({interval.estimate:.1%}, "
        f"{policy.level:.0%} bounds {interval.low:.1%} and {interval.high:.1%}), {said} "
        f"{policy.regression_rate:.0%} are"
    )


# --- the user's golden file ----------------------------------------------------------------------------------------


def read_golden(path: Path) -> list[TestCase]:
    """Read golden cases: JSON lines of {"messages": [...]} or {"prompt": "..."} with {"expected": "..."}.

    A line may also have "id" and "domain". Blank lines are skipped.

    Raises:
        ValidationError: E7410 when the file cannot be read or is empty, E7411 with all lines that are no golden case.
    """
    todo = 'give JSON lines such as {"prompt": "…", "expected": "…"}'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationError("E7410", f"the golden file {path} cannot be read ({error})", todo) from error
    cases: list[TestCase] = []
    failures: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cases.append(_golden_case(number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            failures.append(f"line {number}: {error}"[:200])
    if failures:
        raise ValidationError("E7411", f"the golden file {path} has bad lines: {listed(failures)}", todo)
    if not cases:
        raise ValidationError("E7410", f"the golden file {path} has no cases", todo)
    return cases


def _golden_case(number: int, entry: Any) -> TestCase:
    if not isinstance(entry, dict):
        raise ValueError("is not a JSON object")
    if unknown := sorted(set(entry) - {"id", "domain", "prompt", "messages", "expected"}):
        raise ValueError(f"has unknown keys {', '.join(unknown)}")
    if ("prompt" in entry) == ("messages" in entry):
        raise ValueError('needs one of "prompt" and "messages"')
    if not isinstance(entry.get("expected"), str) or not entry["expected"].strip():
        raise ValueError('needs "expected", a text')
    context = entry.get("messages")
    if context is None:
        if not isinstance(entry["prompt"], str) or not entry["prompt"].strip():
            raise ValueError('"prompt" is not a text')
        context = [{"role": "user", "content": entry["prompt"]}]
    _check_messages(context)
    return TestCase(
        case_id=str(entry.get("id", f"golden:{number}")),
        domain=str(entry.get("domain", "golden")),
        context=context,
        expected=entry["expected"],
    )


def _check_messages(context: Any) -> None:
    if not isinstance(context, list) or not context:
        raise ValueError('"messages" is not a list of messages')
    for message in context:
        if not isinstance(message, dict) or message.get("role") not in {"system", "user", "assistant", "tool"}:
            raise ValueError('a message needs a "role" of system, user, assistant or tool')
        if not isinstance(message.get("content"), str | None):
            raise ValueError('the "content" of a message is not a text')
