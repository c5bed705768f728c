"""Numbers, times and texts as a person reads them. Nothing here knows what is reported."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple

DASH = "–"
FAR_MORE = 20_000
"""Cases beyond which it makes no sense to name a number."""
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))
_UNPRINTABLE = {
    code: f"⟨U+{code:04X}⟩"
    for code in (
        *range(0x00, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), 0x061C, 0x200B, 0x200E, 0x200F,
        *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xD800, 0xE000), 0xFFFE, 0xFFFF,
        *range(0xE0000, 0xE0080),
    )
}  # fmt: skip
"""Characters that hide, reorder or break text, and what is shown in their place."""


def printable(text: str) -> str:
    """Return `text` with every control, direction and surrogate character shown by its number."""
    return text.translate(_UNPRINTABLE)


def whole(value: float | None) -> str:
    """Return a count with separators, such as `12,345`."""
    return DASH if value is None else f"{value:,.0f}"


def decimal(value: float | None, places: int = 3) -> str:
    """Return a number with `places` digits after the point; the minus is a minus."""
    return DASH if value is None else f"{value:.{places}f}".replace("-", "−")


def percent(value: float | None, places: int = 1) -> str:
    """Return a share as `97.4 %`."""
    return DASH if value is None else f"{100 * value:.{places}f}\u00a0%".replace("-", "−")


def signed_percent(value: float | None, places: int = 1) -> str:
    """Return a relative change as `+3.1 %`; beyond a doubling as a factor, such as `2.8 ×`."""
    if value is None:
        return DASH
    if value >= 1:
        return f"{1 + value:.1f}\u00a0×"
    return f"{100 * value:+.{places}f}\u00a0%".replace("-", "−") if round(value, places + 2) else "0\u00a0%"


def against(change: float | None, baseline: float | None) -> str:
    """Return a relative change in words, such as `+3.1 % on the baseline's 0.700` or `2.2 × the baseline's 0.331`."""
    whose = f"the baseline's {decimal(baseline)}"
    if change is None:
        return whose.removeprefix("the ")
    return f"{signed_percent(change)}{' ' if change >= 1 else ' on '}{whose}"


def milliseconds(value: float | None) -> str:
    """Return a latency with three digits that count, such as `1.84 ms`."""
    if value is None:
        return DASH
    return f"{value:.0f}\u00a0ms" if value >= 100 else f"{value:.{1 if value >= 10 else 2}f}\u00a0ms"


def worded(name: str) -> str:
    """Return a reason's name as words, without touching dotted names: `low_quality` → `low quality`."""
    return name.replace("_", " ")


def more_cases(count: int | None) -> str:
    """Return how many more cases would decide, as a sentence; beyond what anybody collects, that it is too close."""
    if not count:
        return ""
    if count > FAR_MORE:
        return f"Too close to the threshold to tell: more than {whole(FAR_MORE)} further cases would be needed."
    return f"About {whole(count)} more case{'' if count == 1 else 's'} would decide."


def duration(seconds: float) -> str:
    """Return seconds as `340 ms`, `4.2 s` or `3 min 20 s`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f}\u00a0ms"
    if seconds < 120:
        return f"{seconds:.1f}\u00a0s"
    return f"{int(seconds) // 60}\u00a0min {int(seconds) % 60}\u00a0s"


def size(count: int) -> str:
    """Return bytes as `12.3 MB`, powers of 1,024."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f}\u00a0{name}"
    return f"{count}\u00a0B"


def moment(time: str) -> str:
    """Return an ISO 8601 time as `20 November 2026, 19:04 UTC`; a text that is no time stays as it is."""
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        return time
    parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return f"{parsed.day} {_MONTHS[parsed.month - 1]} {parsed.year}, {parsed:%H:%M} UTC"


def plain(name: str) -> str:
    """Return a machine's name as words: `near_duplicate` → `near duplicate`."""
    return re.sub(r"[_\-.]+", " ", name).strip()


def shortened(text: str, limit: int) -> str:
    """Return `text` with at most `limit` characters, an ellipsis in place of the rest."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


class Piece(NamedTuple):
    """A part of a text, and whether it is the same in the text that it is compared with."""

    text: str
    kind: Literal["same", "other"]


def compared(text: str, reference: str) -> list[Piece]:
    """Cut `text` into pieces that are, and are not, in `reference` in the same order."""
    words, others = re.findall(r"\s+|\w+|[^\w\s]", text), re.findall(r"\s+|\w+|[^\w\s]", reference)
    pieces: list[Piece] = []
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if end > start:
            cut = "".join(words[start:end])
            pieces.append(Piece(cut, "same" if tag == "equal" or cut.isspace() else "other"))
    return _joined(pieces)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join differing pieces that only a space lies between, so that a reader sees phrases and not confetti."""
    joined: list[Piece] = []
    for i, piece in enumerate(pieces):
        between = piece.text.isspace() and 0 < i < len(pieces) - 1
        kind = "other" if between and pieces[i - 1].kind == pieces[i + 1].kind == "other" else piece.kind
        if joined and joined[-1].kind == kind:
            joined[-1] = Piece(joined[-1].text + piece.text, kind)
        else:
            joined.append(Piece(piece.text, kind))
    return joined
