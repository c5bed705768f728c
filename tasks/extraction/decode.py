"""From a block of lines to typed events: fast where a line is as it should be, exact where it is not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

import msgspec

from tasks.extraction.event import KNOWN_TYPES, Event, has_its_data, read_line, too_large
from tasks.extraction.lines import Block
from tasks.extraction.policy import ExtractionPolicy
from tasks.extraction.rejects import Fault, Reject, rejected

MAX_TYPES = 50
"""How many ignored types a block counts by name; the rest are counted together."""
MAX_TYPE_NAME = 80
OTHER_TYPES = "other types"
MAX_SOURCES, MAX_SOURCE_NAME = 200, 500
"""How many barred sources a block counts by name, and how long a name may be."""
OTHER_SOURCES = "other sources"
ESCAPED_NUL = b"\\u0000"

_escaped_nul = re.compile(re.escape(ESCAPED_NUL)).search  # twice as fast as `in`, which matters for whole blocks
_decode = msgspec.json.Decoder(Event).decode


class Decoder:
    """Reads the lines of one block. Every line that is not blank is an event, ignored or refused."""

    def __init__(self, block: Block, policy: ExtractionPolicy, refused: Mapping[int, Fault] | None = None) -> None:
        """Read `block`, in which some lines are refused already."""
        self.block, self.policy = block, policy
        self.lines = block.data.split(b"\n")
        self.faults: dict[int, Fault] = dict(refused or {})
        """Refused lines: place in the block to the reason."""
        self.ignored: Counter[str] = Counter()
        """Events of types that the main job does not use, by type."""
        self.barred: Counter[str] = Counter()
        """Events of sources that may not teach, by source."""
        self._careful = _escaped_nul(block.data) is not None or not _is_text(block.data)

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield (place in the block, event) for the known types; refuse and count the other lines on the way."""
        refused = frozenset(self.faults)
        for place, line in enumerate(self.lines):
            if place in refused:
                continue
            event = self._fast(line) or self._exact(place, line)
            if event is None:
                continue
            if event.type in KNOWN_TYPES:
                yield place, event
            else:
                name = event.type[:MAX_TYPE_NAME]
                self.ignored[name if name in self.ignored or len(self.ignored) < MAX_TYPES else OTHER_TYPES] += 1

    def bar(self, source: str) -> None:
        """Count an event whose source may not teach."""
        known = source in self.barred or len(self.barred) < MAX_SOURCES
        self.barred[source[:MAX_SOURCE_NAME] if known else OTHER_SOURCES] += 1

    def rejects(self, file: str) -> list[Reject]:
        """Return the refused lines with their place in `file`, in order."""
        if not self.faults:
            return []
        block, limit = self.block, self.policy.max_raw_bytes
        starts = list(accumulate((len(line) + 1 for line in self.lines), initial=block.offset))
        return [
            rejected(self.faults[place], self.lines[place], file, limit, block.cut)._replace(
                line=block.first_line + place, offset=starts[place], piece=block.start
            )
            for place in sorted(self.faults)
        ]

    def _fast(self, line: bytes) -> Event | None:
        """Return the event of a line that is as it should be, None for any other line."""
        if len(line) > self.policy.max_event_bytes:
            return None
        if self._careful and (ESCAPED_NUL in line or not _is_text(line)):
            return None
        try:
            event = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if event.specversion == "1.0" and event.id and event.source and event.type:
            return event if has_its_data(event) or event.type not in KNOWN_TYPES else None
        return None

    def _exact(self, place: int, line: bytes) -> Event | None:
        """Return the event of a line that the fast way refused; note why if it is none."""
        if self.block.cut:
            event: Event | Fault | None = Fault("E7028", too_large(self.block.cut, self.policy))
        else:
            event = read_line(line, self.policy)
        if isinstance(event, Fault):
            self.faults[place] = event
            return None
        return event


def _is_text(data: bytes) -> bool:
    """Return whether `data` is valid UTF-8; msgspec does not look at the keys and texts that it skips."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
