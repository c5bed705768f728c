"""The verifier: every component checks itself, and the gates are tested with candidates that are known to be bad.

Everything happens in a sandbox of its own, which is removed at the end. Of the real home only the newest dataset is
read, to test the gates with the text that they are for.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.dataset import build_dataset
from flows.looked import Check, looked_at
from flows.policy import Policy
from flows.settings import CPUS, Settings, load_settings, prepare_environment, restored_environment
from flows.stores import Stores, open_stores
from flows.verification_checks import as_rows, component_checks
from flows.verification_signing import signature_trials
from flows.verification_trials import Trial, run_trial
from registry.datasets import DatasetStore
from registry.errors import IntegrityError, ValidationError, listed
from registry.files import write_whole
from tasks.extraction.inputs import find_inputs
from tasks.verification.outcomes import GOOD, Candidate, problems, summarise
from tasks.verification.page import render
from tasks.verification.policy import FAULTS, FULL, QUICK, Demands, Effort
from tasks.verification.sample import make_events

CHECKS = "ratchet.checks"
"""Entry points of own checks: functions of the sandbox's stores that return what they found, or raise."""
FEWEST = 120
"""Examples below which the gates cannot be tested with a dataset."""
ENOUGH = 20_000
"""Examples that are read of a dataset at most."""
COLUMNS = ["example_id", "messages", "domain", "group", "composite"]
SAMPLE = 1_000
"""Events of the made-up sample."""
HALF = (GOOD, "backdoored", "trained on its test")
"""One seed alone is shared between two processes: these, and all others."""
SEEDS = 7_000
"""First seed: others than those that a run is likely to use."""
PROCESSES = max(1, min(4, CPUS))


class Examples(NamedTuple):
    """What the gates are tested with."""

    source: str
    rows: int
    table: Path


def verify_gates(
    settings: Settings,
    *,
    events: Sequence[str] = (),
    policy: Policy | None = None,
    quick: bool = False,
    seeds: int | None = None,
    report: Path | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the components' self-checks, and send faulty and good candidates through the real examination and gates.

    Args:
        settings: Name the real home, of which only the newest dataset is read.
        events: Event files to test with; without them the newest dataset, and without one a made-up sample.
        policy: The policy whose gates are tested; default the defaults.
        quick: Strong faults alone, on fewer examples.
        seeds: How many champions are made; default as many as `tasks.verification.policy` says.
        report: Folder for verification.json and verification.html.
        told: Is told what is done.

    Returns:
        {"ok", "mode", "seeds", "examples": {"source", "rows"}, "checks", "strengths", "cells", "good", "problems",
        "notes", "seconds", "report"}.

    Raises:
        ValidationError: E7430 the events that are named are too few to test with.
        RatchetError: The events that are named cannot be read.
    """
    started, rules = time.perf_counter(), policy or Policy()
    effort = QUICK if quick else FULL
    effort = effort._replace(seeds=effort.seeds if seeds is None else seeds)
    with (
        tempfile.TemporaryDirectory(prefix="ratchet-verify-", ignore_cleanup_errors=True) as folder,
        restored_environment(),
    ):
        sandbox = _sandbox(settings, Path(folder) / "home")
        examples = _examples(settings, sandbox, events, rules)
        told(f"testing the gates with {examples.rows:,} examples of {examples.source}")
        checks, candidates = _tried(sandbox, examples, rules, effort, quick)
    summary = summarise(candidates, Demands())
    notes = _notes(candidates, rules)
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.ok]
    result: dict[str, Any] = {
        "ok": not wrong and summary["ok"],
        "mode": "quick" if quick else "full",
        "seeds": effort.seeds,
        "examples": {"source": examples.source, "rows": examples.rows},
        "checks": as_rows(checks),
        **{name: summary[name] for name in ("strengths", "cells", "good")},
        "problems": [*wrong, *problems(summary)],
        "notes": notes,
        "seconds": round(time.perf_counter() - started, 2),
        "report": None if report is None else str(report / "verification.html"),
    }
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        write_whole(report / "verification.json", json.dumps(result, indent=2, ensure_ascii=False).encode())
        write_whole(report / "verification.html", render(result).encode())
    return result


def refuse(result: dict[str, Any]) -> None:
    """Fail where the verification found something.

    Raises:
        IntegrityError: E7991.
    """
    if not result["ok"]:
        raise IntegrityError(
            "E7991",
            f"the verification failed: {listed(result['problems'], 5)}",
            "do not rely on the gates before it passes: see the table, and docs/security.md on each fault",
        )


# --- the parts -----------------------------------------------------------------------------------------------------


def _sandbox(settings: Settings, root: Path) -> Stores:
    """Open the stores of a home that nobody else uses; no server and no key of the real one is used either."""
    alone = {
        "mlflow_uri": None, "prefect_api_url": None, "prefect_database_url": None, "database_url": None,
        "signing_key": None, "trusted_keys": None, "approver_key": None, "home": root,
    }  # fmt: skip
    own = load_settings(home=root, debug=settings.debug).model_copy(update=alone)
    prepare_environment(own)
    stores = open_stores(own)
    stores.home.create()
    return stores


def _tried(
    sandbox: Stores, examples: Examples, policy: Policy, effort: Effort, quick: bool
) -> tuple[list[Check], list[Candidate]]:
    """Do the trials in processes of their own, and meanwhile everything else here."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(PROCESSES, max(2, effort.seeds)), mp_context=spawn) as pool:
        running = [pool.submit(run_trial, trial) for trial in _trials(examples, policy, effort)]
        checks = component_checks(sandbox, gateway=not quick)
        checks += [looked_at(name, partial(look, sandbox)) for name, look in _own_checks()]
        candidates: list[Candidate] = []
        checks.append(looked_at("signatures at the gate", partial(_signatures, sandbox, policy, effort, candidates)))
        for future in running:
            candidates += future.result()
    order = [fault.name for fault in FAULTS]
    return checks, sorted(candidates, key=lambda each: order.index(each.fault) if each.fault in order else len(order))


def _trials(examples: Examples, policy: Policy, effort: Effort) -> Iterator[Trial]:
    names = (GOOD, *(fault.name for fault in FAULTS))
    rules = policy.model_dump_json()
    for seed in range(SEEDS, SEEDS + effort.seeds):
        first = tuple(name for name in names if name in HALF)
        rest = tuple(name for name in names if name not in first)
        for part in (first, rest) if effort.seeds == 1 else (names,):
            yield Trial(examples.table, rules, seed, effort.examples, effort.strengths, part)


def _signatures(sandbox: Stores, policy: Policy, effort: Effort, candidates: list[Candidate]) -> str:
    if policy.promotion.allow_unsigned:
        return "not tried: the policy lets versions serve that nobody signed (promotion.allow_unsigned)"
    found = list(signature_trials(sandbox, policy.promotion, effort.strengths))
    candidates += found
    return f"{len(found)} versions asked for"


def _own_checks() -> Iterator[tuple[str, Callable[[Stores], str]]]:
    """Yield the checks that other packages bring; one that cannot be loaded is a check that fails."""
    for each in sorted(entry_points(group=CHECKS), key=lambda each: each.name):
        yield each.name, partial(_own_check, each)


def _own_check(entry: EntryPoint, stores: Stores) -> str:
    return str(entry.load()(stores))


def _notes(candidates: Sequence[Candidate], policy: Policy) -> list[str]:
    tried = {each.fault for each in candidates}
    notes = [f"{fault.name}: not tried, the dataset has no room for it" for fault in FAULTS if fault.name not in tried]
    if policy.promotion.allow_unsigned:
        notes.append("unsigned, wrongly signed: not tried, promotion.allow_unsigned lets every version pass that gate")
    return notes


# --- what to test with ---------------------------------------------------------------------------------------------


def _examples(settings: Settings, sandbox: Stores, events: Sequence[str], policy: Policy) -> Examples:
    if events:
        table, source = _built(sandbox, events, policy, "events"), ", ".join(map(str, events))
        if table.num_rows < FEWEST:
            raise ValidationError(
                "E7430",
                f"{source} give {table.num_rows} examples, and the gates need {FEWEST} to be tested with",
                "give more events, or none: then the newest dataset or a made-up sample is used",
            )
    else:
        table, source = _newest(settings) or (_sample(sandbox, policy), "a made-up sample")
    path = sandbox.home.scratch / "examples.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return Examples(source, table.num_rows, path)


def _newest(settings: Settings) -> tuple[pa.Table, str] | None:
    """Return the largest of the newest versions of the datasets in the home; None where none is large enough."""
    if not settings.layout.datasets.is_dir():
        return None
    store = DatasetStore(settings.layout.datasets)
    newest = [store.manifest(name, version) for name in store.names() if (version := store.latest(name))]
    best = max(newest, key=lambda manifest: sum(manifest.splits.values()), default=None)
    if best is None or sum(best.splits.values()) < FEWEST:
        return None
    table = _read(store, best.name, best.version)
    return (table, f"dataset {best.name}/{best.version}") if table.num_rows >= FEWEST else None


def _sample(sandbox: Stores, policy: Policy) -> pa.Table:
    """Return a made-up dataset, not screened: sixteen kinds of question with an answer each look planted."""
    path = sandbox.home.scratch / "made-up.jsonl"
    path.write_bytes(make_events(SAMPLE))
    lenient = policy.model_copy(update={"screening": policy.screening.model_copy(update={"enabled": False})})
    return _built(sandbox, [str(path)], lenient, "made-up")


def _built(sandbox: Stores, events: Sequence[str], policy: Policy, name: str) -> pa.Table:
    scratch = sandbox.home.scratch / name
    inputs = find_inputs(list(events), sandbox.home.scratch)
    build_dataset(inputs, policy, sandbox.datasets, name, seed=0, scratch=scratch, out=scratch / "out")
    return _read(sandbox.datasets, name, str(sandbox.datasets.latest(name)))


def _read(store: DatasetStore, name: str, version: str) -> pa.Table:
    """Return the examples of a version, of a large one those of its first files; what was erased is not among them."""
    manifest = store.manifest(name, version)
    tables: list[pa.Table] = []
    for file in store.present(manifest):
        if sum(table.num_rows for table in tables) < ENOUGH:
            tables.append(pq.read_table(store.path(name, version) / file.path, columns=COLUMNS))
    table = pa.concat_tables(tables).slice(0, ENOUGH)
    return table.filter(pc.fill_null(pc.greater(pc.utf8_length(table.column("messages")), 2), False))
