"""The data stage beside two peers on the same events: parse, filter by quality, drop duplicates, split, write Parquet.

    python -m benchmarks.peers                  needs the extra `bench`: pip install -e '.[bench]'

datatrove: its readers, filters, MinHash deduplication and Parquet writer, on two workers, with a tokenizer that splits
at blanks (several times as fast as its own) and our bands, rows and n-grams. pandas: one process, datasketch's MinHash
LSH. Neither redacts, keeps groups on one side, looks for outliers or notes why an example was dropped, as ours does.

The peers work on some thousand events, because more would take them hours; rates are per event. Ours is measured on the
same file, where starting takes most of the time, and on a large one; peers do not get faster with size.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.data_stage import WORKERS, events_file, in_fresh_process
from benchmarks.figures import Figure, figure, table

PEERS_EVENTS, OUR_EVENTS = 20_000, 1_000_000
NGRAM, BANDS, ROWS, JACCARD = 3, 25, 5, 0.8
MIN_QUALITY, MIN_CONFIDENCE = 70.0, 0.6
WANTED = 30.0
"""How many times the faster peer's rate ours should be."""


def conversation_text(event: dict[str, Any]) -> str:
    """Return what is said in a trace as one text."""
    data = event["data"]
    said = [data["task"]["instruction"] or ""]
    for step in data["steps"]:
        said += [step["tool"] or "", json.dumps(step["arguments"]), step["observation"] or ""]
    return "\n".join([*said, data["output"] or ""])


def is_good(data: dict[str, Any]) -> bool:
    """Return whether a trace succeeded and was judged well."""
    quality, confidence = data["quality_score"], data["confidence"]
    if data["status"] != "success" or quality is None or quality < MIN_QUALITY:
        return False
    return confidence is None or confidence >= MIN_CONFIDENCE


def side(subject: str) -> str:
    """Return a subject's split: 80/10/10 by its digest."""
    import xxhash

    place = xxhash.xxh64_intdigest(subject) % 10
    return "train" if place < 8 else ("validation" if place == 8 else "test")


# --- datatrove -----------------------------------------------------------------------------------------------------


def as_document(_: object, event: dict[str, Any], path: str, place: int | str) -> dict[str, Any]:
    """Turn an event into what datatrove's reader expects (its `adapter`)."""
    data = event["data"]
    kept = {"status": data["status"], "quality_score": data["quality_score"], "confidence": data["confidence"]}
    metadata = {**kept, "split": side(event["subject"]), "domain": data["task"]["domain"]}
    return {"text": conversation_text(event), "id": f"{path}/{place}", "metadata": metadata}


def good_document(document: Any) -> bool:
    """Filter of datatrove: the same rule as everywhere."""
    return is_good(document.metadata)


def words_at_blanks() -> Any:
    """Return a tokenizer for datatrove that splits at blanks."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return text.splitlines()

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [match.span() for match in re.finditer(r"[^\n]+", text)]

    return Blanks()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what this process and those that it starts write to standard error: datatrove's pages of statistics."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def with_datatrove(path: Path, folder: Path) -> int:
    """Do the job with datatrove and return how many examples there are in the end."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import GopherQualityFilter, LambdaFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

    parts = folder / "parts"
    parts.mkdir()
    lines = path.read_bytes().splitlines(keepends=True)
    for worker in range(WORKERS):
        (parts / f"{worker}.jsonl").write_bytes(b"".join(lines[worker::WORKERS]))
    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    words = words_at_blanks()
    gopher = GopherQualityFilter(min_doc_words=10, max_avg_word_length=30, min_stop_words=0, language=words)

    def stage(name: str, pipeline: list[Any], tasks: int = WORKERS) -> None:
        logs = str(folder / "logs" / name)
        with quiet():
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(tasks, WORKERS), logging_dir=logs).run()

    at = {name: str(folder / name) for name in ("good", "signatures", "buckets", "removed", "out")}
    stage("filter", [
        JsonlReader(str(parts), adapter=as_document), LambdaFilter(good_document), gopher,
        JsonlWriter(at["good"], compression=None), MinhashDedupSignature(at["signatures"], config, language=words),
    ])  # fmt: skip
    stage("buckets", [MinhashDedupBuckets(at["signatures"], at["buckets"], config=config)], BANDS)
    stage("cluster", [MinhashDedupCluster(at["buckets"], at["removed"], config=config)], 1)
    writer = ParquetWriter(at["out"], output_filename="${split}-${rank}.parquet", compression="zstd")
    stage("write", [JsonlReader(at["good"]), MinhashDedupFilter(at["removed"]), writer])
    return _rows(folder / "out")


# --- pandas --------------------------------------------------------------------------------------------------------


def with_pandas(path: Path, folder: Path) -> int:
    """Do the job with pandas and datasketch and return how many examples there are in the end."""
    import pandas as pd
    from datasketch import MinHash, MinHashLSH

    frame = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    frame["text"] = [conversation_text(event) for event in frame.to_dict("records")]
    frame = frame[[is_good(data) for data in frame["data"]]]
    frame["normalised"] = frame["text"].str.lower().str.split().str.join(" ")
    frame = frame.drop_duplicates("normalised")
    words = frame["normalised"].str.findall(r"\w+")
    shingles = [{" ".join(row[i : i + NGRAM]).encode() for i in range(len(row) - NGRAM + 1)} for row in words]
    index = MinHashLSH(threshold=JACCARD, num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    kept = []
    for row, minhash in enumerate(MinHash.generator(shingles, num_perm=BANDS * ROWS, seed=0)):
        similar = [other for other in index.query(minhash) if _jaccard(shingles[other], shingles[row]) >= JACCARD]
        if not similar:
            index.insert(row, minhash)
        kept.append(not similar)
    frame = frame[kept]
    frame["split"] = frame["subject"].map(side)
    for name, rows in frame.groupby("split"):
        (folder / "out").mkdir(exist_ok=True)
        rows[["id", "source", "time", "text"]].to_parquet(folder / "out" / f"{name}.parquet", compression="zstd")
    return _rows(folder / "out")


def _jaccard(one: set[bytes], other: set[bytes]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _rows(folder: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(file).metadata.num_rows for file in folder.glob("*.parquet"))


PEERS: dict[str, Callable[[Path, Path], int]] = {"datatrove": with_datatrove, "pandas + datasketch": with_pandas}


def results(folder: Path, count: int = PEERS_EVENTS, ours: int = OUR_EVENTS) -> list[Figure]:
    """Measure the peers on `count` events, and ours on these and on `ours`; `folder` is for events and scratch."""
    path, rates, figures = events_file(folder, count), {}, []
    for name, work in PEERS.items():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            begun = time.perf_counter()
            examples = work(path, Path(scratch))
            rates[name] = count / (time.perf_counter() - begun)
        figures.append(figure(f"{name}, {count:,} events to {examples:,} examples", rates[name], "events/s"))
    for size in (count, ours):
        result = in_fresh_process(events_file(folder, size), WORKERS)
        rate = size / result["seconds"]
        figures.append(figure(f"ours, {size:,} events to {result['examples']:,} examples", rate, "events/s"))
        for name, other in rates.items():
            least = WANTED if size == ours and other == max(rates.values()) else None
            figures.append(figure(f"ours, {size:,} events, to {name}", rate / other, "×", least=least))
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=PEERS_EVENTS, help="events for the peers")
    parser.add_argument("--ours", type=int, default=OUR_EVENTS, help="events for ours")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ratchet-bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(table(results(options.folder, options.count, options.ours)))


if __name__ == "__main__":
    main()
