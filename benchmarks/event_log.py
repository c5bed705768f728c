"""The event log: durable ingest, reading as Arrow, figures, duplicates; on SQLite and on PostgreSQL.

    python -m benchmarks.run --only event_log
    python -m benchmarks.event_log --count 100000            fewer events

The peer is a plain loop that inserts one row after the other and commits each, on the same disk in the same run. Where
Debian's PostgreSQL is not installed its part is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure, table

COUNT = 1_000_000
BATCH = 10_000
SINGLE = 2_000
ON_POSTGRES = 300_000
COLUMNS = ("offset", "time", "type", "agent", "model_version", "quality", "body")
DAYS = 14


def events(count: int, start: int = 0) -> Iterator[bytes]:
    """Yield made events of about 1 kB: nine executions to one feedback, four model versions, two weeks."""
    generator = random.Random(start)
    filler = "lorem ipsum dolor sit amet consectetur " * 9
    for number in range(start, start + count):
        minute = (number - start) * DAYS * 1440 // count
        data: dict[str, Any] = {
            "trace_id": f"{number:032x}", "agent": "support", "model_version": str(1 + 4 * (number - start) // count),
            "task": {"type": "qa", "domain": f"domain {number % 5}", "instruction": f"question {number} {filler}"},
            "steps": [], "output": f"answer {number - number % 50 % 2 * 50} {filler[:250]}",
            "status": "success" if generator.random() < 0.95 else "error", "user": f"u{number % 9973}",
            "quality_score": round(100 * generator.random(), 1) if number % 3 else None,
            "latency_ms": generator.expovariate(0.003), "tokens_in": 90, "tokens_out": 60,
        }  # fmt: skip
        kind = "execution.completed"
        if number % 10 == 9:
            kind = "feedback.recorded"
            data = {
                "trace_id": f"{number - 5:032x}",
                "kind": "thumbs",
                "value": generator.random() < 0.8,
                "note": filler,
            }
        event = {
            "specversion": "1.0", "id": f"{number:032x}", "source": "bench", "type": kind, "data": data,
            "time": f"2026-11-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z",
        }  # fmt: skip
        yield json.dumps(event, separators=(",", ":")).encode()


def taken(do: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def plain_loop(path: Path) -> float:
    """Return rows a second of a loop that commits each row durably."""
    rows = [line.decode() for line in events(SINGLE)]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE plain (body TEXT)"):
            connection.execute(statement)
        seconds = taken(lambda: [connection.execute("INSERT INTO plain VALUES (?)", (row,)) for row in rows])
    return SINGLE / seconds


def plain_postgres(url: str) -> float:
    """Return the same on PostgreSQL."""
    import psycopg

    rows = [line.decode() for line in events(SINGLE)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE plain (body TEXT)")
        seconds = taken(lambda: [connection.execute("INSERT INTO plain VALUES (%s)", (row,)) for row in rows])
    return SINGLE / seconds


def ingest(log: Any, count: int) -> float:
    """Append events in batches, each durable; return events a second. The making of them is not counted."""
    seconds, lines = 0.0, events(count)
    while batch := list(islice(lines, BATCH)):
        seconds += taken(partial(log.append, batch))
    return count / seconds


def streamed(log: Any, count: int, columns: tuple[str, ...] | None) -> float:
    """Return rows a second of reading the log as Arrow."""
    from registry.event_queries import Query

    return count / taken(lambda: [None for _ in log.arrow(Query(upto=count), columns)])


def measured(name: str, url: str, count: int, plain: float, least: int, full: bool) -> list[Figure]:
    """Measure one database; `full` where the figures of a million events are wanted."""
    from registry.event_queries import Query
    from registry.events import EventLog

    log = EventLog(url)
    rate = ingest(log, count)
    found = [
        figure(f"{name}: durable ingest, batches of {BATCH:,}, 1 kB each", rate, "events/s", least=least),
        figure(f"{name}: the same against a plain loop of single-row inserts ({plain:,.0f}/s)", rate / plain, "times"),
    ]
    times = [taken(lambda line=line: log.append([line])) for line in events(SINGLE, 10 * COUNT)]
    p50 = 1e3 * statistics.median(times)
    found.append(figure(f"{name}: single durable append, p50", p50, "ms", most=0.5 if full else None))
    found.append(figure(f"{name}: the same against the plain loop", p50 * plain / 1e3, "times its time"))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wanted = 300_000 if full else None
    rate = streamed(log, count, COLUMNS)
    found.append(figure(f"{name}: {count:,} rows to Arrow (7 columns with the body)", rate, "rows/s", least=wanted))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found.append(figure(f"{name}: memory grown meanwhile", grown, "MiB"))
    seconds = taken(log.make_blocks)
    found.append(
        figure(f"{name}: making the blocks of columns (`events import` does, else the first reader)", seconds, "s")
    )
    for columns, label in ((COLUMNS, "7 columns with the body"), (None, "all 22 columns")) if full else ():
        rate = streamed(log, count, columns)
        found.append(figure(f"{name}: {count:,} rows to Arrow with blocks ({label})", rate, "rows/s"))
    found.append(figure(f"{name}: statistics the first time", taken(log.statistics), "s"))
    most = 0.3 if full else None
    week = Query(since="2026-11-04", until="2026-11-11")
    for label, where in ((f"over all {count:,} events", Query()), ("over one week of them", week)):
        seconds = statistics.median(taken(lambda where=where: log.statistics(where)) for _ in range(5))
        found.append(figure(f"{name}: statistics {label}, by version and day", seconds, "s", most=most))
    found.append(figure(f"{name}: deduplicate {count:,}", taken(log.deduplicate), "s", most=3.0 if full else None))
    seconds = statistics.median(taken(lambda: log.query(week, limit=10_000)) for _ in range(5))
    found.append(figure(f"{name}: query 10,000 events of a week", 1e3 * seconds, "ms", most=100))
    seconds = taken(lambda: log.traces(Query(shadow=False)))
    found.append(figure(f"{name}: traces of all {count:,} events, feedback joined", seconds, "s"))
    log.close()
    return found


def results(folder: Path, count: int = COUNT) -> list[Figure]:
    """Measure both databases."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        plain = plain_loop(Path(name) / "plain.db")
        found = measured("SQLite", f"sqlite:///{name}/log.db", count, plain, 50_000, full=True)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.postgres import binaries, running

    if binaries() is not None:
        with running() as server:
            plain = plain_postgres(server.fresh())
            found += measured("PostgreSQL", server.fresh(), min(count, ON_POSTGRES), plain, 30_000, full=False)
    return found + client(folder)


def client(folder: Path) -> list[Figure]:
    """Measure what logging costs an application."""
    from registry.client import UsageLogger

    with tempfile.TemporaryDirectory(dir=folder) as name, UsageLogger(f"sqlite:///{name}/log.db") as logger:
        times = [taken(lambda: logger.log("q" * 500, "a" * 400, "support", version="1")) for _ in range(20_000)]
        seconds = sum(times) + taken(logger.flush)
    times.sort()
    return [
        figure("UsageLogger.log, p50", 1e6 * times[len(times) // 2], "µs"),
        figure("UsageLogger.log, p99", 1e6 * times[len(times) * 99 // 100], "µs"),
        figure("UsageLogger, until all is in the log", len(times) / seconds, "events/s", least=1_000),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    print(table(results(arguments.folder, arguments.count)))
