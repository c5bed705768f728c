"""The low-rank update (Hu et al. 2021, LoRA) of the frozen base's two towers, and its gradients.

For a frozen vector x of length 1, with down (d, r), up (r, d) and s = alpha / r:

    h = x + s · (x · down) · up        z = h / |h|

`up` starts as zeros, so that an untrained adapter is exactly the base. Contexts and turns have an update
each; a context is compared with a turn by the cosine z_context · z_turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.training.encoder import Floats


class Tower(NamedTuple):
    """The update of one side: down (d, r), up (r, d)."""

    down: Floats
    up: Floats


class Adapter(NamedTuple):
    """The updates of both sides, and their scale alpha / rank."""

    context: Tower
    turn: Tower
    scale: float

    @property
    def weights(self) -> list[Floats]:
        """The four matrices in the order that the trainer updates them."""
        return [*self.context, *self.turn]

    def copy(self) -> Adapter:
        """Return an adapter with matrices of its own."""
        return Adapter(Tower(*map(np.copy, self.context)), Tower(*map(np.copy, self.turn)), self.scale)


class Pass(NamedTuple):
    """A forward pass of n rows: z (n, d), and what its gradient needs."""

    rows: Floats
    z: Floats
    low: Floats
    lengths: Floats


def new_adapter(dimension: int, rank: int, alpha: float, rng: np.random.Generator) -> Adapter:
    """Return an adapter that changes nothing yet: down ~ N(0, 1/dimension), up = 0."""

    def tower() -> Tower:
        down = rng.standard_normal((dimension, rank), dtype=np.float32) / np.float32(np.sqrt(dimension))
        return Tower(down, np.zeros((rank, dimension), dtype=np.float32))

    return Adapter(tower(), tower(), alpha / rank)


def zero_adapter(like: Adapter) -> Adapter:
    """Return the adapter of the same form whose update is zero: the frozen base."""
    return Adapter(
        Tower(like.context.down, np.zeros_like(like.context.up)),
        Tower(like.turn.down, np.zeros_like(like.turn.up)),
        like.scale,
    )


def forward(rows: Floats, tower: Tower, scale: float) -> Pass:
    """Run n frozen rows (n, d) through one side."""
    low = rows @ tower.down
    low *= np.float32(scale)
    z = np.matmul(low, tower.up, dtype=np.float32)
    z += rows
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", z, z))[:, None]
    lengths[lengths == 0] = 1  # an empty text has no direction
    z /= lengths
    return Pass(rows, z, low, lengths)


def adapt(rows: Floats, tower: Tower, scale: float) -> Floats:
    """Return z (n, d) of n frozen rows."""
    return forward(rows, tower, scale).z if tower.up.any() else rows


def gradients(done: Pass, grad_z: Floats, tower: Tower, scale: float) -> tuple[Floats, Floats]:
    """Return the gradients of down and up, given the loss's gradient by z. Overwrites `grad_z`.

    Through z = h/|h|: g_h = (g_z − z (z · g_z)) / |h|; then g_up = s (x down)ᵀ g_h and g_down = s xᵀ (g_h upᵀ).
    """
    grad_z -= done.z * np.einsum("ij,ij->i", grad_z, done.z)[:, None]
    grad_z /= done.lengths
    back = grad_z @ tower.up.T
    back *= np.float32(scale)
    return done.rows.T @ back, done.low.T @ grad_z
