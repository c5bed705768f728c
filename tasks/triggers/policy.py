"""The settings of the triggers."""

from __future__ import annotations

from registry.records import Record


class TriggerPolicy(Record):
    """When to retrain."""
