"""Personal data and secrets: recall and precision by kind, evasions, and documents a second on one core.

python -m benchmarks.run --only redaction
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.figures import Figure, figure
from benchmarks.personal_data import EVASIONS, VALUES, labelled
from tasks.curation.redact import redact

COUNT = 300
EVENTS = Path(__file__).parents[1].parent / "shared" / "data" / "events"


def results(folder: Path) -> list[Figure]:
    """Return the figures; those on real records only where the records are."""
    return [*_quality(), _evasions(), *_speed()]


def _redacted(texts: list[str]) -> list[str]:
    messages = [json.dumps([{"role": "user", "content": text}], ensure_ascii=False) for text in texts]
    table = pa.table({"example_id": texts, "messages": pa.array(messages, pa.large_string())})
    return [json.loads(each)[0]["content"] for each in redact(table).table["messages"].to_pylist()]


def _quality() -> list[Figure]:
    recall, precision = {}, {}
    for kind in VALUES:
        texts = list(labelled(kind, COUNT, random.Random(f"{kind} bench")))
        pairs = list(zip(texts, _redacted([each.text for each in texts]), strict=True))
        true = sum(f"[{kind}]" in after and each.value not in after for each, after in pairs if each.kind)
        false = sum(after != each.text for each, after in pairs if not each.kind)
        recall[kind], precision[kind] = true / COUNT, true / max(true + false, 1)
    worst, loosest = min(recall, key=lambda kind: recall[kind]), min(precision, key=lambda kind: precision[kind])
    return [
        figure(f"recall of the worst of {len(VALUES)} kinds ({worst}), {COUNT} values each", recall[worst], least=0.99),
        figure(f"precision of the worst ({loosest}), as many hard negatives", precision[loosest], least=0.97),
    ]


def _evasions() -> Figure:
    texts = [f"write to {way('jane.doe@example.com')} ok?" for way in EVASIONS.values()]
    caught = sum("[EMAIL]" in text for text in _redacted(texts))
    return figure(f"of {len(EVASIONS)} ways to hide an address, seen through", 100 * caught / len(texts), "%", least=80)


def _speed() -> list[Figure]:
    """Return documents a second of process time, best of three, over all files of real records."""
    documents = [line for path in sorted(EVENTS.glob("*.jsonl")) for line in path.read_text().splitlines()]
    if not documents:
        return []
    messages = [json.dumps([{"role": "user", "content": line}], ensure_ascii=False) for line in documents]
    table = pa.table({"example_id": messages, "messages": pa.array(messages, pa.large_string())})
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        redact(table)
        seconds.append(time.process_time() - begun)
    return [figure("real documents redacted on one core", len(documents) / min(seconds), "documents/s", least=5000)]
