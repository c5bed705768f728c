"""The default backend: truly learns, needs no GPU.

A frozen encoder and a low-rank update of it, trained to rank the right assistant turn first among those it knows.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.errors import TrainingError
from registry.records import EpochMetrics, Strategy, TrainingResult, token_f1_pairs
from tasks.training.adapter import Adapter, adapt, new_adapter, zero_adapter
from tasks.training.artifact import artifact_digest, read_artifact, write_artifact
from tasks.training.backend import TrainingData
from tasks.training.calibration import Calibration, calibrate
from tasks.training.consensus import frequency_prior, number_words
from tasks.training.encoder import Base, Encoder, Floats
from tasks.training.fit import Fit, fit
from tasks.training.index import Cells, TurnIndex, make_cells
from tasks.training.job import Progress
from tasks.training.pairs import (
    KnownTurns,
    TurnPairs,
    encode_turns,
    hold_out,
    known_turns,
    read_pairs,
    trainable,
)  # fmt: skip
from tasks.training.policy import TrainingPolicy
from tasks.training.serving import Ranker, SimulatedPredictor, load_predictor
from tasks.training.warmstart import warm_start


class Prepared(NamedTuple):
    """Everything on the frozen base: pairs of both splits, and the known turns with their vectors (t, d)."""

    train: TurnPairs
    validation: TurnPairs
    turns: KnownTurns
    frozen: Floats


class Examined(NamedTuple):
    """An adapter over the known turns: its cells, its calibration and its mean token-F1 on the validation pairs."""

    cells: Cells | None
    calibration: Calibration
    score: float


class SimulatedBackend:
    """See the module's docstring."""

    name = "simulated"

    def train(
        self,
        data: TrainingData,
        policy: TrainingPolicy,
        seed: int,
        out: Path,
        start: Path | None,
        progress: Progress,
    ) -> TrainingResult:
        """Train an adapter and write it to `out`; see `TrainingBackend.train`.

        The linear algebra runs on one thread, so that the bytes do not depend on how many there are.

        Raises:
            TrainingError: E7310 when there is no assistant turn to learn from, E7312 when `start` has another base or
                rank, E7320 or E7321 when it cannot be loaded.
            IntegrityError: E7910 when `start` is damaged.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            return _train(data, policy, seed, out, start, progress)

    def load(self, path: Path, adapter: bool = True) -> SimulatedPredictor:
        """Load an artifact; see `serving.load_predictor`."""
        return load_predictor(path, adapter)


def _train(
    data: TrainingData, policy: TrainingPolicy, seed: int, out: Path, start: Path | None, progress: Progress
) -> TrainingResult:
    began = time.perf_counter()
    base = Base(seed=policy.base_seed, dimension=policy.dimension)
    encoder = Encoder(base)
    origin = _origin(start, base, policy, seed)
    progress.state("PREPARING_DATA")
    prepared = prepare(data, encoder, policy, seed)
    progress.state("TRAINING")
    fitted = _fit(prepared, origin, policy, seed, progress, encoder, trained=start is not None)
    progress.state("VALIDATING")
    plain = examine(prepared, zero_adapter(origin), policy)
    found = examine(prepared, fitted.adapter, policy)
    if start is None and found.score < plain.score:  # never worse than the base
        fitted = Fit(zero_adapter(origin), fitted.curve, 0)
        found = plain
    training = {
        "policy": policy.model_dump(mode="json"),
        "seed": seed,
        "dataset": data.digest,
        "start": artifact_digest(start) if start is not None else None,
        "pairs": len(prepared.train.texts),
        "validation_pairs": len(prepared.validation.texts),
        "best_epoch": fitted.best_epoch,
    }
    config = {
        "base": base,
        "consensus": policy.consensus,
        "frequency": policy.frequency,
        "consensus_temperature": policy.consensus_temperature,
        "calibration": found.calibration,
        "base_calibration": plain.calibration,
        "training": training,
    }
    write_artifact(out, config, fitted.adapter, prepared.turns, found.cells, plain.cells)
    return _result(prepared, fitted, plain, found, base, out, training, time.perf_counter() - began)


def _result(
    prepared: Prepared,
    fitted: Fit,
    plain: Examined,
    found: Examined,
    base: Base,
    out: Path,
    training: dict[str, Any],
    seconds: float,
) -> TrainingResult:
    strategy: Strategy = "full_retrain" if training["start"] is None else "incremental"
    return TrainingResult(
        backend=SimulatedBackend.name,
        strategy=strategy,
        base=base.title,
        pairs=len(prepared.train.texts),
        known_turns=len(prepared.turns.texts),
        epochs=fitted.curve,
        final_loss=fitted.curve[fitted.best_epoch].validation_loss,
        best_epoch=fitted.best_epoch,
        base_score=plain.score,
        score=found.score,
        seconds=seconds,
        peak_memory_bytes=peak_memory(),
        artifact_digest=artifact_digest(out),
        config=training,
    )


def prepare(data: TrainingData, encoder: Encoder, policy: TrainingPolicy, seed: int) -> Prepared:
    """Read and encode both splits.

    Raises:
        TrainingError: E7310 when there is no assistant turn to learn from.
    """
    train = read_pairs(data.train, encoder, policy.max_pairs, np.random.default_rng([seed, 1]))
    if not train.texts:
        raise TrainingError(
            "E7310",
            "the train split has no assistant turn to learn from",
            "learn from more events, or accept more examples",
        )
    validation = read_pairs(data.validation, encoder, policy.max_validation_pairs, np.random.default_rng([seed, 2]))
    if not validation.texts:
        train, validation = hold_out(train)
    turns = known_turns(train)
    return Prepared(train, validation, turns, encode_turns(encoder, turns.texts))


def _fit(
    prepared: Prepared,
    origin: Adapter,
    policy: TrainingPolicy,
    seed: int,
    progress: Progress,
    encoder: Encoder,
    *,
    trained: bool,
) -> Fit:
    weighted = policy.quality_weighting
    train = trainable(prepared.train, prepared.turns.texts, prepared.frozen, weighted=weighted)
    asked = sorted(set(prepared.validation.texts))
    validation = trainable(prepared.validation, asked, encode_turns(encoder, asked), weighted=weighted)

    def on_epoch(metrics: EpochMetrics) -> None:
        progress.epoch(metrics, policy.epochs)

    first = origin if trained else warm_start(train, origin, policy)
    rate = policy.learning_rate * (policy.incremental_rate if trained else 1.0)
    return fit(train, validation, origin, first, policy, rate, np.random.default_rng([seed, 3]), on_epoch)


def examine(prepared: Prepared, adapter: Adapter, policy: TrainingPolicy) -> Examined:
    """Answer the validation pairs as the model will be served, score the answers, and fit the confidence to them."""
    keys = adapt(prepared.frozen, adapter.turn, adapter.scale)
    cells = make_cells(keys, policy.base_seed)
    prior = frequency_prior(prepared.turns.counts, policy.frequency)
    words = number_words(prepared.turns.texts)
    ranker = Ranker(TurnIndex(keys, cells), words, prior, adapter, policy.consensus, policy.consensus_temperature)
    chosen = ranker.choose(prepared.validation.contexts)
    outcomes: NDArray[np.float64] = token_f1_pairs(
        [prepared.turns.texts[turn] for turn in chosen.turns.tolist()], prepared.validation.texts
    )
    return Examined(cells, calibrate(chosen.agreement, chosen.scores, outcomes), float(outcomes.mean()))


def _origin(start: Path | None, base: Base, policy: TrainingPolicy, seed: int) -> Adapter:
    """Return the adapter that training starts from: the champion's, or an update of zero."""
    if start is None:
        return new_adapter(policy.dimension, policy.rank, policy.alpha, np.random.default_rng([seed, 0]))
    read = read_artifact(start)
    if (read.config.base, read.config.rank) != (base, policy.rank):
        raise TrainingError(
            "E7312",
            f"the champion is of base {read.config.base.title} and rank {read.config.rank}, "
            f"the policy says {base.title} and rank {policy.rank}",
            "train with strategy full_retrain, or with the champion's policy",
        )
    return read.adapter


def peak_memory() -> int:
    """Return the most memory that this process held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
