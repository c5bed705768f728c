"""From the rows of a dataset to training pairs on the frozen base: every assistant turn is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from registry.errors import TrainingError
from registry.records import Conversation, assistant_turns
from tasks.training.context import Field, context_fields, encode_rows, turn_fields
from tasks.training.encoder import Encoder, Floats
from tasks.training.fit import Pairs

HELD_OUT = 10
"""Without a validation split, every tenth example of train is held out in its place."""


class TurnPairs(NamedTuple):
    """n pairs: context vectors (n, d), turn texts, and of each pair's example: its number, domain and weight."""

    contexts: Floats
    texts: list[str]
    examples: NDArray[np.int64]
    domains: list[str]
    weights: Floats

    def take(self, rows: NDArray[np.int64]) -> TurnPairs:
        """Return some of the pairs."""
        texts, domains = [self.texts[row] for row in rows], [self.domains[row] for row in rows]
        return TurnPairs(self.contexts[rows], texts, self.examples[rows], domains, self.weights[rows])


class KnownTurns(NamedTuple):
    """The distinct turns that the model can answer with, sorted by text."""

    texts: list[str]
    counts: NDArray[np.int64]
    """How many training pairs have each."""
    domains: list[str]
    """The domain that most of them are of."""


def read_pairs(table: pa.Table, encoder: Encoder, most: int, rng: np.random.Generator) -> TurnPairs:
    """Read and encode the pairs of a split, at most `most`: of more, those of a random choice of examples.

    Raises:
        TrainingError: E7311 when messages are not conversations.
    """
    order = np.arange(table.num_rows)
    if table.num_rows and pc.sum(pc.count_substring(table["messages"], '"assistant"')).as_py() > most:
        order = rng.permutation(table.num_rows)
    domains = _column(table, "domain", "unknown")
    weights = [1.0 if weight is None else max(float(weight), 1e-3) for weight in _column(table, "composite", None)]
    texts: list[str] = []
    examples: list[int] = []

    def rows() -> Iterator[list[Field]]:
        for example in order.tolist():
            for context, text in assistant_turns(_messages(table, example)):
                if len(texts) == most:
                    return
                texts.append(text)
                examples.append(example)
                yield context_fields(context)

    contexts = encode_rows(encoder, rows())
    owners = np.array(examples, dtype=np.int64)
    weight = np.array(weights, dtype=np.float32)[owners]
    return TurnPairs(contexts[: len(texts)], texts, owners, [domains[i] for i in examples], weight)


def hold_out(pairs: TurnPairs) -> tuple[TurnPairs, TurnPairs]:
    """Return train and validation pairs where the dataset has no validation split.

    Every tenth example is held out; of fewer than ten examples the last; a single one is its own validation.
    """
    numbers = np.unique(pairs.examples)
    held = numbers[HELD_OUT - 1 :: HELD_OUT] if len(numbers) >= HELD_OUT else numbers[-1:]
    inside = np.isin(pairs.examples, held)
    if inside.all():
        return pairs, pairs
    return pairs.take(np.flatnonzero(~inside)), pairs.take(np.flatnonzero(inside))


def known_turns(pairs: TurnPairs) -> KnownTurns:
    """Return the distinct turns of the pairs."""
    seen: dict[str, Counter[str]] = {}
    for text, domain in zip(pairs.texts, pairs.domains, strict=True):
        seen.setdefault(text, Counter())[domain] += 1
    texts = sorted(seen)
    counts = np.array([seen[text].total() for text in texts], dtype=np.int64)
    domains = [min(seen[text].items(), key=lambda item: (-item[1], item[0]))[0] for text in texts]
    return KnownTurns(texts, counts, domains)


def encode_turns(encoder: Encoder, texts: list[str]) -> Floats:
    """Return the frozen vectors of turns, shape (n, dimension)."""
    return encode_rows(encoder, map(turn_fields, texts))


def trainable(pairs: TurnPairs, texts: list[str], turns: Floats, *, weighted: bool) -> Pairs:
    """Return the pairs as the training loop wants them; `texts` are the distinct turns, `turns` their vectors."""
    number = {text: i for i, text in enumerate(texts)}
    ids = np.array([number[text] for text in pairs.texts], dtype=np.int64)
    weights = pairs.weights if weighted else np.ones_like(pairs.weights)
    return Pairs(pairs.contexts, turns, ids, weights)


def _column(table: pa.Table, name: str, default: Any) -> list[Any]:
    if name not in table.column_names:
        return [default] * table.num_rows
    return [default if value is None else value for value in table[name].to_pylist()]


def _messages(table: pa.Table, example: int) -> Conversation:
    text = table["messages"][example].as_py()
    try:
        messages: Conversation = msgspec.json.decode(text, type=Conversation)
    except (msgspec.DecodeError, TypeError) as error:
        raise TrainingError(
            "E7311",
            f"row {example} of the dataset has no conversation in `messages` ({error})",
            "make the dataset again",
        ) from error
    return messages
