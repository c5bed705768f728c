"""Versions that are served elsewhere: a real server on this machine plays the other side."""

import asyncio
import json
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.app import create_app
from registry.errors import SettingsError


class Elsewhere:
    """An OpenAI-compatible server that does what the question says."""

    def __init__(self):
        self.asked = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.complete, methods=["POST"])])

    async def complete(self, request):
        body = await request.json()
        self.asked.append((body, dict(request.headers)))
        said = body["messages"][-1]["content"]
        if said.isdigit():
            return Response("no", int(said))
        if said == "html":
            return Response("<html>")
        if said == "wait":
            await asyncio.sleep(1)
        if body.get("stream"):
            return StreamingResponse(self.chunks(said), media_type="text/event-stream")
        message = {"role": "assistant", "content": "from elsewhere"}
        usage = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
        return JSONResponse({"id": "x", "model": body["model"], "choices": [{"message": message}], "usage": usage})

    async def chunks(self, said):
        for word in ("from ", "else", "where"):
            yield b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}).encode() + b"\r\n\r\n"
            if said == "break":
                return
            if said == "dawdle":
                await asyncio.sleep(0.3)
        yield b": a comment\n\n"
        yield b'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 22}}\n\ndata: [DONE]\n\n'


def serve_at(place, version, url, model=""):
    """Let a version be served elsewhere, as somebody signed who looked at it."""
    place.client.set_model_version_tag("agent", version, "endpoint", url)
    place.client.set_model_version_tag("agent", version, "endpoint_model", model)
    place.bundles.sign(place.registry.get("agent", version), "it is served there", "ann")


@pytest.fixture
def elsewhere():
    return Elsewhere()


@pytest.fixture
def gateway(place, opened, served, elsewhere):
    serve_at(place, "1", f"{served(elsewhere.app)}/v1/", "big-model")
    return opened(place, answer_seconds=0.5).ready()


def test_the_answer_of_another_server_is_passed_on_and_logged(place, gateway, elsewhere):
    answer = gateway.chat("hello", temperature=0.5, seed=7, headers={"authorization": "Bearer secret"})
    assert answer.json()["choices"][0]["message"]["content"] == "from elsewhere"
    assert answer.headers["x-ratchet-version"] == "1"
    body, headers = elsewhere.asked[0]
    assert (body["model"], body["temperature"], body["seed"]) == ("big-model", 0.5, 7)
    assert "authorization" not in headers
    data = place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert (data["output"], data["tokens_in"], data["tokens_out"]) == ("from elsewhere", 11, 22)


def test_a_stream_of_another_server_is_passed_on_as_it_comes_and_logged_at_its_end(place, gateway):
    answer = gateway.chat("hello", stream=True)
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    said = [choice["delta"]["content"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    assert said == ["from ", "else", "where"]
    data = place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert (data["output"], data["status"], data["tokens_out"]) == ("from elsewhere", "success", 22)


def test_a_stream_that_breaks_off_ends_with_an_error_and_is_logged_as_one(place, gateway):
    answer = gateway.chat("break", stream=True)
    assert '"code":"E7882"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    data = place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert (data["output"], data["status"], data["error"]) == ("from ", "error", "the stream ended without [DONE]")


def test_a_stream_whose_caller_hangs_up_is_logged_with_what_was_said(place, served, elsewhere, toys, caplog):
    serve_at(place, "1", f"{served(elsewhere.app)}/v1")
    url = served(create_app(toys.config(place)))
    body = {"model": "agent", "messages": [{"role": "user", "content": "dawdle"}], "stream": True}
    with httpx.Client(base_url=url) as http:
        while http.get("/readyz").status_code != 200:
            time.sleep(0.05)
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_bytes())
    data = place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert data["status"] == "incomplete"
    assert "from elsewhere".startswith(data["output"])
    assert "unexpected" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "status", "logged"),
    [
        ("500", 502, "error"),
        ("401", 502, "error"),
        ("302", 502, "error"),
        ("wait", 504, "timeout"),
        ("429", 503, "error"),
    ],
)
def test_what_fails_elsewhere_is_told_and_logged(place, gateway, said, status, logged, stream):
    answer = gateway.chat(said, stream=stream)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert place.execution(answer.headers["x-ratchet-trace"])["data"]["status"] == logged


def test_what_the_other_server_blames_on_the_request_is_the_callers(gateway):
    assert gateway.chat("422").status_code == 400


def test_an_answer_that_is_none_is_a_failure(gateway):
    assert gateway.chat("html").json()["detail"].startswith("the server of agent version 1 failed: its answer is no")


def test_a_server_that_is_not_there_is_a_failure(place, opened):
    serve_at(place, "1", "http://127.0.0.1:9/v1")
    answer = opened(place).ready().chat()
    assert (answer.status_code, answer.json()["code"]) == (502, "E7882")


def test_an_endpoint_that_is_no_address_is_told(place, opened):
    place.client.set_model_version_tag("agent", "1", "endpoint", "file:///etc/passwd")
    gateway = opened(place)
    gateway.until(lambda: "E7927" in gateway.get("/readyz").text)
    assert gateway.chat().status_code == 503


def test_a_server_that_nobody_signed_gets_no_request_and_one_that_was_signed_is_left_on_purpose_alone(
    place, opened, served, elsewhere
):
    gateway = opened(place).ready()
    place.client.set_model_version_tag("agent", "1", "endpoint", f"{served(elsewhere.app)}/v1")
    gateway.until(lambda: "E7953" in gateway.get("/readyz").text)
    assert gateway.chat().status_code == 503
    assert elsewhere.asked == []
    place.bundles.sign(place.registry.get("agent", "1"), "it is ours", "ann")
    gateway.until(lambda: gateway.chat().status_code == 200)
    assert len(elsewhere.asked) == 1
    place.client.delete_model_version_tag("agent", "1", "endpoint")
    gateway.until(lambda: "E7953" in gateway.get("/readyz").text)


def test_a_key_goes_to_its_own_server_and_to_no_other(place, opened, served, elsewhere, tmp_path, caplog):
    caplog.set_level("DEBUG")
    address = served(elsewhere.app)
    keys = tmp_path / "keys"
    keys.write_text(f"# ours\n{address}/v1 of-this-server\nhttps://api.example.com of-that-server\n")
    keys.chmod(0o600)
    serve_at(place, "1", f"{address}/v1")
    serve_at(place, "2", f"{address.replace('127.0.0.1', 'localhost')}/v1")
    gateway = opened(place, endpoint_keys=keys).ready()
    assert gateway.chat(headers={"authorization": "Bearer of-the-caller"}).status_code == 200
    assert gateway.chat(model="agent/2").status_code == 200
    assert [headers.get("authorization") for _, headers in elsewhere.asked] == ["Bearer of-this-server", None]
    assert "of-this-server" not in caplog.text
    assert "of-this-server" not in json.dumps(place.executions(lambda events: len(events) == 2))


def test_a_file_of_keys_tells_all_its_faults_and_no_key(place, toys, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("https://a.example.com secret-1\nhttps://a.example.com:443/v1 secret-2\nsecret-3\nhost secret-4\n")
    keys.chmod(0o644)
    with pytest.raises(SettingsError) as caught:
        create_app(toys.config(place, endpoint_keys=keys))
    message = str(caught.value)
    for fault in ("E7871", "chmod 600", "line 2 repeats", "line 3 is not", "line 4 begins with no address"):
        assert fault in message
    assert "secret" not in message
