"""The columns in which a partition's examples and feedback travel."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.extraction.keys import Keys

EXAMPLES = pa.schema(
    [
        ("position", pa.uint32()),
        ("event_key", pa.uint64()),
        ("content_key", pa.uint64()),
        ("trace_key", pa.uint64()),
        ("work_key", pa.uint64()),
        ("subject_key", pa.uint64()),
        ("session_key", pa.uint64()),
        ("prompt_key", pa.uint64()),
        ("flags", pa.uint32()),
        ("failed", pa.bool_()),
        ("example_id", pa.string()),
        ("messages", pa.large_string()),
        ("said", pa.large_string()),
        ("answers", pa.uint32()),
        ("calls", pa.uint32()),
        ("domain", pa.string()),
        ("task_type", pa.string()),
        ("difficulty", pa.string()),
        ("subject", pa.string()),
        ("session", pa.string()),
        ("quality", pa.float64()),
        ("confidence", pa.float64()),
        ("model_version", pa.string()),
        ("agent", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("event_source", pa.string()),
        ("event_id", pa.string()),
        ("trace_id", pa.string()),
    ]
)
"""One row a trace event.

`position` orders a part's examples and feedback. Keys are 0 where there is nothing to key; `work_key` is that of trace
and agent, `content_key` that of the messages and scores. `flags` are bits of `registry.records.Reason`. `messages` is
`[]` where the flags say that the trace teaches nothing. `said` is what the assistant says and calls, with blanks
between, `answers` how many messages that are, and `calls` how many calls.
"""

FEEDBACK = pa.schema(
    [
        ("position", pa.uint32()),
        ("event_key", pa.uint64()),
        ("content_key", pa.uint64()),
        ("trace_key", pa.uint64()),
        ("user_key", pa.uint64()),
        ("time", pa.int64()),
        ("score", pa.float64()),
    ]
)
"""One row a `feedback.recorded` event; a null score said nothing that is a number. `user_key` is that of the source
where nobody says who gave it; `time` is in microseconds from 1970, `tasks.extraction.rows.NO_TIME` where there is
none."""


class JsonColumn:
    """A growing column of JSON texts in one buffer, each digested as it is added."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._data = bytearray()
        self._ends = [0]
        self.digests: list[bytes] = []
        """sha256 of every text, also of those that were left out."""
        self.sizes: list[int] = []
        """Bytes of every text, also of those that were left out."""

    def add(self, value: object, *, keep: bool) -> None:
        """Add `value` as JSON; the empty list in its place unless `keep`."""
        data = self._data
        start = len(data)
        self._encoder.encode_into(value, data, start)
        with memoryview(data) as view:
            self.digests.append(sha256(view[start:]).digest())
        self.sizes.append(len(data) - start)
        if not keep:
            del data[start:]
            data += b"[]"
        self._ends.append(len(data))

    def array(self) -> pa.Array:
        """Return the texts as a `large_string` array without copying them."""
        ends = np.array(self._ends, dtype=np.int64)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)


def example_ids(digests: Sequence[bytes]) -> pa.Array:
    """Return sha256 digests as a column of hexadecimal texts."""
    ends = np.arange(len(digests) + 1, dtype=np.int32) * 64
    text = b"".join(digests).hex().encode()
    return pa.Array.from_buffers(pa.string(), len(digests), [None, pa.py_buffer(ends), pa.py_buffer(text)])


def content_keys(digests: Sequence[bytes], *numbers: NDArray[np.float64]) -> Keys:
    """Return one key an example: what it says (its digest) and how it was judged (`numbers`, NaN where missing)."""
    words = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 4)[:, 0].astype(np.uint64)
    for number in numbers:
        bits = np.where(np.isnan(number), -1.0, number).view(np.uint64)
        words = words * np.uint64(0x9E3779B97F4A7C15) ^ (bits + (bits >> np.uint64(32)))
    return words
