"""Settings of the extraction."""

from __future__ import annotations

from pydantic import Field

from registry.records import Record


class ExtractionPolicy(Record):
    """How events are read and what is done with lines that are not events."""

    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the lines that may be rejected; above it the run stops before training, with E7010."""
    max_event_bytes: int = Field(default=262_144, ge=1_024, le=1_073_741_824)
    """Longest line taken as an event, in bytes. CloudEvents asks for 64 KiB at least; brokers take 256 KiB."""
    max_raw_bytes: int = Field(default=1_048_576, ge=1_024)
    """How much of a rejected line is kept in `rejects.jsonl`, in bytes. Shorter lines are kept whole."""
    partition_bytes: int = Field(default=16_777_216, ge=65_536)
    """Input bytes a partition. Memory is bounded by it; it also decides the order in which rows are written."""
    score_spread: float = Field(default=30.0, ge=0, le=100)
    """Several scores of one trace that lie further apart than this many points send it to review."""
