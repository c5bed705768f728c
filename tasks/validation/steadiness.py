"""How steadily a baseline is right: what it gets right by luck is no behaviour that a candidate could lose.

A retrained model answers some cases differently for no reason but chance, most of all those that were right by luck.
So each case that the baseline gets right is asked again, several times, with words left out of the last messages; how
often in a row it stays right is its steadiness. Regression looks at the steady ones. On retrains of the sample with
fresh data of the same kind, the share of right cases that stay right rose from 0.94–0.97 to 0.98–1.00 by this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from registry.records import Conversation, Predictor, token_f1_pairs
from tasks.validation.cases import Answered, ask
from tasks.validation.policy import ValidationPolicy

LEFT_OUT = 0.2
"""Share of the words that are left out."""
MESSAGES = 3
"""How many of the last messages of users and tools lose words."""


def steadiness(model: Predictor, answered: Answered, policy: ValidationPolicy, seed: int = 0) -> NDArray[np.int64]:
    """Return for each case how many rounds in a row the model stays right, up to `steady_rounds`; -1 where it is wrong.

    At most `regression_most` of the right cases, best first, are asked again; the others count as 0 rounds.

    Args:
        model: The baseline.
        answered: Its answers to the cases.
        policy: What is right, and how often it is asked.
        seed: Seed of the words that are left out.

    Returns:
        Shape (n,).
    """
    rounds = np.where(answered.scores >= policy.right_score, 0, -1).astype(np.int64)
    best_first = np.argsort(-answered.scores, kind="stable")
    alive = np.sort(best_first[: int((rounds == 0).sum())][: policy.regression_most])
    rng = np.random.default_rng([seed, 5])
    for _ in range(policy.steady_rounds):
        asked = [with_words_left_out(answered.cases[i].context, rng) for i in alive]
        responses, _ = ask(model, asked, policy.batch_size)
        scores = token_f1_pairs(responses, [answered.cases[i].expected for i in alive])
        alive = alive[scores >= policy.right_score - policy.tolerance]
        rounds[alive] += 1
    return rounds


def with_words_left_out(context: Conversation, rng: np.random.Generator) -> Conversation:
    """Return the conversation with a share `LEFT_OUT` of the words of its last messages left out."""
    spoken: Sequence[int] = [i for i, m in enumerate(context) if m["role"] in ("user", "tool") and m.get("content")]
    changed = list(context)
    for i in spoken[-MESSAGES:]:
        pieces = re.split(r"(\s+)", context[i]["content"])
        kept = rng.random(len(pieces)) >= LEFT_OUT
        content = "".join(piece for piece, keep in zip(pieces, kept, strict=True) if keep or piece.isspace())
        changed[i] = {**context[i], "content": content or context[i]["content"]}
    return changed
