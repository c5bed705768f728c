"""Python's garbage collector, out of the way while many objects are made that all live as long as their batch."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

MANY = 500
"""Objects from which it pays."""
_guard = threading.Lock()
_paused = 0
"""How many threads want it off now."""
_was_on = False


@contextlib.contextmanager
def uncollected(objects: int) -> Iterator[None]:
    """Turn the collector off while a batch of so many objects is made, unless they are few.

    It goes on when the last of several threads is done, also after an error, and only if it was on before.
    """
    if objects < MANY:
        yield
        return
    _pause()
    try:
        yield
    finally:
        _resume()


def _pause() -> None:
    global _paused, _was_on
    with _guard:
        if _paused == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _paused += 1


def _resume() -> None:
    global _paused
    with _guard:
        _paused = max(_paused - 1, 0)
        if _paused == 0 and _was_on:
            gc.enable()


def _after_fork() -> None:
    """In a child the threads that had paused it are gone."""
    global _guard, _paused
    _guard = threading.Lock()
    if _paused and _was_on:
        gc.enable()
    _paused = 0


os.register_at_fork(after_in_child=_after_fork)
