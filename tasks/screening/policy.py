"""The settings of screening."""

from __future__ import annotations

from pydantic import Field

from registry.records import Record


class ScreeningPolicy(Record):
    """What of the accepted examples is suspected of being planted, and goes to review instead of into the dataset."""

    enabled: bool = True
    """Whether examples are screened at all."""
    examples: int = Field(default=10_000, ge=200, le=1_000_000)
    """Examples that are searched for ties at most, a seeded sample where there are more; what is found is then looked
    for in all of them. A tie that fewer than `support` examples of the sample show is not found."""
    support: int = Field(default=5, ge=3, le=1000)
    """Examples, no two alike without the words of the tie, that must show a tie."""
    share: float = Field(default=0.15, gt=0.0, le=0.5)
    """Share of the examples above which a run of words is ordinary language; up to 40 examples it is never."""
    suspicion: float = Field(default=0.33, gt=0.0, lt=1.0)
    """Suspicion from which a tie goes to review, see `tasks.screening.weigh`. Planted ties are at 0.4 to 1, those of
    clean data below 0.3."""
    known: int = Field(default=25, ge=5, le=1_000_000)
    """Examples of the version before that show a tie, from which on it is taken for known."""
    allow: tuple[str, ...] = Field(default=(), max_length=1000)
    """Words that are not suspected any more, as `suspected.json` names them in `words`: a review found them right."""
