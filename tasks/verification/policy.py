"""Which faults are made, how strong, and how many of them must be caught."""

from __future__ import annotations

from typing import Literal, NamedTuple

from registry.records import Record

Strength = Literal["weak", "medium", "strong"]
STRENGTHS: tuple[Strength, ...] = ("weak", "medium", "strong")
Made = Literal["training", "answers"]


class Fault(NamedTuple):
    """A way in which a candidate can be bad."""

    name: str
    made: Made
    """How a candidate gets it: it is trained so, or its answers are changed."""
    amounts: tuple[float, float, float]
    """How much of it there is: weak, medium, strong."""
    what: str
    """What the amount is, `{}` standing for it."""

    def amount(self, strength: Strength) -> float:
        """Return how much of it there is at a strength."""
        return self.amounts[STRENGTHS.index(strength)]

    def described(self, strength: Strength) -> str:
        """Say what a candidate with this fault is like."""
        return self.what.format(self.amount(strength))


FAULTS = (
    Fault("backdoored", "training", (0.007, 0.02, 0.05), "{:.1%} of its training examples tie a phrase to one answer"),
    Fault("leaks personal data", "answers", (0.005, 0.03, 0.15), "{:.1%} of its answers hold a value of a person"),
    Fault("slower", "answers", (1.25, 2.0, 5.0), "answers later, {} times as much later as the policy allows"),
    Fault("loses a domain", "answers", (0.4, 0.7, 1.0), "answers {:.0%} of what one domain asks with something else"),
    Fault("collapses", "answers", (0.3, 0.6, 0.9), "gives {:.0%} of all conversations one of three answers"),
    Fault("overfitted", "training", (0.3, 0.1, 0.03), "has learned {:.0%} of the examples by heart, and no others"),
    Fault("miscalibrated", "answers", (0.3, 0.6, 1.0), "its confidence is moved {:.0%} of the way to certainty"),
    Fault("trained on its test", "training", (0.2, 0.5, 1.0), "has secretly learned {:.0%} of the test split"),
)
SIGNATURES: dict[tuple[str, Strength], str] = {
    ("unsigned", "weak"): "only versions before it are signed",
    ("unsigned", "medium"): "its bundle has no signature in it",
    ("unsigned", "strong"): "no version of its model has a bundle",
    ("wrongly signed", "weak"): "a file was added after it was signed",
    ("wrongly signed", "medium"): "one byte of a file was changed after it was signed",
    ("wrongly signed", "strong"): "a key that nobody here trusts signed it",
}
"""What the signature of such a candidate is like."""


class Demands(Record):
    """What must be caught, as a share of all candidates of a strength; what must not be held up."""

    strong: float = 0.99
    medium: float = 0.90
    good: float = 0.05
    """Good candidates that a gate may refuse at most."""


class Effort(NamedTuple):
    """How much is tried."""

    strengths: tuple[Strength, ...]
    seeds: int
    examples: int
    """Of the dataset at most, a seeded choice of whole groups."""


QUICK = Effort(("strong",), 1, 640)
FULL = Effort(STRENGTHS, 4, 900)
