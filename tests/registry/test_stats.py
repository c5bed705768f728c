from registry.history import History
from registry.records import ModelVersion
from registry.stats import Stats, stats


def version(number, stage):
    return ModelVersion(name="support", version=number, stage=stage, run_id="", model_id="")


def test_a_fresh_home_has_counted_nothing(tmp_path):
    history = History(f"sqlite:///{tmp_path}/ratchet.db")
    assert stats(history, [], 0) == Stats()
    history.close()


def test_a_run_that_failed_counts_as_a_job_until_the_same_work_completes(tmp_path):
    history = History(f"sqlite:///{tmp_path}/ratchet.db")
    history.record_run("work", "1", "support", "started")
    history.record_run("work", "1", "support", "failed", {"error": "E7010"})
    found = stats(history, [], 0)
    assert (found.jobs_started, found.jobs_failed, found.job_success_rate) == (1, 1, 0)
    assert (found.events_read, found.error_rate) == (0, None)  # what it read is in no summary
    history.record_run("work", "1", "support", "completed", {"events": {"read": 9, "rejected": 0}})
    found = stats(history, [], 0)
    assert (found.jobs_started, found.jobs_failed, found.jobs_completed, found.events_read) == (1, 0, 1, 9)
    history.close()


def test_the_counters_that_operators_watch(tmp_path):
    history = History(f"sqlite:///{tmp_path}/ratchet.db")
    summary = {
        "events": {"read": 100, "rejected": 4},
        "examples": {"extracted": 80, "accepted": 60},
        "decision": "promoted",
    }
    unchanged = {"events": {"read": 100, "rejected": 4}, "examples": None, "decision": "unchanged"}
    for run, end, body in (
        ("1", "completed", summary),
        ("2", "completed", unchanged),  # nothing was learned, so nothing is counted twice
        ("3", "completed", summary),
        ("4", "failed", {"error": "E7301"}),
        ("5", "cancelled", None),
        ("6", None, None),
    ):
        history.record_run("work", run, "support", "started")
        if end:
            history.record_run("work", run, "support", end, body)
    for number in ("1", "2"):
        history.append(
            "support", number, "validate", before="development", after="development", by="ratchet", reason="DEPLOY on"
        )
    found = stats(history, [version("1", "archived"), version("2", "production"), version("3", "archived")], 5)
    assert (found.events_read, found.events_rejected, found.error_rate) == (200, 8, 0.04)  # 2 × 4 / (2 × 100)
    assert (found.examples_extracted, found.examples_accepted, found.acceptance_rate) == (160, 120, 0.75)
    assert (found.jobs_started, found.jobs_completed, found.jobs_failed) == (6, 3, 1)
    assert (found.jobs_cancelled, found.jobs_unfinished) == (1, 1)
    assert found.job_success_rate == 0.75  # 3 / (3 + 1)
    assert found.versions_by_stage == {"archived": 2, "production": 1}
    assert (found.models, found.dataset_versions) == (1, 5)
    assert (found.validations, found.validations_by_recommendation) == (2, {"DEPLOY": 2})
    assert found.decisions == {"promoted": 2, "unchanged": 1}
    history.close()
