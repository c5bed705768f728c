"""Events over HTTP: the three content modes, what becomes of each event, and feedback."""

import asyncio
import json
import threading

import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.v1.event import CloudEvent

from gateway.events_http import BATCH, STRUCTURED, header_value, read_events
from gateway.ingest import Ingest
from gateway.problems import Problem
from registry.errors import SettingsError
from registry.events import EventLog, Query
from registry.sources import NewLine, Sources

NAMES = {"name": 'Jörg "x" 100 % 日本 😀'}


def send(gateway, body, kind=STRUCTURED, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.post("/events", content=content, headers={"content-type": kind, **headers})


def logged(place, source):
    return [each.event for each in place.log.query(Query()) if each.event["source"] == source]


@pytest.mark.parametrize("to_message", [sdk.to_structured_event, sdk.to_binary_event])
def test_what_the_official_sdk_sends_comes_back_from_the_log_as_it_was(shared, to_message):
    source = f"sdk/{to_message.__name__}/ä %"
    attributes = {"type": "execution.completed", "source": source, "subject": NAMES["name"], "myextension": "x y"}
    sent = CloudEvent(attributes={**attributes, "id": "1", "specversion": "1.0"}, data=NAMES)
    message = to_message(sent)
    headers = {"content-type": "application/json", **message.headers}
    answer = shared.gateway.post("/events", content=message.body, headers=headers)
    assert answer.json() == {"appended": 1, "duplicate": 0, "rejected": []}
    stored = json.dumps(logged(shared.place, source)[0]).encode()
    received = sdk.from_structured_event(sdk.HTTPMessage({"content-type": STRUCTURED}, stored))
    assert received.get_data() == NAMES
    found = {name: value for name, value in received.get_attributes().items() if name != "datacontenttype"}
    assert found == {name: value for name, value in sent.get_attributes().items() if value is not None}


def test_a_batch_says_what_became_of_each_event(shared, toys):
    batch = [
        toys.event("1", source="batch"),
        toys.event("2", source="batch"),
        toys.event("1", source="batch"),
        {"a": 1},
    ]
    answer = send(shared.gateway, batch, BATCH)
    assert answer.status_code == 200
    assert answer.json() == {
        "appended": 2,
        "duplicate": 1,
        "rejected": [{"position": 3, "code": "E7023", "reason": "attribute specversion is missing"}],
    }
    assert [event["id"] for event in logged(shared.place, "batch")] == ["1", "2"]
    assert send(shared.gateway, [], BATCH).json()["appended"] == 0


def test_events_of_a_blocked_source_are_refused_and_recorded_as_attempts(place, toys, opened):
    gateway, sources = opened(place), Sources(place.log.url)
    events = [toys.event("1", source="good"), toys.event("2", source="bad")]
    assert send(gateway, events, BATCH).json()["appended"] == 2
    sources.update("block", lambda _: [NewLine("bad", "blocked", {"action": "set"}, "dana")])
    more = [toys.event("3", source="good"), toys.event("4", source="bad"), toys.event("3", source="good")]
    answer = send(gateway, more, BATCH).json()
    assert answer == {
        "appended": 1,
        "duplicate": 1,
        "rejected": [{"position": 1, "code": "E7235", "reason": "source 'bad' is blocked"}],
    }
    alone = send(gateway, toys.event("5", source="bad"))
    assert (alone.status_code, alone.json()["code"]) == (400, "E7235")
    assert [event["id"] for event in logged(place, "bad")] == ["2"]
    assert sources.current()["bad"].body["attempts"] == 1  # the second waits: a flood is a line a minute


def test_sending_again_appends_nothing(shared, toys):
    event = toys.event("again", source="again")
    assert [send(shared.gateway, event).json()["appended"] for _ in range(2)] == [1, 0]


def test_requests_that_are_written_together_each_learn_what_became_of_their_own(place, toys, opened):
    gateway = opened(place, poll_seconds=5).ready()
    bodies = [[toys.event(str(n), source="together"), toys.event(str(n % 3), source="twice"), {}] for n in range(40)]
    inside, go = threading.Event(), threading.Event()
    append = gateway.gateway.log.append

    def held(events):
        inside.set()
        assert go.wait(10)
        return append(events)

    gateway.gateway.log.append = held  # so that all but the first wait together

    async def all_at_once():
        sent = [
            asyncio.ensure_future(gateway.http.post("/events", json=body, headers={"content-type": BATCH}))
            for body in bodies
        ]
        while not inside.is_set() or gateway.gateway.ingest.waiting < 40:
            await asyncio.sleep(0.01)
        go.set()
        return [answer.json() for answer in await asyncio.gather(*sent)]

    answers = gateway.do(all_at_once())
    assert sum(answer["appended"] for answer in answers) == 43
    assert sum(answer["duplicate"] for answer in answers) == 37
    assert {answer["rejected"][0]["position"] for answer in answers} == {2}
    assert all(answer["appended"] + answer["duplicate"] == 2 for answer in answers)


def test_a_single_event_that_is_none_is_refused_with_the_code_of_the_log(shared):
    for body, code in (
        (b'{"specversion": "1.0", "id": "", "source": "s", "type": "t"}', "E7023"),
        (b'{"specversion": "0.3", "id": "1", "source": "s", "type": "t"}', "E7024"),
        (b'{"specversion": "1.0"', "E7021"),
        (b'{"specversion": "1.0", "id": "\\ud800", "source": "s", "type": "t"}', "E7029"),
        (b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": NaN}', "E7026"),
        (b'{"a": ' + b"[" * 50_000 + b"}", "E7027"),
    ):
        answer = send(shared.gateway, body)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("kind", "body", "headers", "status"),
    [
        ("application/json", b"{}", {}, 415),
        ("text/plain", b"x", {}, 415),
        (STRUCTURED, b"[]", {}, 400),
        (STRUCTURED, b"", {}, 400),
        (STRUCTURED + "; charset=latin-1", b"{}", {}, 415),
        (BATCH, b"{}", {}, 400),
        (BATCH, b"[" * 5000, {}, 400),
        (BATCH, b"[{]", {}, 400),
        ("application/json", b"{", {"ce-id": "1"}, 400),
        ("application/json", b"[" * 5000 + b"]" * 5000, {"ce-id": "1"}, 400),
        ("text/plain", b"\xff", {"ce-id": "1"}, 400),
        ("text/plain", b"x", {"ce-id": "%ff"}, 400),
        ("text/plain", b"x", {"ce-id": "1", "ce-data": "x"}, 400),
        ("text/plain", b"x", {"ce-i_d": "1"}, 400),
    ],
)
def test_what_is_no_event_over_http_is_refused(kind, body, headers, status):
    with pytest.raises(Problem) as caught:
        read_events({"content-type": kind, **headers}.items(), body)
    assert caught.value.kind.status == status


def test_a_header_that_comes_twice_is_refused():
    with pytest.raises(Problem, match="comes twice"):
        read_events([("ce-id", "1"), ("CE-ID", "2")], b"")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ('"quoted \\" %C3%A4"', 'quoted " ä'),
        ("a+b", "a+b"),
        ('"', '"'),
        ("jörg".encode().decode("latin-1"), "jörg"),
    ],
)
def test_header_values_are_read_as_the_binding_says(value, text):
    assert header_value("id", value) == text


def test_data_in_binary_mode_is_json_text_or_base64():
    def data(kind, body):
        event = json.loads(read_events({"content-type": kind, "ce-id": "1"}.items(), body).events[0])
        return {name: value for name, value in event.items() if name.startswith("data")}

    assert data("application/json", b'{"a": 1e400}') == {
        "datacontenttype": "application/json",
        "data": {"a": float("inf")},
    }
    assert data("application/vnd.x+json", b"[1]")["data"] == [1]
    assert data("text/plain; charset=utf-8", "ä".encode())["data"] == "ä"
    assert data("application/octet-stream", b"\x00\xff")["data_base64"] == "AP8="
    assert data("application/json", b"") == {"datacontenttype": "application/json"}
    assert json.loads(read_events([("ce-id", "1")], b"{}").events[0]) == {"id": "1", "data": {}}


def test_feedback_becomes_an_event_that_the_log_joins_to_its_trace(shared):
    trace = shared.gateway.chat("how was it?").headers["x-ratchet-trace"]
    shared.place.execution(trace)
    sent = {"trace_id": trace, "kind": "thumbs", "value": "down", "user": "ann", "id": "f-1"}
    answers = [shared.gateway.post("/feedback", json=sent).json() for _ in range(2)]
    assert answers == [{"id": "f-1", "appended": 1, "duplicate": 0}, {"id": "f-1", "appended": 0, "duplicate": 1}]
    row = shared.place.log.traces(Query(trace_ids=[trace])).to_pylist()[0]
    assert (row["quality"], row["negative"], row["model_version"]) == (0.0, True, "1")


@pytest.mark.parametrize(
    "body",
    [{}, {"trace_id": "t"}, {"trace_id": "", "kind": "k"}, {"trace_id": "t", "kind": "k", "value": []},
     {"trace_id": "t", "kind": "k", "colour": 1}, {"trace_id": "t" * 999, "kind": "k"},
     {"trace_id": "\0", "kind": "k"}],
)  # fmt: skip
def test_feedback_that_does_not_fit_is_refused(shared, body):
    answer = shared.gateway.post("/feedback", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "E7878")


def test_a_log_that_cannot_be_written_is_told_and_nothing_else_stops(place, opened, toys):
    gateway = opened(place).ready()

    def gone(events):
        raise SettingsError("E7840", "the database is gone", "start it")

    append, gateway.gateway.log.append = gateway.gateway.log.append, gone
    answer = send(gateway, toys.event())
    assert (answer.status_code, answer.json()["code"]) == (503, "E7885")
    assert "retry-after" in answer.headers
    trace = gateway.chat("are you there?").headers["x-ratchet-trace"]
    gateway.gateway.log.append = append
    assert send(gateway, toys.event()).json()["appended"] == 1
    assert place.execution(trace)["data"]["output"] == "answer 1"


def test_more_than_may_wait_is_refused_at_once(tmp_path):
    class Slow(EventLog):
        def append(self, events):
            go.wait(10)
            return super().append(events)

    go = threading.Event()
    ingest = Ingest(Slow(f"sqlite:///{tmp_path}/log.db"), most_waiting=100)

    async def sent():
        first = asyncio.ensure_future(ingest.append([b"x" * 90]))
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as caught:
            await ingest.append([b"y" * 20])
        go.set()
        assert (await first).rejected[0].code == "E7021"
        return caught.value

    assert asyncio.run(sent()).kind.status == 503
    ingest.close()
