"""The training loop: Adam on the contrastive loss, in frozen vectors of a few hundred dimensions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.records import EpochMetrics
from tasks.training.adapter import Adapter, forward, gradients
from tasks.training.encoder import Floats
from tasks.training.loss import info_nce, info_nce_value
from tasks.training.policy import TrainingPolicy

BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8
WARM_UP = 10
"""Steps in which the learning rate rises."""


class Pairs(NamedTuple):
    """n training pairs on the frozen base: contexts (n, d), the known turns (t, d), which turn and weight each has."""

    contexts: Floats
    turns: Floats
    ids: NDArray[np.int64]
    weights: Floats


class Fit(NamedTuple):
    """The adapter of the best epoch, and the loss curve. Epoch 0 is the start."""

    adapter: Adapter
    curve: list[EpochMetrics]
    best_epoch: int


def fit(
    train: Pairs,
    validation: Pairs,
    start: Adapter,
    first: Adapter,
    policy: TrainingPolicy,
    rate: float,
    rng: np.random.Generator,
    on_epoch: Callable[[EpochMetrics], None],
) -> Fit:
    """Train from `first` and keep the epoch with the least validation loss, which may be epoch 0: `start`.

    Args:
        train: What is learned from.
        validation: What decides which epoch is best; at least one pair.
        start: What there is without this training: the base, or the champion.
        first: Where the steps begin: the warm start, or the champion.
        policy: Settings.
        rate: Peak of the learning rate.
        rng: Order of the pairs and dropout.
        on_epoch: Told each epoch but 0; what it raises ends the training.
    """
    adapter, best = first.copy(), start
    anchor = [weight.copy() for weight in adapter.weights]
    steps = Steps(adapter.weights, anchor, rate, policy.weight_decay, policy.epochs * _batches(train, policy))
    curve = [EpochMetrics(0, loss_of(train, start, policy), loss_of(validation, start, policy), 0.0, 0.0)]
    best_epoch = 0
    for epoch in range(1, policy.epochs + 1):
        began = time.perf_counter()
        train_loss = _epoch(train, adapter, steps, policy, rng)
        validation_loss = loss_of(validation, adapter, policy)
        rate = len(train.ids) / (time.perf_counter() - began)
        curve.append(EpochMetrics(epoch, train_loss, validation_loss, steps.rate(), rate))
        if validation_loss < curve[best_epoch].validation_loss:
            best, best_epoch = adapter.copy(), epoch
        on_epoch(curve[-1])
        if epoch - best_epoch >= policy.patience:
            break
    return Fit(best, curve, best_epoch)


class Steps:
    """Adam (Kingma and Ba 2015) with decoupled decay towards an anchor; changes the weights in place.

    The rate rises over `WARM_UP` steps and falls to zero as a cosine over all of them.
    """

    def __init__(self, weights: list[Floats], anchor: list[Floats], peak: float, decay: float, total: int) -> None:
        self.weights, self.anchor, self.peak, self.decay, self.total = weights, anchor, peak, decay, total
        self.mean = [np.zeros_like(weight) for weight in weights]
        self.square = [np.zeros_like(weight) for weight in weights]
        self.done = 0

    def rate(self) -> float:
        """Return the learning rate of the latest step."""
        return self.peak * min(1.0, self.done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.done / self.total))

    def step(self, grads: list[Floats]) -> None:
        """Take one step against the gradients."""
        self.done += 1
        rate = self.rate()
        first, second = 1 - BETA1**self.done, 1 - BETA2**self.done
        for weight, anchor, grad, mean, square in zip(
            self.weights, self.anchor, grads, self.mean, self.square, strict=True
        ):
            mean += np.float32(1 - BETA1) * (grad - mean)
            square += np.float32(1 - BETA2) * (grad * grad - square)
            move = mean / (np.sqrt(square / np.float32(second)) + np.float32(EPSILON))
            weight -= np.float32(rate / first) * move
            weight -= np.float32(rate * self.decay) * (weight - anchor)


def loss_of(pairs: Pairs, adapter: Adapter, policy: TrainingPolicy, most: int = 2048) -> float:
    """Return the weighted mean loss of (at most `most` of) the pairs in batches of a fixed order, without dropout."""
    total, weight = 0.0, 0.0
    for rows in _split(_spread(len(pairs.ids), most), policy.batch_size):
        contexts = forward(pairs.contexts[rows], adapter.context, adapter.scale).z
        turns = forward(pairs.turns[pairs.ids[rows]], adapter.turn, adapter.scale).z
        share = float(pairs.weights[rows].sum())
        total += share * info_nce_value(contexts, turns, pairs.ids[rows], pairs.weights[rows], policy.temperature)
        weight += share
    return total / weight


def _epoch(train: Pairs, adapter: Adapter, steps: Steps, policy: TrainingPolicy, rng: np.random.Generator) -> float:
    total, weight, scale = 0.0, 0.0, adapter.scale
    hidden = round(policy.dropout * 256)
    kept = np.float32(256 / (256 - hidden))
    for rows in _split(rng.permutation(len(train.ids)), policy.batch_size):
        ids, weights = train.ids[rows], train.weights[rows]
        contexts = train.contexts[rows]
        if hidden:
            contexts *= rng.integers(0, 256, contexts.shape, dtype=np.uint8) >= hidden
            contexts *= kept
        left = forward(contexts, adapter.context, scale)
        right = forward(train.turns[ids], adapter.turn, scale)
        loss = info_nce(left.z, right.z, ids, weights, policy.temperature)
        by_context = gradients(left, loss.by_context, adapter.context, scale)
        by_turn = gradients(right, loss.by_turn, adapter.turn, scale)
        steps.step([*by_context, *by_turn])
        share = float(weights.sum())
        total, weight = total + share * loss.value, weight + share
    return total / weight


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _split(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of about `size`, as equal as can be: a last batch of one pair would have nothing to tell apart."""
    yield from np.array_split(rows, max(1, round(len(rows) / size)))


def _batches(pairs: Pairs, policy: TrainingPolicy) -> int:
    return max(1, round(len(pairs.ids) / policy.batch_size))
