"""Lines that are not events: what was wrong, where, and the line itself. Nothing is lost."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from registry.errors import ExtractionError
from registry.records import EventCounts
from tasks.extraction.policy import ExtractionPolicy

CODES: dict[str, str] = {
    "E7020": "not valid UTF-8",
    "E7021": "not JSON",
    "E7022": "JSON, but not an object",
    "E7023": "a required attribute is missing or empty",
    "E7024": "specversion is not 1.0",
    "E7025": "a field has the wrong type",
    "E7026": "NaN or Infinity, which JSON does not have",
    "E7027": "nested too deep",
    "E7028": "too large",
    "E7029": "a lone surrogate, which is not a character",
    "E7030": "a NUL character",
    "E7031": "time is not an RFC 3339 timestamp",
    "E7032": "a number that no double can hold",
}
"""Code of a rejected line to its meaning."""

SHOWN_REASONS = 5


class Fault(NamedTuple):
    """Why a line is not an event: a code of `CODES` and a sentence."""

    code: str
    reason: str


class Reject(NamedTuple):
    """One line that is not an event."""

    file: str
    """Path of the input as it was given."""
    line: int
    """Line number from 1; in the piece that was read until `tasks.extraction.resolve.numbered` makes it the file's."""
    offset: int
    """Byte offset of the line in the file (in the decompressed text of a compressed one)."""
    code: str
    reason: str
    raw: str
    """The line; bytes that are not UTF-8 are shown as `\\xNN`."""
    raw_base64: str | None
    """The exact bytes of a line that is not valid UTF-8, else None."""
    bytes: int
    """Length of the line. Only its first `max_raw_bytes` are kept."""
    piece: int = 0
    """Byte offset of the piece that the line was read in."""


def rejected(fault: Fault, line: bytes, file: str, limit: int, size: int = 0) -> Reject:
    """Return the reject of `line`, not yet placed; `size` is its true length where the line was already cut."""
    kept = line[:limit]
    try:
        raw, exact = kept.decode(), None
    except UnicodeDecodeError:
        raw, exact = kept.decode(errors="backslashreplace"), base64.b64encode(kept).decode()
    return Reject(file, 0, 0, fault.code, fault.reason, raw, exact, size or len(line))


def write_rejects(rejects: Iterable[Reject], path: Path) -> int:
    """Write `rejects` as JSON Lines to `path` and return how many there were."""
    encoder = msgspec.json.Encoder()
    count = 0
    with path.open("wb") as stream:
        for reject in rejects:
            row = reject._asdict()
            del row["piece"]
            if reject.raw_base64 is None:
                del row["raw_base64"]
            stream.write(encoder.encode(row) + b"\n")
            count += 1
    return count


def check_reject_share(events: EventCounts, policy: ExtractionPolicy) -> None:
    """Stop when too many lines are not events, or when there is no event at all.

    Raises:
        ExtractionError: E7010 above `policy.max_reject_share`, E7011 when every line was rejected, E7012 when the
            input holds no line.
    """
    if not events.read:
        raise ExtractionError(
            "E7012", "the input holds no event: every line is blank", "give files with one CloudEvent a line"
        )
    share = events.rejected / events.read
    reasons = Counter({code: events.by_reason[code] for code in CODES if events.by_reason.get(code)})
    top = ", ".join(f"{count} {code} {CODES[code]}" for code, count in reasons.most_common(SHOWN_REASONS))
    if events.rejected == events.read:
        raise ExtractionError(
            "E7011",
            f"none of the {events.read} lines is an event ({top})",
            "give JSON Lines of CloudEvents 1.0; rejects.jsonl in the run's folder (HOME/runs/) has each line's reason",
        )
    if share > policy.max_reject_share:
        raise ExtractionError(
            "E7010",
            f"{events.rejected} of {events.read} lines ({share:.1%}) are not events,"
            f" above the limit of {policy.max_reject_share:.1%} ({top})",
            "mend the input (rejects.jsonl in the run's folder, HOME/runs/, has every line with its reason) or raise"
            " extraction.max_reject_share",
        )
