"""Test cases, and a model's answers to them.

Every assistant turn of an example in the test split is a case: what stood before it is asked, the turn is expected.
Turns of one group (one subject, session or prompt) depend on each other, so each case knows its group, and every
interval in this stage is made for groups, not for cases.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from registry.errors import ValidationError
from registry.records import Case, Conversation, Predictor, assistant_turns, token_f1_pairs
from tasks.validation.leakage import masked


@dataclass(frozen=True)
class TestCase:
    """One question to a model, and the answer that is expected."""

    __test__: ClassVar[bool] = False  # not a class of tests, whatever its name

    case_id: str
    domain: str
    context: Conversation
    expected: str
    group: str = ""
    """What the case depends on others through; its own id where empty."""


class Answered(NamedTuple):
    """A model's answers to n cases, with their scores.

    `responses` has n texts; `confidences` and `scores` (token-F1 against the expected text) have shape (n,), in [0, 1].
    """

    cases: list[TestCase]
    responses: list[str]
    confidences: NDArray[np.float64]
    scores: NDArray[np.float64]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Answered:
        """Return the answers to the cases at `rows`."""
        index = np.asarray(rows, dtype=np.int64)
        cases, responses = [self.cases[i] for i in index], [self.responses[i] for i in index]
        return Answered(cases, responses, self.confidences[index], self.scores[index])


def make_cases(table: pa.Table, limit: int = 1500, seed: int = 0) -> list[TestCase]:
    """Make the cases of a split, a seeded sample of at most `limit` turns.

    The sample takes one random turn of every example (of a random choice of examples, where there are more than
    `limit`), then a second of each, and so on: `limit` questions say most when they come from most conversations.

    Args:
        table: Columns `example_id` and `messages` (JSON text); `domain` and `group` where known.
        limit: Cases at most.
        seed: Seed of the sample. Same table, limit and seed give the same cases in the same order, the table's.
    """
    rng = np.random.default_rng([seed, 0])
    chosen = np.sort(rng.permutation(table.num_rows)[:limit])
    rows = table.take(pa.array(chosen, type=pa.int64()))
    ids, texts = rows.column("example_id").to_pylist(), rows.column("messages").to_pylist()
    domains = _column(rows, "domain", ["unknown"] * len(ids))
    groups = _column(rows, "group", ids)
    picked: list[tuple[int, int, TestCase]] = []  # (round, example, case)
    for row, text in enumerate(texts):
        turns = list(assistant_turns(json.loads(text)))
        order = rng.permutation(len(turns))
        for position, (context, expected) in enumerate(turns):
            case_id, domain = f"{ids[row]}:{position}", str(domains[row] or "unknown")
            case = TestCase(case_id, domain, context, expected, str(groups[row]))
            picked.append((int(np.flatnonzero(order == position)[0]), row, case))
    if len(picked) > limit:
        ranks = np.array([rank for rank, _, _ in picked])
        order = np.lexsort((rng.permutation(len(picked)), ranks))[:limit]
        picked = [picked[i] for i in np.sort(order)]
    return [case for _, _, case in picked]


def _column(table: pa.Table, name: str, default: list[str]) -> list[object]:
    return list(table.column(name).to_pylist() if name in table.column_names else default)


def answer_all(predictor: Predictor, cases: Sequence[TestCase], batch_size: int = 256) -> Answered:
    """Ask a model all cases, in batches.

    Raises:
        ValidationError: E7402 when the model fails, or answers something else than one text and one confidence
            in [0, 1] to each conversation.
    """
    responses, confidences = ask(predictor, [case.context for case in cases], batch_size)
    scores = token_f1_pairs(responses, [case.expected for case in cases])
    return Answered(list(cases), responses, confidences, scores)


def ask(
    predictor: Predictor, conversations: Sequence[Conversation], batch_size: int = 256
) -> tuple[list[str], NDArray[np.float64]]:
    """Ask a model any conversations, in batches, and check what comes back; see `answer_all`."""
    responses: list[str] = []
    confidences: list[NDArray[np.float64]] = [np.zeros(0)]
    for start in range(0, len(conversations), batch_size):
        batch = conversations[start : start + batch_size]
        try:
            answers = predictor.answer(batch)
        except Exception as error:
            raise _unusable(f"fails with {type(error).__name__}: {error}"[:300]) from error
        confidence = np.asarray(answers.confidences, dtype=np.float64)
        if len(answers.responses) != len(batch) or confidence.shape != (len(batch),):
            raise _unusable(f"gives {len(answers.responses)} answers to {len(batch)} conversations")
        if not all(isinstance(response, str) for response in answers.responses):
            raise _unusable("answers with something else than text")
        if not ((confidence >= 0) & (confidence <= 1)).all():  # also catches NaN
            raise _unusable("gives confidences outside [0, 1]")
        responses.extend(answers.responses)
        confidences.append(confidence)
    return responses, np.concatenate(confidences)


def _unusable(what: str) -> ValidationError:
    return ValidationError("E7402", f"the model {what}", "look at the artifact and train it again")


def groups_of(cases: Sequence[TestCase]) -> NDArray[np.int64]:
    """Return the group of each case as a number from 0, shape (n,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(c.group or c.case_id, len(numbers)) for c in cases], dtype=np.int64)


def shown(baseline: Answered, candidate: Answered, rows: Sequence[int] | NDArray[np.int64], note: str) -> list[Case]:
    """Return the cases at `rows` as a reader should see them: shortened, personal data masked."""
    return [
        Case(
            case_id=candidate.cases[i].case_id,
            domain=candidate.cases[i].domain,
            context=short_context(candidate.cases[i].context),
            expected=shorten(candidate.cases[i].expected),
            baseline=shorten(baseline.responses[i]),
            candidate=shorten(candidate.responses[i]),
            baseline_score=round(float(baseline.scores[i]), 4),
            candidate_score=round(float(candidate.scores[i]), 4),
            note=note,
        )
        for i in rows
    ]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 case` or `1,200 cases`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shorten(text: str, limit: int = 400) -> str:
    """Return `text` masked and cut to `limit` characters, for reading."""
    text = masked(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short_context(context: Conversation, limit: int = 400) -> str:
    """Return the last message that was asked, with its role, for reading."""
    if not context:
        return ""
    last = context[-1]
    return shorten(f"{last['role']}: {last.get('content') or ''}", limit)
