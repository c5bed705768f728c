"""Real airline conversations, whole tasks held out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from registry.records import Conversation, assistant_turns, token_f1_pairs
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend

FOLDS = 10


def test_the_next_action_of_unseen_tasks_is_ranked_better_than_by_the_base(
    tau: list[tuple[str, Conversation]], table: Callable[[list[Conversation]], pa.Table], tmp_path: Path
) -> None:
    subjects = sorted({subject for subject, _ in tau})
    np.random.default_rng(0).shuffle(subjects)
    part = {subject: i % FOLDS for i, subject in enumerate(subjects)}
    backend, base, learned = SimulatedBackend(), [], []
    for fold in range(FOLDS):
        splits = [
            [messages for subject, messages in tau if (part[subject] - fold) % FOLDS in wanted]
            for wanted in (range(2, FOLDS), (1,), (0,))
        ]
        data = TrainingData(table(splits[0]), table(splits[1]), f"fold {fold}")
        out = tmp_path / str(fold)
        run_job(backend, data, TrainingPolicy(), fold, out)
        turns = [turn for messages in splits[2] for turn in assistant_turns(messages)]
        for scores, adapter in ((base, False), (learned, True)):
            answers = backend.load(out, adapter).answer([turn.context for turn in turns])
            scores.extend(token_f1_pairs(answers.responses, [turn.text for turn in turns]).tolist())
    assert np.mean(learned) >= 0.33
    assert np.mean(learned) > np.mean(base) + 0.1
