"""The main job. This file is the table of contents of the product; each line of `learn` is a chapter.

events → dataset → adapter → candidate → examination → decision → report
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.curation import learned_before, make_dataset
from flows.decision import decide
from flows.examination import examine_candidate
from flows.job import Wish, prepare
from flows.reporting import report
from flows.run import as_it_is_now, opened
from flows.settings import load_settings
from flows.training import register_candidate, train_adapter


@flow(name="learn", flow_run_name="learn {model}", log_prints=False, validate_parameters=True)
def learn(
    events: list[str],
    model: str = "agent",
    policy: str | None = None,
    seed: int = 0,
    by: str | None = None,
    approve_as: str | None = None,
    strategy: Wish = "auto",
    golden: str | None = None,
    trial: bool = False,
    home: str | None = None,
) -> dict[str, Any]:
    """Turn production events into a gated, registered model.

    Args:
        events: Event files, folders or globs (JSON Lines of CloudEvents 1.0; .gz and .zst as well), or `log:` for what
            is new in the event log, `log:AGENT` for one agent's part of it.
        model: Name of the model, and of its dataset.
        policy: Policy file (YAML); the defaults where it is left out.
        seed: Seed of everything random.
        by: Who starts it, and may therefore not approve it; the user that it runs as where it is left out.
        approve_as: Approve the promotion in this name, should every other gate pass.
        strategy: full_retrain starts from the base, incremental from the champion, shadow serves nobody; auto goes on
            from the champion where there is one.
        golden: Your own regression cases (JSON lines).
        trial: Before it serves, the version must win an experiment beside the champion, if there is one.
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        The summary of DESIGN §7.

    Raises:
        RatchetError: With its code, if the run cannot go on.
    """
    job = prepare(
        load_settings(home=home), events=events, model=model, policy=policy, seed=seed, by=by,
        approve_as=approve_as, strategy=strategy, golden=golden, trial=trial,
    )  # fmt: skip
    with opened(job) as run:
        if run.known is not None:
            return as_it_is_now(job, run.known)
        dataset = make_dataset(run)
        if (known := learned_before(run, dataset)) is not None:
            return run.unchanged(known)
        training = train_adapter(run, dataset)
        candidate = register_candidate(run, dataset, training)
        examination = examine_candidate(run, dataset, candidate)
        decision = decide(run, training, candidate, examination)
        return report(run, dataset, training, candidate, examination, decision)
