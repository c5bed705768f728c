"""Training and answering of the simulated backend, on one thread, and what it learns on real records.

python -m benchmarks.training
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.figures import Figure, figure, table
from registry.records import Conversation, EpochMetrics, JobState, assistant_turns, token_f1_pairs
from tasks.training.adapter import adapt
from tasks.training.backend import TrainingData
from tasks.training.context import context_fields, encode_rows
from tasks.training.job import Silent, run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.serving import SimulatedPredictor
from tasks.training.simulated import SimulatedBackend

REAL = Path(__file__).parents[2] / "shared" / "data" / "events"
POLICY = TrainingPolicy()
TURNS, FOLDS, SEEDS = 100_000, 10, 5
SKETCH_STEPS = 20


def results(folder: Path) -> list[Figure]:
    """Measure everything of this file; `folder` is for adapters. Real records are left out where absent."""
    with threadpool_limits(limits=1, user_api="blas"):
        return [*speed(folder / "adapter", TURNS), *(learning() if REAL.is_dir() else [])]


def speed(out: Path, turns: int) -> list[Figure]:
    """Train on pairs of `turns` known turns and ask the model, one question at a time."""
    clock = Clock()
    data = TrainingData(synthetic(turns // 5, seed=0), synthetic(200, seed=1), "synthetic")
    result = SimulatedBackend().train(data, POLICY, 0, out, None, clock)
    rate, plain = result.pairs / float(np.median(np.diff(clock.epochs))), sketch()
    began = time.process_time()
    predictor = SimulatedBackend().load(out)
    loaded = time.process_time() - began
    times, found = answering(predictor)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    asked = f"of an answer with {result.known_turns:,} known turns, one thread"
    return [
        figure("training, one core (processor time)", rate, "pairs/s", least=50_000),
        figure("training, a plain numpy sketch of it", plain, "pairs/s"),
        figure("training, times the sketch", rate / plain, "×"),
        figure(f"training on {result.pairs:,} pairs, in all", result.seconds, "s"),
        figure("training, peak memory", result.peak_memory_bytes / 2**20, "MB"),
        figure("loading that model (processor time)", loaded, "s"),
        figure(f"p50 {asked}", float(p50), "ms", most=3),
        figure(f"p95 {asked}", float(p95), "ms"),
        figure(f"p99 {asked}", float(p99), "ms", most=10),
        figure("answers for which the nearest of all turns was found", found, ""),
    ]


class Clock(Silent):
    """Notes the processor time of each epoch's end."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def state(self, state: JobState) -> None:
        if state == "TRAINING":
            self.epochs = [time.process_time()]

    def epoch(self, metrics: EpochMetrics, epochs: int) -> None:
        self.epochs.append(time.process_time())


def sketch() -> float:
    """Return the pairs/s of the same steps as one would first write them down: numpy, double precision, no reuse."""
    rng = np.random.default_rng(0)
    n, d, r, scale = POLICY.batch_size, POLICY.dimension, POLICY.rank, POLICY.alpha / POLICY.rank
    sides = [unit(rng.standard_normal((n, d))) for _ in range(2)]
    weights = [rng.standard_normal(shape) / d for _ in range(2) for shape in ((d, r), (r, d))]
    mean, square = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    began = time.process_time()
    for step in range(1, SKETCH_STEPS + 1):
        hidden = [sides[i] + scale * sides[i] @ weights[2 * i] @ weights[2 * i + 1] for i in range(2)]
        z = [unit(h) for h in hidden]
        scores = np.exp((z[0] @ z[1].T) / POLICY.temperature)
        wrong = (scores / scores.sum(axis=1, keepdims=True) - np.eye(n)) / (n * POLICY.temperature)
        for i, by_z in enumerate((wrong @ z[1], wrong.T @ z[0])):
            by_h = (by_z - z[i] * (z[i] * by_z).sum(axis=1, keepdims=True)) / np.linalg.norm(hidden[i], axis=1)[:, None]
            down, up = weights[2 * i], weights[2 * i + 1]
            for k, grad in (
                (2 * i, scale * sides[i].T @ (by_h @ up.T)),
                (2 * i + 1, scale * (sides[i] @ down).T @ by_h),
            ):
                mean[k] = 0.9 * mean[k] + 0.1 * grad
                square[k] = 0.99 * square[k] + 0.01 * grad**2
                move = mean[k] / (1 - 0.9**step) / (np.sqrt(square[k] / (1 - 0.99**step)) + 1e-8)
                weights[k] = weights[k] - POLICY.learning_rate * move
    return SKETCH_STEPS * n / (time.process_time() - began)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def answering(predictor: SimulatedPredictor) -> tuple[list[float], float]:
    """Return the time of each of 1,000 answers in ms, and the share for which the index found the very best turn."""
    texts = synthetic(200, seed=2)["messages"].to_pylist()
    asked = [turn.context for text in texts for turn in assistant_turns(json.loads(text))]
    for context in asked[:20]:
        predictor.answer([context])
    times = []
    for context in asked:
        start = time.perf_counter()
        predictor.answer([context])
        times.append((time.perf_counter() - start) * 1e3)
    known, adapter = predictor.ranker.known, predictor.ranker.adapter
    assert adapter is not None
    queries = encode_rows(predictor.encoder, map(context_fields, asked))
    queries = adapt(queries, adapter.context, adapter.scale)
    best = known.order[np.argmax(queries @ known.keys.T, axis=1)]
    return times, float(np.mean(best == known.rank(queries, 1).turns[:, 0]))


def learning() -> list[Figure]:
    """Score the next action of unseen tasks, each task asked once a seed: 8 parts train, 1 validation, 1 asked."""
    tau = np.array([held_out("tau_airline", seed) for seed in range(SEEDS)])
    fireact = np.array(held_out("fireact_hotpot", 0))
    return [
        figure(
            "tau_airline, whole tasks held out: token-F1 of the frozen base, mean of 5 seeds", float(tau[:, 0].mean())
        ),
        figure(
            "tau_airline, whole tasks held out: token-F1 of the adapter, mean of 5 seeds",
            float(tau[:, 1].mean()),
            least=0.33,
        ),
        figure(
            "tau_airline, whole tasks held out: token-F1 of the adapter, worst of 5 seeds",
            float(tau[:, 1].min()),
            least=0.33,
        ),
        figure("fireact_hotpot, whole questions held out: token-F1 of the frozen base", float(fireact[0])),
        figure("fireact_hotpot, whole questions held out: token-F1 of the adapter", float(fireact[1])),
    ]


def held_out(name: str, seed: int) -> list[float]:
    """Return mean token-F1 of the frozen base and of the adapter over folds of whole subjects."""
    events = [json.loads(line) for line in (REAL / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    known = [(e["subject"], conversation(e["data"])) for e in events if good(e["data"])]
    subjects = sorted({subject for subject, _ in known})
    np.random.default_rng(seed).shuffle(subjects)
    part = {subject: i % FOLDS for i, subject in enumerate(subjects)}
    scores: list[list[float]] = [[], []]
    for fold in range(FOLDS):
        splits = [
            [messages for subject, messages in known if (part[subject] - fold) % FOLDS in wanted]
            for wanted in (range(2, FOLDS), (1,), (0,))
        ]
        train, validation = (_table([json.dumps(messages) for messages in split]) for split in splits[:2])
        asked = [turn for messages in splits[2] for turn in assistant_turns(messages)]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "adapter"
            run_job(SimulatedBackend(), TrainingData(train, validation, f"fold {fold}"), POLICY, seed, out)
            for adapter in (False, True):
                answers = SimulatedBackend().load(out, adapter).answer([turn.context for turn in asked])
                scores[adapter] += token_f1_pairs(answers.responses, [turn.text for turn in asked]).tolist()
    return [float(np.mean(each)) for each in scores]


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
    with tempfile.TemporaryDirectory() as scratch:
        print(table(results(Path(scratch))))
