"""The settings of training."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from registry.records import Record


class TrainingPolicy(Record):
    """How an adapter is trained, and on which base."""

    backend: str = Field(default="simulated", pattern=r"^(simulated|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
    """`simulated`, or your own backend as `package.module:name` (docs/training-backend.md)."""
    dimension: int = Field(default=512, ge=64, le=4096)
    """Dimensions of the frozen base; a power of two."""
    base_seed: int = Field(default=7, ge=0, lt=2**32)
    """Seed of the frozen base's projection. Adapters of different bases cannot be compared or continued."""
    rank: int = Field(default=16, ge=1, le=256)
    """Rank of the low-rank update, of the context side and of the turn side."""
    alpha: float = Field(default=32.0, gt=0.0, le=1024.0)
    """Scale of the update: it is multiplied by alpha / rank."""
    epochs: int = Field(default=10, ge=1, le=1000)
    """Passes over the training pairs at most; the epoch with the least validation loss is kept."""
    patience: int = Field(default=4, ge=1, le=1000)
    """Epochs without a better validation loss after which training stops."""
    batch_size: int = Field(default=128, ge=2, le=8192)
    """Pairs a step: each turn of a batch is a negative for the others' contexts, unless it is the same text."""
    learning_rate: float = Field(default=0.006, gt=0.0, le=1.0)
    """Peak of the learning rate, after a short warm-up; it falls to zero as a cosine."""
    incremental_rate: float = Field(default=0.15, gt=0.0, le=1.0)
    """Share of `learning_rate` that a training which goes on from the champion uses."""
    weight_decay: float = Field(default=0.01, ge=0.0, le=10.0)
    """Pull of the weights towards where they started: the warm start, or the champion's weights."""
    ridge: float = Field(default=1.0, gt=0.0, le=1e6)
    """Regularisation of the warm start, a regression from contexts to turns of the adapter's rank."""
    warm_gain: float = Field(default=1.0, ge=0.0, le=100.0)
    """How strongly the warm start is added to the base; 0 starts from no update at all."""
    temperature: float = Field(default=0.1, gt=0.0, le=10.0)
    """Of the contrastive loss: cosines are divided by it."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of a context's coordinates that are hidden in each step."""
    quality_weighting: bool = True
    """Whether a pair counts by its example's composite score."""
    consensus_temperature: float = Field(default=0.08, gt=0.0, le=10.0)
    """Of the distribution over the best-ranked turns that are weighed against each other."""
    frequency: float = Field(default=0.5, ge=0.0, le=1.0)
    """How much more a turn weighs that was said often: by its count to this power; 0 takes all turns as equal."""
    consensus: int = Field(default=64, ge=1, le=1024)
    """Best-ranked turns that are weighed against each other for the answer; 1 takes the best-ranked as it is."""
    max_pairs: int = Field(default=250_000, ge=1, le=10_000_000)
    """Training pairs at most; of more, a seeded sample is learned from. Known turns are of that sample, too."""
    max_validation_pairs: int = Field(default=2_000, ge=1, le=1_000_000)
    """Validation pairs at most, a seeded sample of more."""

    @field_validator("dimension")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("dimension must be a power of two")
        return value

    @model_validator(mode="after")
    def _low_rank(self) -> Self:
        if self.rank >= self.dimension:
            raise ValueError(f"rank {self.rank} must be below dimension {self.dimension}")
        return self
