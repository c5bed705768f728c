"""The one error tree.

Every failure a user can meet is a `RatchetError` with a code, what happened, and what to do:

    RatchetError
    ├── ExtractionError   E70xx  events could not be read
    ├── FilteringError    E71xx  nothing is left to learn from
    ├── CurationError     E72xx  a dataset could not be made, found or trusted
    ├── TrainingError     E73xx  an adapter could not be trained or loaded
    ├── ValidationError   E74xx  a candidate could not be examined
    ├── PromotionError    E75xx  the registry or a gate refuses
    ├── PreferenceError   E76xx  preference learning
    ├── TriggerError      E77xx  triggers and experiments
    ├── SettingsError     E78xx  settings, policy, servers, disk
    └── IntegrityError    E79xx  what is stored is not what was recorded

The command line prints `str(error)` and exits 1; it never shows a traceback unless asked with `--debug`.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED = 20
"""How many failures of one kind a message lists before it counts the rest."""


class RatchetError(Exception):
    """A failure with a code, what happened and what to do about it.

    Attributes:
        code: `E7000` to `E7999`; the range names the kind (see the module's docstring).
        what: What happened, one sentence without a full stop.
        todo: What the reader can do, one sentence without a full stop.
    """

    first, last = 7000, 7999

    def __init__(self, code: str, what: str, todo: str) -> None:
        number = int(code.removeprefix("E"))
        assert self.first <= number <= self.last, f"{code} is outside {type(self).__name__}'s range"
        super().__init__(code, what, todo)  # all three, so that the error survives pickling between processes
        self.code, self.what, self.todo = code, what, todo

    def __str__(self) -> str:
        return f"{self.code}: {self.what}; {self.todo}"


class ExtractionError(RatchetError):
    """Events could not be read."""

    first, last = 7000, 7099


class FilteringError(RatchetError):
    """Nothing is left to learn from."""

    first, last = 7100, 7199


class CurationError(RatchetError):
    """A dataset could not be made, found or trusted."""

    first, last = 7200, 7299


class TrainingError(RatchetError):
    """An adapter could not be trained or loaded."""

    first, last = 7300, 7399


class ValidationError(RatchetError):
    """A candidate could not be examined."""

    first, last = 7400, 7499


class PromotionError(RatchetError):
    """The registry or a gate refuses."""

    first, last = 7500, 7599


class PreferenceError(RatchetError):
    """Preference learning failed."""

    first, last = 7600, 7699


class TriggerError(RatchetError):
    """A trigger or an experiment failed."""

    first, last = 7700, 7799


class SettingsError(RatchetError):
    """Settings, policy, servers or disk are not as they must be."""

    first, last = 7800, 7899


class IntegrityError(RatchetError):
    """What is stored is not what was recorded."""

    first, last = 7900, 7999


def listed(failures: Sequence[str], limit: int = MAX_LISTED) -> str:
    """Join failures for one message: all of them up to `limit`, then how many more there are."""
    shown = "; ".join(failures[:limit])
    more = len(failures) - limit
    return f"{shown}; and {more} more" if more > 0 else shown
