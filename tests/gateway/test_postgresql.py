"""The gateway's main path with records and registry on PostgreSQL, while others write and connections are lost."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from registry.connection import connect
from registry.history import History
from registry.models import ModelRegistry

BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture(scope="module")
def place(postgres, toys, tmp_path_factory):
    place = toys.place(tmp_path_factory.mktemp("postgresql") / "home")
    place.url, place.mlflow = postgres.fresh(), postgres.fresh().replace("postgresql:", "postgresql+psycopg:")
    place.registry = ModelRegistry(connect(place.home, place.mlflow))
    place.client = place.registry.connection.client
    place.crown(place.train("answer 1"))
    place.train("answer 2")
    return place


def customer(place, gateway, toys, number: int) -> Counter:
    """Do what an application does, and what Ratchet's own flows do beside it; count how it was answered."""
    history, seen = History(place.url), Counter()
    for turn in range(8):
        name = f"{number}-{turn}"
        answer = gateway.chat("hi", unit=name)
        judgement = {"trace_id": answer.headers.get("x-ratchet-trace"), "kind": "thumbs", "value": "up", "user": name}
        events = [toys.event(f"{name}-{each}") for each in range(20)]
        answers = [answer, gateway.post("/feedback", json=judgement)]
        answers += [gateway.post("/events", content=json.dumps(events), headers=BATCH) for _ in range(2)]
        seen.update(f"{each.status_code} {each.text if each.status_code != 200 else ''}" for each in answers)
        history.note("trigger_check", "agent", {"customer": name})
    return seen


def test_nothing_is_refused_lost_or_doubled_while_many_write(place, opened, toys):
    gateway = opened(place, mlflow_uri=place.mlflow)
    place.experiments.start(toys.experiment())
    with ThreadPoolExecutor(6) as pool:
        seen = sum(pool.map(lambda number: customer(place, gateway, toys, number), range(6)), Counter())
    assert seen == {"200 ": 6 * 8 * 4}
    gateway.until(lambda: len(place.log.query()) == 6 * 8 * 22)
    logged = [each.event for each in place.log.query()]
    assert len({(event["source"], event["id"]) for event in logged}) == len(logged)
    assert {event["data"]["model_version"] for event in logged if "arm" in event.get("data", {})} == {"1", "2"}
    History(place.url).verify()


def test_events_are_taken_though_the_database_has_closed_every_connection(place, postgres, opened, toys):
    gateway = opened(place, mlflow_uri=place.mlflow).ready()
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
    for number in range(3):
        with psycopg.connect(f"{postgres.url}/postgres", autocommit=True) as control:
            control.execute(kill, [place.url.rpartition("/")[2]])
        taken = gateway.post("/events", content=json.dumps([toys.event(f"after-{number}")]), headers=BATCH)
        assert (taken.status_code, taken.json()["appended"]) == (200, 1)
        assert gateway.chat().status_code == 200
    gateway.ready()
