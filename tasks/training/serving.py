"""The simulated model as it is served: encodes a conversation, ranks the known turns, answers with one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from registry.records import Answers, Conversation
from tasks.training.adapter import Adapter, adapt
from tasks.training.artifact import ArtifactConfig, artifact_digest, read_artifact
from tasks.training.calibration import Calibration
from tasks.training.consensus import Chosen, Words, choose, frequency_prior, number_words
from tasks.training.context import content, context_fields, encode_rows
from tasks.training.encoder import Encoder, Floats
from tasks.training.index import TurnIndex
from tasks.training.pairs import encode_turns

UNASKED = 0.01
"""Confidence of an answer to nothing."""
BATCH = 1024
"""Conversations that are answered at once."""


class Ranker(NamedTuple):
    """Ranks known turns for frozen context vectors: what training evaluates and serving serves."""

    known: TurnIndex
    words: Words
    prior: Floats
    adapter: Adapter | None
    consensus: int
    temperature: float

    def choose(self, contexts: Floats) -> Chosen:
        """Choose a known turn for each of n frozen context vectors (n, d)."""
        queries = contexts if self.adapter is None else adapt(contexts, self.adapter.context, self.adapter.scale)
        return choose(self.known.rank(queries, self.consensus), self.words, self.prior, self.temperature)


class SimulatedPredictor:
    """A loaded simulated model. `version` is the digest of its artifact, `config` its configuration."""

    def __init__(
        self, encoder: Encoder, ranker: Ranker, turns: list[str], calibration: Calibration, config: ArtifactConfig
    ) -> None:
        self.encoder, self.ranker, self.turns, self.calibration, self.config = (
            encoder, ranker, turns, calibration, config,
        )  # fmt: skip
        self.version = ""

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation with a known assistant turn, and say how good it will be, in expected token-F1.

        A conversation that says nothing is answered, too, with next to no confidence.
        """
        parts = [self._answer(conversations[start : start + BATCH]) for start in range(0, len(conversations), BATCH)]
        responses = [response for part in parts for response in part.responses]
        return Answers(responses, np.concatenate([part.confidences for part in parts] or [np.zeros(0)]))

    def _answer(self, conversations: Sequence[Conversation]) -> Answers:
        contexts = encode_rows(self.encoder, map(context_fields, conversations))
        chosen = self.ranker.choose(contexts)
        confidences = self.calibration.confidences(chosen.agreement, chosen.scores)
        silent = [not any(content(message).strip() for message in messages) for messages in conversations]
        confidences[silent] = np.minimum(confidences[silent], UNASKED)
        return Answers([self.turns[turn] for turn in chosen.turns.tolist()], confidences)


def load_predictor(path: Path, adapter: bool = True) -> SimulatedPredictor:
    """Load an artifact to serve it; with `adapter=False` the frozen base over the same known turns.

    Raises:
        TrainingError: E7320 when it is no artifact, E7321 when it is of another format.
        IntegrityError: E7910 when it is damaged.
    """
    read = read_artifact(path)
    encoder = Encoder(read.config.base)
    frozen = encode_turns(encoder, read.turns.texts)
    tower, scale = read.adapter.turn, read.adapter.scale
    if adapter:
        index, used = TurnIndex(adapt(frozen, tower, scale), read.cells), read.adapter
    else:
        index, used = TurnIndex(frozen, read.base_cells), None
    prior = frequency_prior(read.turns.counts, read.config.frequency)
    words = number_words(read.turns.texts)
    ranker = Ranker(index, words, prior, used, read.config.consensus, read.config.consensus_temperature)
    calibration = read.config.calibration if adapter else read.config.base_calibration
    predictor = SimulatedPredictor(encoder, ranker, read.turns.texts, calibration, read.config)
    predictor.version = artifact_digest(path) if adapter else f"base {read.config.base.title}"
    return predictor
