"""Loops over bytes and rows, compiled by numba where the input is large; shared by the stages that have such loops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    try:
        return cast("Callable[..., Any]", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # neither the install nor the user's cache can be written: compile in every process
        return cast("Callable[..., Any]", numba.njit(nogil=True)(function))


def compiled(function: F) -> F:
    """Return `function` compiled, without the interpreter lock; the machine code is cached beside its source.

    The first call with new argument types takes seconds where nothing is cached. Where the install is read-only, the
    cache is the user's.
    """
    return cast("F", _compile(function))
