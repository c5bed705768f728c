"""The loops over examples, compiled by numba where there are many. Every function here is plain Python on numpy arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]

BASE, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
BLANK = np.uint8(32)


@functools.cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    try:
        return cast("Callable[..., Any]", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # neither the install nor the user's cache can be written: compile in every process
        return cast("Callable[..., Any]", numba.njit(nogil=True)(function))


def compiled(function: F) -> F:
    """Return `function` compiled. The first call takes a second where nothing is cached."""
    return cast("F", _compile(function))


def path_sums(features: Floats, feature: Integers, threshold: Floats, length: Floats, depth: int, total: Floats) -> None:
    """Add up the path lengths of (n, f) features over all trees of a forest into `total`, shape (n,).

    The other arguments are those of `tasks.filtering.forest.Forest`.
    """
    for row in range(features.shape[0]):
        found = 0.0
        for tree in range(feature.shape[0]):
            node = 0
            for _ in range(depth):
                right = features[row, feature[tree, node]] > threshold[tree, node]
                node = 2 * node + (2 if right else 1)
            found += length[tree, node - (2**depth - 1)]
        total[row] = found
