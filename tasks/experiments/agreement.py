"""Shadow mode: how alike the challenger's unseen answers and the served ones are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from registry.records import token_f1_pairs


def agreement(shadows: Iterable[Mapping[str, Any]], served: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the token-F1 of each shadow answer and the answer that was served in its place.

    Args:
        shadows: Data of the shadows' events; `shadow_of` names the served trace.
        served: Data of the served answers' events.
    """
    answers = {data.get("trace_id"): data.get("output") for data in served}
    pairs = [(data.get("output"), answers.get(data.get("shadow_of"))) for data in shadows]
    both = [(mine, theirs) for mine, theirs in pairs if isinstance(mine, str) and isinstance(theirs, str)]
    if not both:
        return []
    mine, theirs = zip(*both, strict=True)
    return [float(value) for value in token_f1_pairs(mine, theirs)]
