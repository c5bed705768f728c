"""One thing that was looked at, and what it said."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from registry.errors import RatchetError


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def looked_at(name: str, look: Callable[[], str]) -> Check:
    """Look at one thing; whatever goes wrong in it is what it says, so that it hides no other."""
    try:
        return Check(name, True, look())
    except RatchetError as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
