"""The register of sources in use: what a run may take from whom, what it says of them, and what people decide."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.audit import sealing
from flows.settings import Settings
from flows.stores import Stores, open_stores
from registry.records import SPLITS, canonical_digest
from registry.source_names import canonical, places
from registry.sources import NewLine, SourceLine, Sources
from tasks.sources.lifecycle import Evidence, State, judge, score, seen_in_run
from tasks.sources.policy import SourcePolicy
from tasks.sources.standing import Standing

if TYPE_CHECKING:
    from flows.dataset import BuildResult
    from flows.run import Run

MOST_SOURCES = 1_000
"""Sources of one run that are written down: those that did harm, then those that brought most. Some agents name a
source for each session; what is not in the register is on trial."""
MOST_COUNTED = 20_000
"""Sources of one run that are counted."""
MOST_WARNINGS = 5
BLAME = 5.0
"""Harm that all sources of a version share, by what they brought, when it fails its examination of safety."""
NOTE = "dataset_sources"
"""Kind of the audit record that says by which standing a dataset version was made, where that changed it."""
_BATCH = 65_536


def register(settings: Settings) -> Sources:
    """Return the register of sources."""
    return Sources(settings.records_url)


def standing(stores: Stores, policy: SourcePolicy) -> Standing:
    """Return the sources' standing as it is now."""
    current = register(stores.settings).current()
    return Standing(policy, {source: _state(line) for source, line in current.items()})


def note_standing(run: Run, made: BuildResult, now: Standing) -> None:
    """Record by which standing a dataset version was made, where it may have changed it."""
    if not (now.bars_some or now.limits_shares):
        return
    manifest = made.manifest
    body = {"policy": now.policy.model_dump(mode="json"), "states": dict(sorted(now.states.items()))}
    key = f"{NOTE}:{run.job.run_id}:{manifest.version}"
    run.stores.history.note(NOTE, manifest.name, body, version=manifest.version, key=key)


def standing_of(stores: Stores, name: str, version: str) -> Standing | None:
    """Return the standing by which a dataset version was made; None where it changed nothing."""
    for note in reversed(stores.history.notes(NOTE, name)):
        if note.version == version:
            states = {canonical(source): state for source, state in note.body["states"].items()}
            return Standing(SourcePolicy.model_validate(note.body["policy"]), states)
    return None


# --- what a run says of its sources ----------------------------------------------------------------------------------


def learn_of_sources(run: Run, made: BuildResult) -> list[SourceLine]:
    """Record what became of each source's examples, and the states that follow.

    Once an input: the same files say nothing new, whoever learns from them and however often. Nothing is learned of a
    source that may not teach.
    """
    job = run.job
    if not made.decisions.exists():
        return []
    seen = {source: seen_in_run(counts) for source, counts in decided(made.decisions).items()}
    seen = {source: evidence for source, evidence in seen.items() if evidence.examples}
    most = sorted(seen, key=lambda source: (-seen[source].harm, -seen[source].examples, source))[:MOST_SOURCES]
    told = {"run": job.run_id, "model": job.model}
    policy = job.policy.sources
    lines = register(job.settings).update(
        f"inputs:{canonical_digest(sorted(job.digests))}",
        lambda current: judged(current, {source: seen[source] for source in most}, policy, told),
    )
    run.warnings += [*_left_out(made), *_fallen(lines)]
    return lines


def _left_out(made: BuildResult) -> Iterator[str]:
    if over := made.left_out.get("over_source_share"):
        yield (
            f"{over:,} examples are left out, as their sources would have too large a share of the dataset;"
            " `ratchet sources trust` lets a source bring more"
        )
    if made.withdrawn:
        yield f"{made.withdrawn:,} examples of the version before are withdrawn: their source may not teach any more"


def _fallen(lines: Sequence[SourceLine]) -> list[str]:
    return [
        f"source {line.source[:200]} is {'blocked' if line.state == 'blocked' else 'on probation'} from now on:"
        f" {line.body['reason']}; `ratchet sources show` tells more"
        for line in lines
        if line.state in ("blocked", "probation") and line.state != line.body["before"]
    ][:MOST_WARNINGS]


def record_attempts(run: Run, barred: dict[str, int]) -> None:
    """Record how many events of barred sources a run was given."""
    where = {"via": "learn", "run": run.job.run_id}
    register(run.job.settings).attempted(f"attempts:{run.job.run_id}", barred, where)


def judged(
    current: Mapping[str, SourceLine], seen: Mapping[str, Evidence], policy: SourcePolicy, told: Mapping[str, Any]
) -> list[NewLine]:
    """Return a line for each source of which something was seen: its evidence, score and state (pure)."""
    lines = []
    for source in sorted(seen):
        line = current.get(source)
        before, body = (_state(line), line.body) if line is not None else (None, {})
        evidence = Evidence.model_validate(body.get("evidence") or {}).later(seen[source], policy.half_life_runs)
        verdict = judge(before or "trial", evidence, policy)
        moved = verdict.state != (before or "trial")
        lines.append(NewLine(source, verdict.state, {
            "action": "judged", "before": before, "reason": verdict.reason,
            "why": verdict.reason if moved else body.get("why", "first seen"),
            "score": round(score(evidence), 6), "evidence": evidence.model_dump(), "attempts": body.get("attempts", 0),
            **told,
        }))  # fmt: skip
    return lines


def decided(path: Path) -> dict[str, Counter[tuple[str, tuple[str, ...]]]]:
    """Return how many examples of each source, by its canonical name, were decided in which way, for which reasons.

    Args:
        path: `decisions.parquet` of a run, a file or a folder.
    """
    counts: dict[str, Counter[tuple[str, tuple[str, ...]]]] = {}
    for batch in _decisions(path):
        reasons = pc.binary_join(batch["reasons"], "\n")
        table = pa.table({"source": batch["event_source"], "decision": batch["decision"], "reasons": reasons})
        grouped = table.group_by(["source", "decision", "reasons"]).aggregate([([], "count_all")])
        for source, decision, names, count in zip(*(column.to_pylist() for column in grouped.columns), strict=True):
            source = canonical(source)
            if source in counts or len(counts) < MOST_COUNTED:
                counts.setdefault(source, Counter())[decision, tuple(names.split("\n") if names else ())] += count
    return counts


def _decisions(path: Path) -> Iterator[pa.RecordBatch]:
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        yield from pq.ParquetFile(file).iter_batches(_BATCH, columns=["event_source", "decision", "reasons"])


def blame(stores: Stores, policy: SourcePolicy, dataset: tuple[str, str], key: str, reason: str) -> list[SourceLine]:
    """Charge the sources of a dataset version with what a model that learned it did; once under `key`.

    Each source bears the share of `BLAME` that it has of what the version has beyond its parent, which others learned
    before; of all examples where there is no parent.

    Args:
        stores: Where everything is.
        policy: When a state changes.
        dataset: Name and version.
        key: What it is for, such as `safety:MODEL/VERSION`.
        reason: What is recorded.
    """
    counts, parent = _brought(stores, *dataset), stores.datasets.manifest(*dataset).parent
    if parent is not None:
        counts = counts - _brought(stores, dataset[0], parent) or counts
    total = counts.total()
    seen = {
        source: Evidence(harm=round(BLAME * count / total, 6)) for source, count in counts.most_common(MOST_SOURCES)
    }
    told = {"blamed": reason, "dataset": "/".join(dataset)}
    return register(stores.settings).update(f"blame:{key}", lambda current: judged(current, seen, policy, told))


def _brought(stores: Stores, name: str, version: str) -> Counter[str]:
    """Return how many examples of a dataset version are of each source."""
    counts: Counter[str] = Counter()
    for split in SPLITS:
        found = stores.datasets.read(name, version, split, ["event_source"])["event_source"].value_counts()
        for each in found.to_pylist():
            counts[canonical(each["values"])] += each["counts"]
    return counts


# --- what people ask and decide --------------------------------------------------------------------------------------


def list_sources(settings: Settings, state: State | None = None) -> dict[str, Any]:
    """Return the known sources, those that do most harm first."""
    current = register(open_stores(settings).settings).current().values()
    rows = [_row(line) for line in current if state in (None, line.state)]
    order = ("blocked", "probation", "trial", "trusted")
    rows.sort(key=lambda row: (order.index(row["state"]), row["score"], row["source"]))
    return {"sources": rows, "counts": dict(sorted(Counter(row["state"] for row in rows).items()))}


def show_source(settings: Settings, source: str) -> dict[str, Any]:
    """Return all that is known of a source.

    Raises:
        CurationError: E7237 nothing is.
    """
    known = register(open_stores(settings).settings)
    lines = known.of(source)
    told = [{"sequence": line.sequence, "time": line.time, "state": line.state, "by": line.by, **line.body}
            for line in lines]  # fmt: skip
    return {**_row(lines[-1]), "below": _blocked_above(known, source), "lines": told}


def set_source(settings: Settings, source: str, state: State, by: str, reason: str) -> dict[str, Any]:
    """Put a source into a state in a person's name. What was known of it counts no more: it begins anew from there."""
    stores = open_stores(settings)
    source = canonical(source)

    def lines(current: dict[str, SourceLine]) -> list[NewLine]:
        line = current.get(source)
        before = {} if line is None else line.body
        evidence = Evidence()
        return [NewLine(source, state, {
            "action": "set", "before": None if line is None else line.state, "reason": reason, "why": reason,
            "score": round(score(evidence), 6), "evidence": evidence.model_dump(),
            "attempts": before.get("attempts", 0),
        }, by)]  # fmt: skip

    with sealing(stores):
        known = register(stores.settings)
        made = known.update(f"set:{os.urandom(16).hex()}", lines)[0]
    below = _blocked_above(known, source)
    return {**_row(made), "below": below, "before": made.body["before"], "reason": reason}


def _blocked_above(known: Sources, source: str) -> str | None:
    """Return the blocked source that a source lies below; None where there is none."""
    current = known.current()
    return next((name for name in places(source)[1:] if name in current and _state(current[name]) == "blocked"), None)


def _state(line: SourceLine) -> State:
    return line.state  # type: ignore[return-value]  # the register holds no other


def _row(line: SourceLine) -> dict[str, Any]:
    evidence = Evidence.model_validate(line.body.get("evidence") or {})
    return {
        "source": line.source, "state": line.state, "score": line.body.get("score", score(evidence)),
        **evidence.model_dump(), "blocked_attempts": line.body.get("attempts", 0), "why": line.body.get("why", ""),
        "by": line.by, "time": line.time,
    }  # fmt: skip
