"""From a block of lines to typed events: fast where a line is as it should be, exact where it is not."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import NamedTuple

import msgspec
import pyarrow as pa

from tasks.extraction.event import KNOWN_TYPES, Event, has_its_data, nesting, read_line
from tasks.extraction.lines import Block
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Fault, Reject, rejected
from tasks.extraction.times import read_times

MAX_TYPES = 50
"""How many ignored types a block counts by name; the rest are counted together."""
MAX_TYPE_NAME = 80
OTHER_TYPES = "other types"
ESCAPED_NUL = b"\\u0000"

_decode = msgspec.json.Decoder(Event).decode


class Decoded(NamedTuple):
    """What the lines of one block are. Every line that is not blank is an event, ignored or a reject."""

    events: list[Event]
    """Events of known types, in their order."""
    places: list[int]
    """Their places in the block."""
    times: pa.Array
    """Their times, timestamp[us, UTC]."""
    zoneless: int
    """How many of the times say no zone."""
    ignored: Counter[str]
    """Events of other types, by type."""
    rejects: list[Reject]


def decode_block(block: Block, file: str, policy: ExtractionPolicy) -> Decoded:
    """Read every line of `block`; `file` is what rejects call the file."""
    lines = block.data.split(b"\n")
    careful = ESCAPED_NUL in block.data or not _is_text(block.data)
    events: list[Event] = []
    places: list[int] = []
    faults: dict[int, Fault] = {}
    ignored: Counter[str] = Counter()
    for place, line in enumerate(lines):
        event = _fast(line, careful, policy) or _exact(line, block.cut, policy)
        if isinstance(event, Event):
            if event.type in KNOWN_TYPES:
                events.append(event)
                places.append(place)
            else:
                _count_type(ignored, event.type)
        elif event is not None:
            faults[place] = event
    times = read_times([event.time for event in events])
    for row in reversed(times.unreadable):
        faults[places.pop(row)] = Fault("E7031", f"time is {str(events.pop(row).time)[:40]!r}")
    if times.unreadable:
        times = read_times([event.time for event in events])
    return Decoded(events, places, times.column, times.zoneless, ignored, _rejects(faults, lines, block, file, policy))


def _fast(line: bytes, careful: bool, policy: ExtractionPolicy) -> Event | None:
    """Return the event of a line that is as it should be, None for any other line."""
    if (
        len(line) > policy.max_event_bytes
        or (line.count(b"{") + line.count(b"[") > policy.max_nesting and nesting(line) > policy.max_nesting)
        or (careful and (ESCAPED_NUL in line or not _is_text(line)))
    ):
        return None
    try:
        event = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not (event.specversion == "1.0" and event.id.strip() and event.source.strip() and event.type.strip()):
        return None
    return event if event.type not in KNOWN_TYPES or has_its_data(event) else None


def _exact(line: bytes, cut: int, policy: ExtractionPolicy) -> Event | Fault | None:
    """Return what `read_line` says of a line; of a cut one, that it is too long."""
    if cut:
        return Fault("E7028", f"the line has {cut} bytes, the limit is {policy.max_event_bytes}")
    return read_line(line, policy)


def _is_text(data: bytes) -> bool:
    """Return whether `data` is valid UTF-8; msgspec does not look at the keys and texts that it skips."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _count_type(ignored: Counter[str], name: str) -> None:
    name = name[:MAX_TYPE_NAME]
    ignored[name if name in ignored or len(ignored) < MAX_TYPES else OTHER_TYPES] += 1


def _rejects(
    faults: dict[int, Fault], lines: list[bytes], block: Block, file: str, policy: ExtractionPolicy
) -> list[Reject]:
    """Return the refused lines of a block with their place in the file, in order."""
    if not faults:
        return []
    starts = list(accumulate((len(line) + 1 for line in lines), initial=block.offset))
    return [
        rejected(faults[place], lines[place], file, policy.max_raw_bytes, block.cut)._replace(
            line=block.first_line + place, offset=starts[place], piece=block.start
        )
        for place in sorted(faults)
    ]
