"""What a run of the main job works on, settled before anything starts: inputs, policy, digests, home.

Nothing here needs Prefect or MLflow, so that wrong input, and work that was done before, are told at once.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from flows.log_input import is_log, log_inputs, settled
from flows.policy import Policy, chosen_file, load_policy, policy_digest
from flows.settings import Settings
from flows.stores import open_stores
from registry import __version__
from registry.errors import SettingsError, listed
from registry.history import History
from registry.home import Home
from registry.records import LogWindow, canonical_digest
from registry.situation import champions
from registry.sources import Sources
from tasks.promotion.approvals import check_may_approve

if TYPE_CHECKING:
    from tasks.extraction.inputs import Input

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
Wish = Literal["auto", "full_retrain", "incremental", "shadow"]
"""How a user may ask for training; auto goes on from the champion where there is one."""
STRATEGIES: tuple[str, ...] = get_args(Wish)
RUN_ID_LENGTH = 16


@dataclass(frozen=True)
class Job:
    """A run of the main job. The same events, policy, model, seed and strategy are the same work."""

    settings: Settings
    home: Home
    policy: Policy
    model: str
    seed: int
    strategy: str
    by: str
    """Identity that started it."""
    approve_as: str | None
    trial: bool
    """Whether the version must be tried beside the champion before it serves."""
    events: list[str]
    """The inputs as they were named, with the window of the event log written out."""
    log: LogWindow | None
    """What of the event log is learned from."""
    inputs: list[Input]
    digests: list[str]
    """Of the content of each input."""
    golden: Path | None
    golden_digest: str | None
    work: str
    """Digest of everything that the result depends on, but what was learned before."""

    @property
    def run_id(self) -> str:
        """Name of the run: derived from its work, so that a run that was killed is taken up under the same name."""
        return self.work[:RUN_ID_LENGTH]

    @property
    def folder(self) -> Path:
        """What the run leaves beside its report: rejects, decisions, the steps that are done."""
        return self.home.runs / self.run_id

    @property
    def scratch(self) -> Path:
        """Work in progress; deleted at the end."""
        return self.home.scratch / self.run_id


def prepare(
    settings: Settings,
    *,
    events: Sequence[str],
    model: str = "agent",
    policy: Path | str | None = None,
    seed: int = 0,
    by: str | None = None,
    approve_as: str | None = None,
    strategy: str = "auto",
    golden: Path | str | None = None,
    trial: bool = False,
) -> Job:
    """Settle what a run works on.

    Raises:
        SettingsError: E7850 for wrong parameters, all at once; the policy's own errors.
        PromotionError: E7541 who approves may not.
        ExtractionError: Inputs that are missing, empty or unreadable, all at once.
        ValidationError: The golden cases cannot be read.
    """
    from tasks.extraction.inputs import combined_digest, find_inputs, input_digests
    from tasks.validation.regression import read_golden

    _check(model, seed, strategy, by, approve_as)
    chosen, who = load_policy(chosen_file(policy, settings)), (by or settings.identity or system_user()).strip()
    if approve_as is not None:
        check_may_approve(approve_as, who, chosen.promotion, f"what is trained for {model}")
    stores = open_stores(settings)
    named, log = settled(stores, events, model)
    files = [each for each in named if not is_log(each)]
    inputs = find_inputs(files) if files or log is None else []
    inputs += log_inputs(stores, log, model) if log is not None else []
    answers = Path(golden) if golden is not None else None
    if answers is not None:
        read_golden(answers)  # what is wrong with it is told now and not after training
    digest = None if answers is None else hashlib.sha256(answers.read_bytes()).hexdigest()
    digests = input_digests(inputs)
    work = _work(combined_digest(digests), chosen, model, seed, strategy, digest, settings.mlflow_uri)
    if fences := Sources(settings.records_url).fences():  # with other sources blocked the same events are other work
        work = canonical_digest([work, fences])
    work = _anew_where_overtaken(work, stores.history)
    return Job(
        settings, stores.home, chosen, model, seed, strategy, who, approve_as, trial, named, log, inputs, digests,
        answers, digest, work,
    )  # fmt: skip


def system_user() -> str:
    """Return the name of the operating system's user, who starts what nobody gives another name to."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user that has no name
        return f"uid-{os.getuid()}"


def _check(model: str, seed: int, strategy: str, by: str | None, approve_as: str | None) -> None:
    problems = []
    if not NAME.fullmatch(model):
        problems.append(f"model name {model!r} (letters, digits, dot, dash and underscore; 100 at most)")
    if not 0 <= seed < 2**32:
        problems.append(f"seed {seed} (0 to 4294967295)")
    if strategy not in STRATEGIES:
        problems.append(f"strategy {strategy!r} (there are {', '.join(STRATEGIES)})")
    for name, whose in ((by, "somebody who starts it"), (approve_as, "an approver")):
        if name is not None and not name.strip():
            problems.append(f"{whose} without a name")
    if problems:
        raise SettingsError("E7850", f"cannot use {listed(problems)}", "correct these parameters")


def _work(
    inputs: str, policy: Policy, model: str, seed: int, strategy: str, golden: str | None, mlflow_uri: str | None
) -> str:
    """Return the digest of the work. Who approves is no part of it: nobody trains again in order to approve."""
    parts: dict[str, Any] = {
        "inputs": inputs,
        "policy": policy_digest(policy),
        "model": model,
        "seed": seed,
        "strategy": strategy,
        "registry": mlflow_uri,  # None for the home's own, wherever the home is moved
        "golden": golden,
        "code": __version__,
    }
    return canonical_digest(parts)


def _anew_where_overtaken(work: str, history: History) -> str:
    """Return the digest of the work, or of doing it anew where what came of it was overtaken."""
    while (known := history.completed(work)) is not None and (champion := overtaken_by(known, history)) is not None:
        work = canonical_digest([work, champion])
    return work


def overtaken_by(known: dict[str, Any], history: History) -> str | None:
    """Return the champion that overtook the version of an earlier run, None if none did.

    A version that waits for approval was examined against the champion of its time. Once another one serves, that says
    nothing any more, and the same events are learned again: from the one that serves, and compared with it.

    Args:
        known: The summary of the earlier run.
        history: Of all versions.
    """
    name, version = known["model"]["name"], known["model"]["version"]
    changes = history.of(name)
    waits = [change.after for change in changes if change.version == version][-1] == "staging"
    champion = next(iter(champions(changes)[-1:]), None)
    if not waits or champion in (None, version) or known["validation"]["baseline"] == f"{name}/{champion}":
        return None
    return champion


def already_learned(job: Job, history: History) -> dict[str, Any] | None:
    """Return the summary of the run that did this work before; None if there was none."""
    return history.completed(job.work)
