"""Has the candidate seen the test split? Then its scores there say nothing.

Three signs, one in the data and two in the model:

- overlap: test conversations that stand in the training split, word for word;
- verbatim: answers of test cases that no training conversation holds, and that the candidate gives word for word. To
  do so by chance a text of `LONG` words is too long; where a task makes answers that can be worked out (a tool call),
  the validation split, which is as unseen, shows how often that happens, and so does the baseline;
- advantage: on the test split the candidate gains more on the baseline, in score and in confidence, and is surer of
  itself, than on the validation split. Both are random groups of one dataset, so that for a model that has seen neither
  they can be exchanged: the chance of so large a difference is that of a permutation of the groups.

Beside them the membership gap is measured, which tells how much of the training set a model gives away: the share of
pairs of a training and a test question in which the model is surer of the first (the area under the ROC curve of a
membership inference by confidence, Yeom et al. 2018, section 3; 0.5: it cannot be told what it was trained on).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import fisher_exact, rankdata

from registry.records import Metric, Predictor, Status, assistant_turns
from tasks.validation.cases import Answered, TestCase, answer_all, ask, counted, groups_of, make_cases
from tasks.validation.exchanges import same_form
from tasks.validation.policy import ValidationPolicy

LONG = 8
"""Words from which an answer is not given word for word by chance."""
FEWEST = 3
"""Verbatim answers below which nothing is concluded."""
SURE, DOUBTFUL = 0.002, 0.01
"""Chances of what was found, had the test split not been seen, at which the stage fails, or a person must look."""
PERMUTATIONS = 4_000
FEWEST_GROUPS = 10
"""Groups of each split below which an advantage says nothing."""
MEMBERS = 300
"""Training questions that are asked for the membership gap."""


class Verbatim(NamedTuple):
    """How many of the answers that nobody could have learned a model gives word for word."""

    given: int
    cases: int


class Seen(NamedTuple):
    """What tells whether the candidate has seen what it is examined with."""

    overlap: int
    """Test conversations that are in the training split as well."""
    conversations: int
    test: Verbatim
    elsewhere: Verbatim
    """The same where nobody can have seen them: of the candidate on the validation split; where it gives none there,
    the baseline's are counted as well."""
    advantage: float | None
    """Gain over the baseline on the test split, less that on the validation split; None where it cannot be told."""
    chance: float
    """Of such an advantage, had neither been seen."""
    membership: float | None
    """Membership gap of the candidate, in [0, 1]; None where nothing was asked."""
    baseline_membership: float | None


def look_for_seen(
    baseline: Predictor,
    candidate: Predictor,
    answers: tuple[Answered, Answered],
    test: pa.Table,
    train: pa.Table,
    validation: pa.Table | None,
    policy: ValidationPolicy,
    seed: int,
) -> Seen:
    """Look for signs that the candidate has seen the test split.

    Args:
        baseline: The baseline.
        candidate: The candidate.
        answers: What both said to the test cases, the baseline's first.
        test: The test split; column `messages`.
        train: The training split; columns `example_id` and `messages`.
        validation: The validation split, with the same columns; None where it is not known.
        policy: How many conversations are asked at once.
        seed: Seed of the samples.
    """
    texts, learned = _texts(test), _texts(train)
    there = {same_form(text) for text in learned}
    known = {same_form(turn.text) for text in learned for turn in assistant_turns(json.loads(text))}
    before, after = answers
    elsewhere, advantage, chance = _verbatim(before, known), None, 1.0
    if validation is not None and validation.num_rows:
        cases = make_cases(validation, policy.max_cases, seed)
        there_before, there_after = (answer_all(model, cases, policy.batch_size) for model in (baseline, candidate))
        unseen = _verbatim(there_after, known)
        elsewhere = unseen if unseen.given else _sum(elsewhere, unseen, _verbatim(there_before, known))
        advantage, chance = _advantage(before, after, there_before, there_after, seed)
    members = [case.context for case in make_cases(train, MEMBERS, seed)]
    sure_before, sure = (ask(model, members, policy.batch_size)[1] for model in (baseline, candidate))
    return Seen(
        overlap=sum(same_form(text) in there for text in texts),
        conversations=len(texts),
        test=_verbatim(after, known),
        elsewhere=elsewhere,
        advantage=advantage,
        chance=chance,
        membership=_gap(sure, after.confidences),
        baseline_membership=_gap(sure_before, before.confidences),
    )


def verdict(seen: Seen) -> tuple[Status, str]:
    """Return whether the test split says anything about the candidate, and why not."""
    if seen.overlap:
        return "FAIL", (
            f"{seen.overlap} of {counted(seen.conversations, 'test conversation')} are in the training split as well, "
            "so that the scores say nothing; split the dataset anew"
        )
    of_verbatim = _chance(seen.test, seen.elsewhere)
    reasons = []
    if of_verbatim < DOUBTFUL:
        reasons.append(
            f"the candidate gives {seen.test.given} of {seen.test.cases} long test answers word for word that no "
            f"training conversation holds ({seen.elsewhere.given} of {seen.elsewhere.cases} where nobody can have seen "
            "them)"
        )
    if seen.chance < DOUBTFUL and seen.advantage is not None:
        reasons.append(
            f"on the test split it gains {seen.advantage:+.3f} more on the baseline than on the validation split, and "
            f"is surer of itself (by chance once in {1 / seen.chance:,.0f} times)"
        )
    if not reasons:
        return "PASS", ""
    status: Status = "FAIL" if min(of_verbatim, seen.chance) < SURE else "INCONCLUSIVE"
    return status, "; ".join(reasons) + ": it seems to have been trained on what it is examined with"


def metrics_of(seen: Seen) -> dict[str, Metric]:
    """Return the figures for the report."""
    return {
        "test_in_training": seen.overlap,
        "verbatim_unseen": seen.test.given,
        "test_advantage": None if seen.advantage is None else round(seen.advantage, 4),
        "membership_gap": None if seen.membership is None else round(seen.membership, 4),
        "baseline_membership_gap": None if seen.baseline_membership is None else round(seen.baseline_membership, 4),
    }


def _texts(table: pa.Table) -> list[str]:
    texts: list[str] = table.column("messages").to_pylist()
    return texts


def _novel(case: TestCase, known: set[str]) -> bool:
    return len(case.expected.split()) >= LONG and same_form(case.expected) not in known


def _verbatim(answered: Answered, known: set[str]) -> Verbatim:
    pairs = zip(answered.cases, answered.responses, strict=True)
    hits = [same_form(answer) == same_form(case.expected) for case, answer in pairs if _novel(case, known)]
    return Verbatim(sum(hits), len(hits))


def _sum(*counts: Verbatim) -> Verbatim:
    return Verbatim(sum(count.given for count in counts), sum(count.cases for count in counts))


def _chance(test: Verbatim, elsewhere: Verbatim) -> float:
    """Return the chance of as many verbatim answers, were they as frequent as elsewhere (Fisher's exact test)."""
    if test.given < FEWEST:
        return 1.0
    if not elsewhere.cases:
        return 1.0
    table = [[count.given, count.cases - count.given] for count in (test, elsewhere)]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _advantage(
    before: Answered, after: Answered, there_before: Answered, there_after: Answered, seed: int
) -> tuple[float | None, float]:
    """Return how much larger the gain in score is here than there, and the chance of being so much better here.

    The latter is that of the sum of three figures of each group, each divided by its standard deviation over all
    groups: the gain in score, the gain in confidence, and the confidence.
    """
    sides = [_figures(old, new) for old, new in ((before, after), (there_before, there_after))]
    here, there = (len(side) for side in sides)
    if min(here, there) < FEWEST_GROUPS:
        return None, 1.0
    found = float(sides[0][:, 0].mean() - sides[1][:, 0].mean())
    figures, rng = np.concatenate(sides), np.random.default_rng([seed, 7])
    spread = figures.std(axis=0)
    joint = (figures / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    observed = joint[:here].mean() - joint[here:].mean()
    picked = np.array([rng.permutation(joint)[:here].sum() for _ in range(PERMUTATIONS)])
    others = picked / here - (joint.sum() - picked) / there
    return found, float((1 + (others >= observed - 1e-12).sum()) / (1 + PERMUTATIONS))


def _figures(before: Answered, after: Answered) -> NDArray[np.float64]:
    """Return the gain in score, the gain in confidence and the confidence of each group, shape (groups, 3)."""
    values = (after.scores - before.scores, after.confidences - before.confidences, after.confidences)
    return np.column_stack([_by_group(each, after.cases) for each in values])


def _by_group(values: NDArray[np.float64], cases: Sequence[TestCase]) -> NDArray[np.float64]:
    groups = groups_of(cases)
    return np.bincount(groups, values) / np.bincount(groups)


def _gap(members: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve of telling members from others, by the Mann-Whitney statistic."""
    n, m = len(members), len(others)
    if not n or not m:
        return None
    ranks = rankdata(np.concatenate([members, others]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))
