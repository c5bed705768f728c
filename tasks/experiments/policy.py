"""The settings of experiments and of the bake period."""

from __future__ import annotations

from registry.records import Record


class ExperimentPolicy(Record):
    """How a challenger is tried, and when it wins."""
