"""Personal data and secrets: recall and precision by kind, evasions, and documents a second on one core.

python -m benchmarks.run --only redaction
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.figures import Figure, figure
from benchmarks.personal_data import EVASIONS, OF_ADDRESSES, OF_NUMBERS, VALUES, labelled
from tasks.curation.policy import USUAL_KINDS
from tasks.curation.redact import redact

COUNT = 300
EVENTS = Path(__file__).parents[1].parent / "shared" / "data" / "events"


EVADED = {
    "EMAIL": ("jane.doe@example.com", OF_ADDRESSES),
    "CARD": ("4111 1111 1111 1111", OF_NUMBERS),
    "SSN": ("123-45-6789", OF_NUMBERS),
    "IBAN": ("DE89 3704 0044 0532 0130 00", OF_NUMBERS),
    "API_KEY": ("sk_live_" + "4eC39HqLyjWD4eC39HqLyjWD", {}),
}
LEAST = {"travelplanner_plans": 1500}
"""Documents a second that a file must reach; 5,000 where it is not named."""


def results(folder: Path) -> list[Figure]:
    """Return the figures; those on real records only where the records are."""
    return [*_quality(), *_evasions(), *_speed()]


def _redacted(texts: list[str]) -> list[str]:
    messages = [json.dumps([{"role": "user", "content": text}], ensure_ascii=False) for text in texts]
    table = pa.table({"example_id": texts, "messages": pa.array(messages, pa.large_string())})
    return [json.loads(each)[0]["content"] for each in redact(table).table["messages"].to_pylist()]


def _quality() -> list[Figure]:
    figures = []
    for kind in VALUES:
        texts = list(labelled(kind, COUNT, random.Random(f"{kind} bench")))
        pairs = list(zip(texts, _redacted([each.text for each in texts]), strict=True))
        true = sum(f"[{kind}]" in after and each.value not in after for each, after in pairs if each.kind)
        false = sum(after != each.text for each, after in pairs if not each.kind)
        figures += [
            figure(f"{kind}: recall of {COUNT} values", true / COUNT, least=0.99),
            figure(f"{kind}: precision, as many hard negatives", true / max(true + false, 1), least=0.97),
        ]
    return figures


def _evasions() -> list[Figure]:
    figures = []
    for kind, (value, own) in EVADED.items():
        ways = [*EVASIONS.values(), *own.values()]
        caught = sum(f"[{kind}]" in text for text in _redacted([f"call me or use {way(value)} ok?" for way in ways]))
        figures.append(
            figure(f"{kind}: of {len(ways)} ways to hide one, seen through", 100 * caught / len(ways), "%", least=80)
        )
    return figures


def _speed() -> list[Figure]:
    """Return conversations a second of process time, best of five, for each file of real records."""
    figures, documents, seconds = [], 0, 0.0
    for path in sorted(EVENTS.glob("*.jsonl")):
        messages = [_conversation(json.loads(line)["data"]) for line in path.read_text(encoding="utf-8").splitlines()]
        table = pa.table({"example_id": messages, "messages": pa.array(messages, pa.large_string())})
        times = []
        for _ in range(5):
            begun = time.process_time()
            redact(table, USUAL_KINDS)
            times.append(time.process_time() - begun)
        documents, seconds = documents + len(messages), seconds + min(times)
        rate, least = len(messages) / min(times), LEAST.get(path.stem, 5000)
        size = sum(map(len, messages)) / len(messages)
        figures.append(
            figure(f"{path.stem}: {size:,.0f} characters each, redacted on one core", rate, "documents/s", least=least)
        )
    if not figures:
        return []
    return [*figures, figure("all of them", documents / seconds, "documents/s", least=5000)]


def _conversation(data: dict[str, Any]) -> str:
    """Return what an event says, whole, as the JSON of a conversation: failed work and both sides' long texts too."""
    said = [("user", data.get("prompt") or data["task"]["instruction"])]
    for step in data.get("steps") or ():
        if step.get("tool"):
            said += [("assistant", json.dumps(step["arguments"])), ("tool", step["observation"])]
        else:
            said.append(("user" if step["type"] == "user_message" else "assistant", step["observation"]))
    said.append(("assistant", data.get("chosen") or data.get("plan") or data.get("output")))
    texts = [(role, text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)) for role, text in said]
    messages = [{"role": role, "content": text} for role, text in texts]
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))
