"""What a caller of chat completions gets, and what the log gets of it."""

import asyncio
import json

import msgspec
import pytest

from gateway.chat import chunks, conversation, read_request, steps
from gateway.problems import Problem
from tasks.extraction.conversation import build
from tasks.extraction.event import Data


def test_the_champion_answers_in_the_form_of_openai(shared):
    answer = shared.gateway.chat("hello there")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "answer 1"}, "finish_reason": "stop"}
    ]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert answer.headers["x-ratchet-version"] == "1"
    assert "x-ratchet-experiment" not in answer.headers
    assert float(answer.headers["server-timing"].partition("dur=")[2]) >= 0


def test_the_log_has_the_answer_soon_after(shared):
    headers = {"x-ratchet-domain": "travel", "x-ratchet-session": "s-1"}
    answer = shared.gateway.chat("where is my booking?", unit="jörg".encode(), headers=headers)
    event = shared.place.execution(answer.headers["x-ratchet-trace"])
    assert (event["source"], event["subject"]) == ("ratchet/gateway", "jörg")
    data = event["data"]
    assert data.pop("latency_ms") >= 0
    assert data == {
        "trace_id": event["id"],
        "agent": "agent",
        "model_version": "1",
        "task": {"type": "chat", "domain": "travel", "instruction": "where is my booking?"},
        "steps": [],
        "output": "answer 1",
        "status": "success",
        "confidence": 0.75,
        "tokens_in": 4,
        "tokens_out": 2,
        "unit": "jörg",
        "session_id": "s-1",
    }


def test_a_stream_says_the_same_word_by_word(shared):
    more = {"stream": True, "stream_options": {"include_usage": True}}
    answer = shared.gateway.chat("hello there", **more)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    found = [json.loads(line) for line in lines]
    assert {each["object"] for each in found} == {"chat.completion.chunk"}
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in found[:-1]) == "answer 1"
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["usage"]["completion_tokens"] == 2
    assert shared.place.execution(answer.headers["x-ratchet-trace"])["data"]["output"] == "answer 1"


@pytest.mark.parametrize("text", ["", " ", "a", "two words", " lead\n\nlines  and spaces \n", "日本 語"])
def test_the_chunks_of_a_stream_join_to_the_text(text):
    found = [json.loads(chunk[6:]) for chunk in list(chunks("t", "m", text, None))[:-1]]
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in found) == text


def test_a_unit_is_the_header_else_the_user_else_the_session_else_anybody(shared):
    def unit(headers, **body) -> str:
        body = {"model": "agent", "messages": [{"role": "user", "content": "hi"}], **body}
        answer = shared.gateway.post("/v1/chat/completions", json=body, headers=headers)
        return shared.place.execution(answer.headers["x-ratchet-trace"])["data"]["unit"]

    assert unit({"x-ratchet-unit": "u", "x-ratchet-session": "s"}, user="v") == "u"
    assert unit({"x-ratchet-session": "s"}, user="v") == "v"
    assert unit({"x-ratchet-session": "s"}) == "s"
    assert unit({}, metadata={"session_id": "m"}) == "m"
    assert unit({}).startswith("anonymous-")


def test_a_model_that_fails_is_answered_with_502_and_logged_as_an_error(shared):
    answer = shared.gateway.chat("please fail")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "E7882"
    assert "a toy that fails" not in answer.text
    data = shared.place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert (data["status"], data["output"], data["model_version"]) == ("error", "", "1")
    assert data["error"] == "E7882: agent version 1 failed: RuntimeError"


def test_a_model_that_takes_too_long_is_answered_with_504(place, opened):
    gateway = opened(place, answer_seconds=0.1).ready()
    answer = gateway.chat("slowly please")
    assert (answer.status_code, answer.json()["code"]) == (504, "E7883")
    assert place.execution(answer.headers["x-ratchet-trace"])["data"]["status"] == "timeout"


def test_a_gateway_that_answers_as_many_as_it_can_asks_others_to_come_again(place, opened):
    gateway = opened(place, answers_at_once=1, model_threads=1).ready()
    body = {"model": "agent", "messages": [{"role": "user", "content": "slowly please"}]}

    async def two() -> list[int]:
        asked = [gateway.http.post("/v1/chat/completions", json=body) for _ in range(2)]
        return sorted(answer.status_code for answer in await asyncio.gather(*asked))

    assert gateway.do(two()) == [200, 503]


TURNS = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Can I fly"}, {"type": "text", "text": "later?"}]},
    {
        "role": "assistant",
        "content": "I need the booking.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"user": "42"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"id": 7}'},
    {"role": "assistant", "content": "Shall I?"},
    {"role": "user", "content": "Yes, please."},
]


def test_several_turns_become_the_same_conversation_when_they_are_learned_from(shared):
    answer = shared.gateway.post("/v1/chat/completions", json={"model": "agent", "messages": TURNS})
    data = shared.place.execution(answer.headers["x-ratchet-trace"])["data"]
    assert data["task"]["instruction"] == "Yes, please."
    built = build(msgspec.convert(data, Data), data["output"])
    assert json.loads(msgspec.json.encode(built.messages)) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Can I fly\nlater?"},
        {
            "role": "assistant",
            "content": "I need the booking.",
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "find", "arguments": '{"user":"42"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": '{"id": 7}'},
        {"role": "assistant", "content": "Shall I?"},
        {"role": "user", "content": "Yes, please."},
        {"role": "assistant", "content": "answer 1"},
    ]


def test_an_answer_that_was_given_before_is_a_turn_of_its_own():
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "no"}, {"role": "user", "content": "b"}]
    assert [step["observation"] for step in steps(said, "no")] == ["a", "no", "b", "no"]


def test_parts_that_are_no_text_are_named():
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]
    body = {"model": "agent", "messages": [{"role": "user", "content": parts}]}
    request = read_request(json.dumps(body).encode(), "application/json")
    assert conversation(request)[0]["content"] == "what is\n[image_url]"


MESSAGE = b'[{"role": "user", "content": "x"}]'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"nonsense", "malformed"),
        (b'{"model": "agent"}', "missing required field `messages`"),
        (b'{"model": 1, "messages": ' + MESSAGE + b"}", "$.model"),
        (b'{"model": "agent", "messages": []}', "`messages` is empty"),
        (b'{"model": "agent", "messages": ' + MESSAGE + b', "n": 2}', "`n` is 2"),
        (b'{"model": "agent", "messages": [{"role": "king", "content": "x"}]}', "$.messages[0].role"),
        (b'{"model": "agent", "messages": [{"role": "user", "content": 7}]}', "$.messages[0].content"),
        (b'{"model": "agent", "messages": ' + MESSAGE + b', "temperature": NaN}', "malformed"),
        (b'{"model": "agent", "messages": [{"role": "user", "content": "\\ud800"}]}', "truncated"),
        (b'{"model": "agent", "messages": [{"role": "user", "content": "\xff"}]}', "utf-8"),
        (b'{"model": "agent", "messages": ' + MESSAGE + b', "metadata": {"a": ' + b"[" * 9999 + b"}", "too deep"),
    ],
)
def test_what_is_no_request_is_refused_with_the_place_where_it_is_wrong(body, said):
    with pytest.raises(Problem) as caught:
        read_request(body, "application/json")
    assert caught.value.kind.status == 400
    assert said in caught.value.what


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_announced_as_json_is_refused(kind):
    with pytest.raises(Problem, match="not announced as JSON"):
        read_request(b"{}", kind)


def test_the_route_of_a_unit_is_told_with_the_reason(shared):
    answer = shared.gateway.get("/route", params={"model": "agent", "unit": "u"})
    assert answer.json() == {
        "model": "agent", "version": "1", "experiment": None, "arm": None, "shadow": None, "why": "no experiment"
    }  # fmt: skip
    assert shared.gateway.get("/route").status_code == 400
    assert shared.gateway.get("/route", params={"model": "nobody"}).status_code == 404
