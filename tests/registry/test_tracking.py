import json
import math

from registry.records import EpochMetrics
from registry.tracking import flatten


def test_nested_settings_become_flat_parameters():
    nested = {"train": {"rank": 16, "rates": [0.1]}, "name": "a", "none": None, "deep": {"er": {"yes": True}}}
    assert flatten(nested) == {
        "train.rank": "16",
        "train.rates": "[0.1]",
        "name": "a",
        "none": "null",
        "deep.er.yes": "true",
    }
    assert len(flatten({"long": "x" * 10_000})["long"]) == 6000  # MLflow refuses longer ones


def test_a_run_records_settings_states_and_where_it_came_from(bench):
    tracking = bench.registry.tracking
    many = {f"setting_{number}": number for number in range(250)}  # more than fit in one of MLflow's batches
    run = tracking.start_run(
        "support", "run-1", "work", params=many, tags={"extra": "1", "none": None}, flow_run_id="f", code_version="0.1"
    )
    for state in ("INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED"):
        tracking.set_state(run, state)
    found = bench.registry.connection.client.get_run(run)
    assert found.data.params == {name: str(value) for name, value in many.items()}
    assert found.info.status == "FINISHED"
    assert found.info.end_time is not None
    tags = found.data.tags
    assert (tags["ratchet_run_id"], tags["flow_run_id"], tags["code_version"]) == ("run-1", "f", "0.1")
    assert "none" not in tags
    states = ["PENDING", "INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED"]
    assert list(tracking.states(run)) == states
    assert tracking.state(run) == "COMPLETED"


def test_the_run_of_a_killed_process_goes_on_and_a_finished_one_does_not(bench):
    tracking = bench.registry.tracking
    killed = tracking.start_run("support", "run-1", "work", params={"rank": 16})
    assert tracking.start_run("support", "run-2", "work", params={"rank": 16, "more": 1}) == killed
    assert tracking.start_run("support", "run-2", "other work") != killed
    assert tracking.start_run("another", "run-2", "work") != killed
    tracking.set_state(killed, "FAILED", "E7301: no")
    assert tracking.start_run("support", "run-3", "work") != killed
    assert bench.registry.connection.client.get_run(killed).info.status == "FAILED"


def test_the_dataset_is_the_runs_input_with_its_digest_and_source(bench, toys):
    run = bench.registry.tracking.start_run("support", "run-1", "work")
    for _ in range(2):
        bench.registry.tracking.log_dataset(run, toys.manifest(), "datasets/support/1.0.0")
    found = bench.registry.connection.client.get_run(run)
    (given,) = found.inputs.dataset_inputs
    assert given.dataset.name == "support/1.0.0"
    assert given.dataset.digest == "d" * 36  # MLflow's limit; the whole digest is a tag
    assert json.loads(given.dataset.source) == {"uri": "datasets/support/1.0.0"}
    assert json.loads(given.dataset.profile)["rows_train"] == 8
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training", "digest": "d" * 64}
    assert found.data.tags["dataset"] == "support/1.0.0"
    assert found.data.tags["dataset_digest"] == "d" * 64


def test_a_loss_curve_of_a_thousand_epochs_is_one_batch_of_points_a_thousand(bench):
    run = bench.registry.tracking.start_run("support", "run-1", "work")
    bench.registry.tracking.log_epochs(run, [EpochMetrics(e, 1 / (e + 1), 0.5, 0.1, 1000.0) for e in range(300)])
    history = bench.registry.connection.client.get_metric_history(run, "train_loss")
    assert [(point.step, point.value) for point in history] == [(e, 1 / (e + 1)) for e in range(300)]
    bench.registry.tracking.log_metrics(run, {"score": 0.5, "passed": True, "name": "no number", "none": None})
    metrics = bench.registry.tracking.metrics(run)
    assert metrics["score"] == 0.5
    assert metrics["passed"] == 1.0
    assert metrics.keys().isdisjoint({"name", "none"})


def test_a_loss_that_is_not_a_number_is_recorded_as_such(bench):
    run = bench.registry.tracking.start_run("support", "run-1", "work")
    bench.registry.tracking.log_metrics(run, {"loss": math.nan, "other": math.inf})
    assert math.isnan(bench.registry.tracking.metrics(run)["loss"])


def test_files_and_folders_and_texts_are_kept_with_the_run(bench, tmp_path):
    tracking = bench.registry.tracking
    run = tracking.start_run("support", "run-1", "work")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "loss.svg").write_text("<svg/>")
    (tmp_path / "report.html").write_text("one")
    tracking.log_artifacts(run, [tmp_path / "report.html", tmp_path / "plots"], folder="report")
    (tmp_path / "report.html").write_text("two")
    tracking.log_artifacts(run, [tmp_path / "report.html"], folder="report")
    tracking.log_text(run, "{}", "decision.json")
    assert tracking.artifact(run, "report/report.html").read_text() == "two"
    assert tracking.artifact(run, "report/loss.svg").read_text() == "<svg/>"
    assert tracking.artifact(run, "decision.json").read_text() == "{}"
