"""What an example is about and how hard it is, from its trace alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"
LONGEST_DOMAIN = 100
"""A given domain with more characters is not a name; the text decides instead."""
CLASSIFIED_CHARACTERS = 4_000

DOMAIN_WORDS: dict[str, str] = {
    "travel": r"flights?|airports?|airlines?|hotels?|trips?|travel\w*|itinerar\w+|luggage|baggage|passports?|visas?|"
    r"bookings?|reservations?|vacations?|boarding|train tickets?|rental car",
    "coding": r"python|javascript|typescript|java|rust|golang|sql|code|bugs?|functions?|compil\w+|stack ?trace|"
    r"exceptions?|refactor\w*|unit tests?|git|commits?|pull requests?|api|regex|docker|repository|debug\w*",
    "planning": r"plans?|planning|schedul\w+|agenda|milestones?|roadmap|calendar|deadlines?|timelines?|to-?do|"
    r"meetings?|organi[sz]e",
    "customer_service": r"refunds?|invoices?|billing|subscriptions?|complaints?|warranty|shipping|delivery|account|"
    r"cancel\w*|exchange|orders?",
    "mathematics": r"equations?|integrals?|derivatives?|theorems?|algebra|geometry|probability|sum of|prime numbers?",
    "writing": r"poems?|haikus?|essays?|stor(?:y|ies)|blog posts?|rewrite|paraphrase|summar\w+|translat\w+|slogans?",
    "qa": r"who|whom|whose|when|where|which|what|why|how (?:many|much|old|long|far)|is it true",
}
"""Words and phrases of a domain. Most hits win; a tie goes to the first listed; `qa` only if no other has any."""

_PATTERNS = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in DOMAIN_WORDS.items()}
_QA = _PATTERNS.pop("qa")

DIFFICULTIES = ("easy", "medium", "hard")
MEDIUM_LOAD, HARD_LOAD = 6.0, 16.0


def domain_of(given: str | None, prompt: str, tools: Iterable[str] = ()) -> str:
    """Return the domain: as given, else the one whose words the prompt and the tools' names hold most, else `unknown`.

    >>> domain_of(None, "Please find me a flight and a hotel in Rome")
    'travel'
    """
    if given and (name := given.strip()) and len(name) <= LONGEST_DOMAIN:
        return name
    text = " ".join([prompt[:CLASSIFIED_CHARACTERS], *(tool.replace("_", " ") for tool in tools)])
    hits = {name: len(pattern.findall(text)) for name, pattern in _PATTERNS.items()}
    best = max(hits, key=lambda name: hits[name])
    if hits[best]:
        return best
    return "qa" if _QA.search(text) or "?" in text else UNKNOWN


def loads(
    turns: NDArray[np.int64], calls: NDArray[np.int64], tools: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how much work each of n traces was: turns + calls + 2 · distinct tools + kilobytes of conversation.

    Args:
        turns: User and assistant messages.
        calls: Tool calls.
        tools: Distinct tools.
        size: Bytes of the conversation as JSON.
    """
    return (turns + calls + 2 * tools) + size / 1000.0


def difficulties(load: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the index in `DIFFICULTIES`: easy below a load of 6, hard from 16 on, else medium."""
    return ((load >= MEDIUM_LOAD).astype(np.int8) + (load >= HARD_LOAD).astype(np.int8)).astype(np.int8)
