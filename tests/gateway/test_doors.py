"""Who is let in, how much they may send, and in what form they are told that they may not."""

import asyncio

import pytest

from gateway.auth import check_host, load_tokens
from gateway.limits import MOST_CALLERS, Buckets
from gateway.problems import Problem
from gateway.serve import run
from registry.errors import SettingsError

INGEST, INFER, ADMIN = "ingest-token-0123456789", "infer-token-0123456789", "admin-token-0123456789"


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may do what\n\n{INGEST} ingest\n{INFER} infer\n{ADMIN} admin\nboth-{ADMIN} ingest,infer\n")
    path.chmod(0o600)
    return path


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_every_path_asks_for_its_scope(place, opened, tokens):
    gateway = opened(place, tokens=tokens).ready()

    def status(path, token, method="GET"):
        return gateway.do(gateway.http.request(method, path, headers=bearer(token))).status_code

    chat, events, route = "/v1/chat/completions", "/events", "/route?model=agent&unit=u"
    assert [status(route, token) for token in (INGEST, INFER, ADMIN)] == [403, 200, 200]
    assert [status("/metrics", token) for token in (INGEST, INFER, ADMIN)] == [403, 403, 200]
    assert [status(chat, token, "POST") for token in (INGEST, INFER, ADMIN, f"both-{ADMIN}")] == [403, 415, 415, 415]
    assert [status(events, token, "POST") for token in (INGEST, INFER, ADMIN, f"both-{ADMIN}")] == [415, 403, 415, 415]
    assert status("/feedback", INFER, "POST") == 403
    assert [gateway.get(path).status_code for path in ("/healthz", "/readyz", "/openapi.json")] == [200, 200, 200]


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), {"authorization": "Basic YTpi"}, {"authorization": INFER}, bearer(INFER + "x"),
     {"authorization": "Bearer \xff".encode("latin-1")}],
)  # fmt: skip
def test_without_a_known_token_nobody_is_let_in(place, opened, tokens, headers):
    gateway = opened(place, tokens=tokens)
    answer = gateway.get("/route", params={"model": "agent"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:ratchet:E7873", "title": "Unauthorized", "status": 401, "code": "E7873",
        "detail": answer.json()["detail"],
    }  # fmt: skip
    assert INFER not in answer.text


def test_without_tokens_nobody_listens_where_others_can_reach(toys, place):
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org"):
        with pytest.raises(SettingsError, match="E7870"):
            run(toys.config(place, host=host))
    for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"):
        assert not load_tokens(None, host)


def test_a_file_of_tokens_tells_all_its_faults_and_no_token(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"short ingest\n{INFER}\n{INFER} infer,fly\n{INFER} infer\n{ADMIN} admin more\n")
    path.chmod(0o644)
    with pytest.raises(SettingsError) as caught:
        load_tokens(path, "127.0.0.1")
    said = str(caught.value)
    for part in ("every user", "line 1", "line 2", "no such scope as fly", "line 4 repeats", "line 5"):
        assert part in said
    assert INFER not in said
    path.write_text("# nobody\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="it has no token"):
        load_tokens(path, "127.0.0.1")
    with pytest.raises(SettingsError, match="E7871"):
        load_tokens(tmp_path / "missing", "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8400", "localhost:1", "[::1]:8400", "[::1]", "LOCALHOST"])
def test_this_machine_is_known_by_its_names(host):
    check_host(host)


@pytest.mark.parametrize(
    "host", [None, "", "example.org", "example.org:8400", "127.0.0.1.example.org", "localhost.evil"]
)
def test_without_tokens_a_page_that_comes_under_another_name_is_refused(host):
    with pytest.raises(Problem) as caught:
        check_host(host)
    assert caught.value.kind.status == 421


def test_a_bucket_lets_a_burst_through_and_then_its_rate():
    now = [0.0]
    buckets = Buckets(rate=10, burst=3, clock=lambda: now[0])
    for _ in range(3):
        buckets.take("ann")
    with pytest.raises(Problem) as caught:
        buckets.take("ann")
    assert caught.value.kind.status == 429
    assert caught.value.headers["retry-after"] == "1"
    buckets.take("bob")
    now[0] = 0.1  # one request's worth
    buckets.take("ann")
    with pytest.raises(Problem):
        buckets.take("ann")


def test_callers_are_forgotten_and_memory_is_bounded():
    buckets = Buckets(rate=1, burst=1)
    for number in range(MOST_CALLERS + 10):
        buckets.take(str(number))
    assert len(buckets._levels) == MOST_CALLERS


def test_a_caller_who_asks_too_often_is_told_when_to_come_again(place, opened):
    gateway = opened(place, requests_per_second=0.5, burst=2)
    answers = [gateway.get("/route", params={"model": "agent"}) for _ in range(3)]
    assert [answer.status_code == 429 for answer in answers] == [False, False, True]
    assert answers[2].headers["retry-after"] == "2"
    assert gateway.get("/healthz").status_code == 200


def test_a_body_that_is_too_large_is_refused_while_it_is_read(place, opened):
    gateway = opened(place, chat_bytes=1000, batch_bytes=2000)
    read = []

    async def pieces():
        for _ in range(100):
            read.append(1)
            yield b"x" * 100

    async def chunked(path, kind):
        return await gateway.http.post(path, content=pieces(), headers={"content-type": kind})

    answer = gateway.post("/v1/chat/completions", content=b"x" * 1001, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (413, "E7875", "close")
    assert gateway.do(chunked("/events", "application/cloudevents+json")).status_code == 413
    assert gateway.do(chunked("/feedback", "application/json")).status_code == 413


def test_a_path_or_method_that_there_is_not_is_a_problem_as_well(shared):
    for method, path, status in (
        ("GET", "/nothing", 404), ("GET", "/events", 405), ("DELETE", "/events", 405), ("PUT", "/feedback", 405),
        ("GET", "/v1/chat/completions", 405), ("POST", "/healthz", 405), ("GET", "/docs", 404),
        ("GET", "/events/", 404),
    ):  # fmt: skip
        answer = shared.gateway.do(shared.gateway.http.request(method, path))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        assert answer.json()["code"] == "E7879"


def test_what_nobody_expected_is_a_problem_without_its_inside(shared, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gateway.app.explained", broken)
    answer = shared.gateway.get("/route", params={"model": "agent"})
    assert (answer.status_code, answer.json()["code"]) == (500, "E7889")
    assert "secret" not in answer.text


def test_everything_is_counted(shared):
    shared.gateway.chat()
    shared.gateway.get("/nothing")
    page = shared.gateway.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'ratchet_gateway_requests_total{code="200",route="/v1/chat/completions"}',
        'ratchet_gateway_requests_total{code="404",route="other"}',
        'ratchet_gateway_loaded{model="agent",version="1"} 1.0',
        'ratchet_gateway_request_seconds_bucket{le="0.002"',
        "ratchet_gateway_spool_bytes",
    ):
        assert line in page.text
    age = float(page.text.split("\nratchet_gateway_snapshot_age_seconds ")[1].split("\n")[0])
    assert 0 <= age < 10


def test_a_caller_who_goes_away_in_the_middle_harms_nobody(shared):
    sent = []

    async def vanishing():
        scope = {
            "type": "http", "method": "POST", "path": "/events", "raw_path": b"/events", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/cloudevents+json")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

        async def receive():
            await asyncio.sleep(0)
            return next(messages)

        async def send(message):
            sent.append(message)

        await shared.gateway.app(scope, receive, send)

    shared.gateway.do(vanishing())
    assert sent[0]["status"] == 400
