"""Judge what live traffic says, every quarter of an hour: experiments are decided, a new champion is watched."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.judging import check_failures, judge_all
from flows.settings import load_settings


@flow(name="judge", flow_run_name="judge {model}", log_prints=False)
def judge(model: str | None = None, policy: str | None = None, home: str | None = None) -> dict[str, Any]:
    """Look at every running experiment and every champion in its bake period, and do what follows.

    A challenger that is shown to be better goes on to the gates, and is promoted if it is approved; one that is not, or
    that does harm, is archived with the reason. A champion whose guard metrics break soon after its promotion is rolled
    back. Looking more often does not make a wrong verdict more likely: every test here may be looked at at any time.

    Args:
        model: Only this model; all where it is left out.
        policy: Policy file; where it is left out, that of the setting, else what each version was trained under.
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        {"models": [{"model", "champion", "bake", "experiments", "failed"}]}.

    Raises:
        TriggerError: E7727 something could not be judged; everything else was.
    """
    from tasks.reporting.task import show_judgements

    judged = judge_all(load_settings(home=home), model, policy)
    show_judgements(judged["models"])
    check_failures(judged)
    return judged
