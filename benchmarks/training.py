"""Training, encoding and answering of the simulated backend, measured. Run: `python -m benchmarks.training`.

Prints one JSON object a line. `--small` uses a tenth of the known turns. BLAS runs on one thread throughout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from registry.records import Conversation, assistant_turns, token_f1_pairs
from tasks.training.backend import TrainingData
from tasks.training.context import context_fields, encode_rows
from tasks.training.encoder import Base, Encoder
from tasks.training.job import run_job
from tasks.training.pairs import encode_turns
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend

REAL = Path(__file__).parents[2] / "shared" / "data" / "events"
FOLDS = 10


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="10,000 known turns instead of 100,000")
    parser.add_argument("--no-real", action="store_true", help="leave the real records out")
    options = parser.parse_args(argv)
    with threadpool_limits(limits=1, user_api="blas"):
        for result in measure(10_000 if options.small else 100_000, real=not options.no_real):
            print(json.dumps(result), flush=True)


def measure(turns: int, *, real: bool = True) -> Iterator[dict[str, object]]:
    """Yield one named result after the other."""
    table = synthetic(turns // 5, seed=0)
    conversations = [json.loads(text) for text in table["messages"].to_pylist()]
    yield encoding(conversations)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "adapter"
        data = TrainingData(table, synthetic(200, seed=1), "synthetic")
        result = run_job(SimulatedBackend(), data, TrainingPolicy(), 0, out)
        speeds = [epoch.examples_per_second for epoch in result.epochs[1:]]
        yield {
            "name": "training",
            "pairs": result.pairs,
            "known_turns": result.known_turns,
            "epochs": len(speeds),
            "pairs_per_second": round(float(np.median(speeds))),
            "seconds_in_all": round(result.seconds, 2),
            "peak_memory_mb": result.peak_memory_bytes >> 20,
        }
        yield answering(out, result.known_turns)
    if real and REAL.is_dir():
        for name, only_good in (("tau_airline", True), ("tau_airline", False), ("fireact_hotpot", True)):
            yield held_out(name, only_good=only_good)
    elif real:
        print(f"no real records at {REAL}: held-out scores are left out", file=sys.stderr)


def encoding(conversations: list[Conversation]) -> dict[str, object]:
    encoder = Encoder(Base())
    pairs = [turn for messages in conversations for turn in assistant_turns(messages)][:50_000]
    texts = [turn.text for turn in pairs]
    began = time.perf_counter()
    encode_turns(encoder, texts)
    middle = time.perf_counter()
    encode_rows(encoder, (context_fields(turn.context) for turn in pairs))
    ended = time.perf_counter()
    single = []
    for turn in pairs[:1000]:
        start = time.perf_counter()
        encode_rows(encoder, [context_fields(turn.context)])
        single.append(time.perf_counter() - start)
    return {
        "name": "encoding",
        "turns_per_second": round(len(texts) / (middle - began)),
        "turn_bytes": round(float(np.mean([len(text) for text in texts]))),
        "contexts_per_second": round(len(texts) / (ended - middle)),
        "one_context_ms": round(float(np.median(single)) * 1e3, 3),
    }


def answering(path: Path, known: int) -> dict[str, object]:
    began = time.perf_counter()
    predictor = SimulatedBackend().load(path)
    loaded = time.perf_counter() - began
    asked = [
        turn.context
        for text in synthetic(400, seed=2)["messages"].to_pylist()
        for turn in assistant_turns(json.loads(text))
    ][:1000]
    for context in asked[:20]:
        predictor.answer([context])
    times, alone = [], []
    for context in asked:
        start = time.perf_counter()
        alone += predictor.answer([context]).responses
        times.append((time.perf_counter() - start) * 1e3)
    start = time.perf_counter()
    together = predictor.answer(asked).responses
    batch = time.perf_counter() - start
    exact = predictor.ranker.known
    queries = encode_rows(predictor.encoder, map(context_fields, asked))
    tower = predictor.ranker.adapter
    assert tower is not None
    from tasks.training.adapter import adapt

    adapted = adapt(queries, tower.context, tower.scale)
    best = exact.order[np.argmax(adapted @ exact.keys.T, axis=1)]
    found = exact.rank(adapted, 1).turns[:, 0]
    return {
        "name": "answering",
        "known_turns": known,
        "load_seconds": round(loaded, 2),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "batch_of_1000_seconds": round(batch, 2),
        "same_alone_and_together": alone == together,
        "nearest_found": round(float(np.mean(best == found)), 4),
    }


# --- data ----------------------------------------------------------------------------------------------------------


def synthetic(examples: int, seed: int) -> pa.Table:
    """Conversations of five assistant turns each, nearly all distinct, of seeded words in topics."""
    rng = np.random.default_rng(seed)
    words = np.array(
        [f"{a}{b}{c}" for a in "bdfklmnprst" for b in ("a", "e", "i", "o", "u") for c in ("la", "ron", "mi", "tes")]
    )
    words = np.array([f"{x}{y}" for x in words[:60] for y in words[100:160]])
    rows = []
    for _ in range(examples):
        topic = int(rng.integers(40))
        vocabulary = words[topic * 80 : topic * 80 + 160]
        messages: Conversation = []
        for step in range(5):
            asked = " ".join(rng.choice(vocabulary, 20))
            said = " ".join(rng.choice(vocabulary, 22))
            messages += [
                {"role": "user", "content": f"{asked} {int(rng.integers(10**6))}"},
                {"role": "assistant", "content": f"step {step} {said} A{int(rng.integers(10**6))}"},
            ]
        rows.append(json.dumps(messages))
    return _table(rows)


def _table(rows: list[str]) -> pa.Table:
    return pa.table(
        {
            "example_id": [str(i) for i in range(len(rows))],
            "messages": pa.array(rows, pa.large_string()),
            "domain": ["all"] * len(rows),
            "composite": [1.0] * len(rows),
        }
    )


def held_out(name: str, *, only_good: bool) -> dict[str, object]:
    """Mean token-F1 over folds of whole subjects: 8 parts train, 1 validation, 1 asked."""
    events = [json.loads(line) for line in (REAL / f"{name}.jsonl").read_text().splitlines()]
    known = [(e["subject"], conversation(e["data"])) for e in events if good(e["data"]) or not only_good]
    subjects = sorted({subject for subject, _ in known})
    np.random.default_rng(0).shuffle(subjects)
    part = {subject: i % FOLDS for i, subject in enumerate(subjects)}
    backend, scores = SimulatedBackend(), []
    seconds = []
    for fold in range(FOLDS):
        rows: dict[str, list[str]] = {"train": [], "validation": []}
        asked = []
        for subject, messages in known:
            if part[subject] == fold:
                asked += list(assistant_turns(messages))
            else:
                rows["validation" if part[subject] == (fold + 1) % FOLDS else "train"].append(json.dumps(messages))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "adapter"
            data = TrainingData(_table(rows["train"]), _table(rows["validation"]), "fold")
            seconds.append(run_job(backend, data, TrainingPolicy(), fold, out).seconds)
            expected = [turn.text for turn in asked]
            contexts = [turn.context for turn in asked]
            scores.append(
                [
                    float(token_f1_pairs(backend.load(out, adapter).answer(contexts).responses, expected).mean())
                    for adapter in (False, True)
                ]
            )
    table = np.array(scores)
    return {
        "name": f"held out, {name}, {'successful traces' if only_good else 'all traces'}",
        "folds": FOLDS,
        "base_f1": round(float(table[:, 0].mean()), 4),
        "adapter_f1": round(float(table[:, 1].mean()), 4),
        "spread": round(float(table[:, 1].std()), 4),
        "worst_fold_gain": round(float((table[:, 1] - table[:, 0]).min()), 4),
        "seconds": round(float(np.median(seconds)), 2),
    }


def good(data: dict[str, object]) -> bool:
    quality = data.get("quality_score")
    return data["status"] == "success" and (quality is None or float(str(quality)) >= 70)


def conversation(data: dict[str, object]) -> Conversation:
    """The messages of a trace: what extraction makes of it, as far as these two files need."""
    steps = data["steps"]
    task = data["task"]
    assert isinstance(steps, list)
    assert isinstance(task, dict)
    messages: Conversation = []
    if not any(step["type"] == "user_message" for step in steps):
        messages.append({"role": "user", "content": task["instruction"] or ""})
    thought = None
    for number, step in enumerate(steps):
        said = step["observation"] or ""
        if step["type"] == "user_message":
            messages.append({"role": "user", "content": said})
        elif step["type"] == "assistant_message":
            messages.append({"role": "assistant", "content": said})
        elif step["type"] == "thought":
            thought = said
        elif step["type"] == "tool_call":
            arguments = step["arguments"] if isinstance(step["arguments"], dict) else {"input": step["arguments"]}
            function = {"name": step["tool"] or "none", "arguments": json.dumps(arguments)}
            call = {"id": f"call_{number}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": thought, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": said})
            thought = None
    return messages


if __name__ == "__main__":
    main()
