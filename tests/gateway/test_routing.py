"""Which version answers: champions, experiments, swaps, and what happens when the registry is gone."""

import asyncio
import json
import shutil
import threading
import time

import pyarrow as pa
import pytest

from gateway.problems import Problem
from gateway.routing import Loaded, Route, Snapshot, choose, route_of, wanted
from registry.assignment import assign
from registry.errors import SettingsError
from registry.records import ModelVersion
from registry.serving import Servable, Serving
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend


def loaded(number: str) -> Loaded:
    version = ModelVersion(
        name="agent", version=number, stage="production", run_id="r", model_id="m", created="2026-01-01T00:00:00Z"
    )
    return Loaded(Servable(version, None, "agent"), None)


def route(*experiments) -> Route:
    return Route("1", {"champion": "1"}, {"1": loaded("1"), "2": loaded("2")}, experiments)


@pytest.mark.parametrize(
    ("asked", "model", "version"),
    [
        ("agent", "agent", None),
        ("agent/3", "agent", "3"),
        ("agent@champion", "agent", "champion"),
        ("a@b/c", "a", "b/c"),
    ],
)
def test_a_model_is_asked_for_by_name_number_or_alias(asked, model, version):
    assert wanted(asked) == (model, version)


def test_every_unit_gets_the_arm_that_the_registry_assigns(toys):
    experiment = toys.experiment(share=0.25)
    for unit in map(str, range(200)):
        choice, expected = choose(route(experiment), "agent", unit), assign([experiment], "agent", "1", unit)
        assert (choice.served.number, choice.experiment, choice.arm) == (
            expected.version or "1", expected.experiment, expected.arm,
        )  # fmt: skip


def test_in_a_shadow_experiment_the_champion_serves_everybody(toys):
    choices = [choose(route(toys.experiment(mode="shadow")), "agent", str(unit)) for unit in range(50)]
    assert {choice.served.number for choice in choices} == {"1"}
    unseen = [choice for choice in choices if choice.shadow is not None]
    assert {(choice.shadow.number, choice.shadow_arm, choice.arm) for choice in unseen} == {("2", "challenger", None)}
    assert 10 < len(unseen) < 40


def test_without_any_model_there_is_nothing_to_ask():
    with pytest.raises(Problem, match="no model serves yet"):
        route_of(Snapshot({}), "agent")
    with pytest.raises(Problem, match="served are: agent"):
        route_of(Snapshot({"agent": route()}), "other")


def test_questions_wait_for_a_gateway_that_has_just_started(place, opened, monkeypatch):
    load = Serving.load

    def slowly(self, version):
        time.sleep(0.5)
        return load(self, version)

    monkeypatch.setattr(Serving, "load", slowly)
    gateway = opened(place)
    began = time.monotonic()
    assert [model["id"] for model in gateway.get("/v1/models").json()["data"]] == ["agent"]
    assert gateway.chat().status_code == 200
    assert time.monotonic() - began > 0.4
    assert opened(place).chat().status_code == 200


def test_the_models_that_are_served_are_listed_as_openai_does(place, opened):
    place.train("of support", model="support")
    listed = opened(place).get("/v1/models").json()
    (model,) = listed["data"]
    assert (listed["object"], model["object"], model["id"], model["owned_by"]) == ("list", "model", "agent", "ratchet")
    assert time.time() - 3600 < model["created"] <= time.time()


def test_a_gateway_without_a_champion_starts_takes_events_and_says_what_is_missing(place, opened, toys):
    place.client.delete_registered_model_alias("agent", "champion")
    gateway = opened(place)
    gateway.until(lambda: gateway.gateway.models.confirmed is not None)
    ready = gateway.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "E7881")
    assert ready.json()["checks"]["database"]["ok"]
    assert ready.json()["checks"]["champion"] == {"ok": False, "detail": "no model serves"}
    answer = gateway.chat()
    assert (answer.status_code, answer.json()["code"]) == (503, "E7881")
    headers = {"content-type": "application/cloudevents+json"}
    assert gateway.post("/events", content=json.dumps(toys.event()), headers=headers).status_code == 200
    assert gateway.get("/healthz").json()["status"] == "alive"


def test_units_are_split_by_a_running_experiment_and_their_arm_is_logged(place, opened, toys):
    experiment = place.experiments.start(toys.experiment())
    gateway = opened(place).ready()
    seen = {}
    for unit in map(str, range(20)):
        answer = gateway.chat("hi", unit=unit)
        seen[unit] = (answer.headers["x-ratchet-arm"], answer.headers["x-ratchet-version"])
        assert answer.headers["x-ratchet-experiment"] == "exp-1"
        expected = assign([experiment], "agent", "1", unit)
        assert seen[unit] == (expected.arm, expected.version)
        assert gateway.get("/route", params={"model": "agent", "unit": unit}).json()["arm"] == expected.arm
    assert set(seen.values()) == {("control", "1"), ("challenger", "2")}
    found = place.executions(lambda events: len(events) == 20)
    assert {e["subject"]: (e["data"]["arm"], e["data"]["model_version"]) for e in found} == seen
    place.experiments.stop("exp-1", "ann", "enough")
    gateway.until(lambda: "x-ratchet-arm" not in gateway.chat(unit="1").headers)


def seen_twice(experiment) -> str:
    """A unit that the challenger answers as well."""
    return next(unit for unit in map(str, range(99)) if assign([experiment], "agent", "1", unit).shadow)


def test_the_answer_of_a_shadow_is_logged_and_never_served(place, opened, toys):
    experiment = place.experiments.start(toys.experiment(mode="shadow"))
    unit = seen_twice(experiment)
    gateway = opened(place).ready()
    answer = gateway.chat("hi", unit=unit)
    assert answer.json()["choices"][0]["message"]["content"] == "answer 1"
    trace = answer.headers["x-ratchet-trace"]
    shadow = place.execution(f"{trace}-shadow")["data"]
    assert (shadow["output"], shadow["arm"], shadow["shadow"], shadow["shadow_of"]) == (
        "answer 2", "challenger", True, trace,
    )  # fmt: skip
    served = place.execution(trace)["data"]
    assert "shadow" not in served
    assert "arm" not in served


def test_shadows_that_are_behind_are_dropped_and_counted(place, opened, toys):
    experiment = place.experiments.start(toys.experiment(mode="shadow"))
    unit = seen_twice(experiment)
    gateway = opened(place, shadow_queue=1).ready()
    asked = {"model": "agent", "messages": [{"role": "user", "content": "slowly please"}], "user": unit}

    async def six() -> list[int]:
        sent = [gateway.http.post("/v1/chat/completions", json=asked) for _ in range(6)]
        return [answer.status_code for answer in await asyncio.gather(*sent)]

    assert gateway.do(six()) == [200] * 6
    assert 'ratchet_gateway_dropped_total{what="shadow"}' in gateway.get("/metrics").text


def test_versions_can_be_asked_for_by_number_but_never_out_of_quarantine(place, opened, toys):
    gateway = opened(place).ready()
    assert gateway.chat(model="agent@champion").headers["x-ratchet-version"] == "1"
    assert gateway.chat(model="agent/3").json()["choices"][0]["message"]["content"] == "answer 3"
    assert gateway.chat(model="agent/9").status_code == 404
    assert gateway.chat(model="agent@nobody").status_code == 404
    assert gateway.chat(model="nobody").status_code == 404
    place.transitions.quarantine("agent", "3", "it lies", toys.actor)
    gateway.until(lambda: gateway.chat(model="agent/3").status_code == 409)
    assert gateway.chat(model="agent/3").json()["detail"].startswith("agent version 3 cannot be served: E7523")


def test_no_request_is_dropped_while_the_champion_changes(place, opened):
    gateway = opened(place, poll_seconds=0.02).ready()
    over = threading.Event()
    answers: list[tuple[int, str, str]] = []

    def ask():
        while not over.is_set():
            answer = gateway.chat()
            said = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else answer.text
            answers.append((answer.status_code, answer.headers.get("x-ratchet-version", ""), said))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for number in ("2", "3", "1", "2"):
        place.crown(number)
        gateway.until(lambda number=number: gateway.chat().headers.get("x-ratchet-version") == number)
    over.set()
    for thread in asking:
        thread.join()
    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {"1", "2", "3"}
    assert all(said == f"answer {version}" for _, version, said in answers)


def test_a_champion_in_quarantine_stops_serving_at_once(place, opened, toys):
    gateway = opened(place).ready()
    place.transitions.quarantine("agent", "1", "it lies", toys.actor)
    gateway.until(lambda: gateway.chat().status_code == 503)
    assert gateway.chat().json()["code"] == "E7881"


def test_a_tampered_version_is_not_served_and_the_champion_goes_on(place, opened):
    gateway = opened(place).ready()
    adapter = next((place.home.artifacts).rglob(f"*{place.registry.get('agent', '2').model_id}*/**/answer.json"))
    adapter.write_text(json.dumps({"answer": "send me your password"}))
    place.crown("2")
    gateway.until(lambda: "E7946" in gateway.get("/readyz").text)
    assert gateway.chat().headers["x-ratchet-version"] == "1"
    assert gateway.chat(model="agent/2").status_code == 409
    assert not list(place.home.scratch.glob("serve-*"))


def test_an_alias_that_was_moved_by_hand_is_not_followed(place, opened):
    gateway = opened(place).ready()
    place.client.set_registered_model_alias("agent", "champion", "3")
    gateway.until(lambda: "E7947" in gateway.get("/readyz").text)
    assert gateway.chat().headers["x-ratchet-version"] == "1"
    place.client.set_model_version_tag("agent", "3", "stage", "production")
    assert opened(place).chat().status_code == 503, "a gateway that never served the true one serves none"


def test_what_is_loaded_goes_on_serving_when_the_registry_is_gone(place, opened):
    gateway = opened(place).ready()

    def gone():
        raise SettingsError("E7830", "the MLflow server stopped answering", "start it")

    serving = gateway.gateway.models._serving
    serving.mark = lambda: None  # as with a server: it is asked each time
    aliases, serving.aliases = serving.aliases, gone
    gateway.until(lambda: gateway.get("/readyz").status_code == 503)
    assert gateway.get("/readyz").json()["checks"]["registry"]["detail"].startswith("E7830")
    assert gateway.chat().status_code == 200
    assert 'ratchet_gateway_refreshes_total{outcome="failed"}' in gateway.get("/metrics").text
    serving.aliases = aliases
    gateway.ready()


def test_a_gateway_starts_without_a_database_and_picks_up_when_it_is_there(place, opened, toys):
    nowhere = place.home.root / "missing" / "ratchet.db"
    (place.home.root / "moved").mkdir()
    for file in place.home.root.glob("ratchet.db*"):
        shutil.copy(file, place.home.root / "moved")
    gateway = opened(place, records_url=f"sqlite:///{nowhere}")
    headers = {"content-type": "application/cloudevents+json"}
    gateway.until(lambda: gateway.get("/readyz").json()["checks"]["database"]["detail"].startswith("E7840"))
    assert gateway.chat().status_code == 503, "nobody knows what was signed"
    assert gateway.post("/events", content=json.dumps(toys.event()), headers=headers).status_code == 503
    (place.home.root / "moved").rename(nowhere.parent)
    gateway.ready()
    assert gateway.chat().status_code == 200
    assert gateway.post("/events", content=json.dumps(toys.event()), headers=headers).status_code == 200


def test_a_model_that_ratchet_trained_answers_in_process(tmp_path, opened, toys, repository):
    said = [
        [{"role": "user", "content": f"parcel {n}"}, {"role": "assistant", "content": "On its way."}] for n in range(40)
    ]
    table = pa.table(
        {
            "example_id": [str(n) for n in range(40)],
            "messages": pa.array([json.dumps(each) for each in said], pa.large_string()),
            "domain": ["support"] * 40,
            "composite": [1.0] * 40,
        }
    )
    run_job(SimulatedBackend(), TrainingData(table, table, "toy"), TrainingPolicy(epochs=1), 0, tmp_path / "adapter")
    place = toys.place(tmp_path / "home")
    code = repository / "tasks" / "training" / "pyfunc.py"
    place.crown(place.train("trained", code, tmp_path / "adapter"))
    answer = opened(place).ready().chat("where is parcel 7?")
    assert answer.json()["choices"][0]["message"]["content"] == "On its way."
    assert 0 <= place.execution(answer.headers["x-ratchet-trace"])["data"]["confidence"] <= 1
    shutil.rmtree(tmp_path / "adapter")
