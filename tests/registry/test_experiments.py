"""What an experiment is now follows from the events that were recorded of it."""

import threading

import pytest
from pydantic import ValidationError

from registry.errors import TriggerError
from registry.experiments import Arm, Experiment, Experiments, fold

ARMS = [Arm(name="control", version="1"), Arm(name="challenger", version="2")]


def experiment(key="support-2", **more):
    default = {"key": key, "model": "support", "arms": ARMS, "share": 0.1, "started": "2026-01-01", "by": "ann"}
    return Experiment(**default | more)


@pytest.fixture
def store(tmp_path):
    made = Experiments(f"sqlite:///{tmp_path / 'records.db'}")
    yield made
    made.close()


def test_an_experiment_is_started_ramped_and_ended_and_every_step_stays(store):
    started = store.start(experiment(first_offset=17))
    assert (started.state, started.share, started.first_offset) == ("running", 0.1, 17)
    assert store.ramp("support-2", 0.25, "ann").share == 0.25
    assert store.reweigh("support-2", [0.3, 0.7], "judge").weights == [0.3, 0.7]
    ended = store.conclude("support-2", "won", "better by 12 %", {"lift": 0.12})
    assert (ended.state, ended.reason) == ("won", "better by 12 %")
    assert ended.ended
    assert ended.result_digest
    assert store.result("support-2") == {"lift": 0.12}
    assert store.running() == []
    assert [known.state for known in store.all("support")] == ["won"]


def test_a_start_again_is_the_same_start(store):
    store.start(experiment(first_offset=3))
    store.ramp("support-2", 0.25, "ann")
    again = store.start(experiment(first_offset=99))
    assert (again.share, again.first_offset) == (0.25, 3)


def test_the_first_end_counts(store):
    store.start(experiment())
    store.stop("support-2", "ann", "enough")
    assert store.conclude("support-2", "won", "too late").state == "stopped"
    assert store.get("support-2").reason == "enough"


def test_one_experiment_a_model_unless_their_namespaces_are_disjoint(store):
    store.start(experiment(namespace=("n", 0.0, 0.5)))
    store.start(experiment("other-2", model="other"))
    third = [ARMS[0], Arm(name="challenger", version="3")]
    store.start(experiment("support-3", arms=third, namespace=("n", 0.5, 1.0)))
    for namespace in (None, ("n", 0.4, 0.6), ("m", 0.5, 1.0)):
        with pytest.raises(TriggerError, match="E7721"):
            store.start(experiment("support-4", arms=third, namespace=namespace))
    assert [known.key for known in store.running("support")] == ["support-2", "support-3"]


def test_a_key_is_used_once(store):
    store.start(experiment())
    store.stop("support-2", "ann", "enough")
    assert store.start(experiment()).state == "stopped"
    with pytest.raises(TriggerError, match="E7721"):
        store.start(experiment(arms=[ARMS[0], Arm(name="challenger", version="5")]))


def test_of_two_starts_at_the_same_moment_one_wins(store):
    outcomes = []

    def start(version):
        try:
            arms = [ARMS[0], Arm(name="challenger", version=version)]
            outcomes.append(store.start(experiment(f"support-{version}", arms=arms)).key)
        except TriggerError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=start, args=(str(n),)) for n in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("E7721") == 5
    assert [known.key for known in store.running()] == [key for key in outcomes if key != "E7721"]


def test_a_second_overlapping_start_in_the_rows_does_not_count():
    rows = [
        {"experiment": key, "event": "start", "time": "", "body": experiment(key).model_dump_json()}
        for key in ("support-2", "support-3")
    ]
    assert [known.key for known in fold(rows)] == ["support-2"]


def test_what_cannot_be_is_refused(store):
    with pytest.raises(TriggerError, match="E7720"):
        store.get("none")
    store.start(experiment())
    for share in (0.0, 0.51, -1.0, float("nan")):
        with pytest.raises(TriggerError, match="E7723"):
            store.ramp("support-2", share, "ann")
    with pytest.raises(TriggerError, match="E7723"):
        store.reweigh("support-2", [0.9, 0.9], "ann")
    store.stop("support-2", "ann", "enough")
    with pytest.raises(TriggerError, match="E7722"):
        store.ramp("support-2", 0.2, "ann")


@pytest.mark.parametrize(
    "more",
    [
        {"share": 0.6},
        {"arms": ARMS[:1]},
        {"arms": [ARMS[0], Arm(name="control", version="2")]},
        {"arms": [ARMS[0], Arm(name="challenger", version="1")]},
        {"arms": [*ARMS, Arm(name="third", version="3")], "share": 0.4},
        {"weights": [0.5, 0.6]},
        {"namespace": ("n", 0.5, 0.5)},
    ],
)
def test_an_experiment_that_makes_no_sense_cannot_be_made(more):
    with pytest.raises(ValidationError):
        experiment(**more)
