"""What conversations ask and answer, as numbered words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.records import STORED_MESSAGES, StoredMessage

I64 = NDArray[np.int64]
WORD = re.compile(r"\w+")
BETWEEN = 0
"""The number that stands between two turns, so that no run of words goes over both."""
MOST_ASKED, MOST_ANSWERED, MOST_CHARACTERS = 3000, 800, 6000
"""Words of what is asked and of an answer, and characters of an answer, that are read: half from either end."""


class Said(NamedTuple):
    """What n conversations say: everything before the last assistant turn that is no assistant's, and that turn."""

    asked: list[I64]
    """Numbers of the words of system, user and tool turns, in their order, `BETWEEN` behind each turn."""
    answered: list[I64]
    """Numbers of the words of the last assistant turn."""
    questions: list[str]
    answers: list[str]
    names: list[str]
    """The word of each number."""


def read(messages: Sequence[str]) -> Said:
    """Read n conversations (JSON)."""
    numbers: dict[str, int] = {"\x1e": BETWEEN}
    said = Said([], [], [], [], [])
    for text in messages:
        before, answer = _turns(STORED_MESSAGES.decode(text))
        asked: list[int] = []
        for turn in before:
            asked += [numbers.setdefault(word, len(numbers)) for word in WORD.findall(turn.lower())]
            asked.append(BETWEEN)
        answered = [numbers.setdefault(word, len(numbers)) for word in WORD.findall(answer.lower())]
        said.asked.append(np.array(_ends(asked, MOST_ASKED), dtype=np.int64))
        said.answered.append(np.array(_ends(answered, MOST_ANSWERED), dtype=np.int64))
        said.questions.append(_ends(" ".join(before), MOST_CHARACTERS))
        said.answers.append(_ends(answer, MOST_CHARACTERS))
    return said._replace(names=list(numbers))


def _turns(messages: Sequence[StoredMessage]) -> tuple[list[str], str]:
    last = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    before = [_text(message) for message in messages[: max(last, 0)] if message.role != "assistant"]
    return before, _text(messages[last]) if last >= 0 else ""


def _text(message: StoredMessage) -> str:
    content = message.content or ""
    parts = [content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)]
    parts += [f"{call.function.name} {call.function.arguments}" for call in message.tool_calls or ()]
    return "\n".join(part for part in parts if part)


def _ends(sequence: Any, most: int) -> Any:
    """Return a list or a text, of a long one its two ends."""
    return sequence if len(sequence) <= most else sequence[: most // 2] + sequence[-(most // 2) :]
