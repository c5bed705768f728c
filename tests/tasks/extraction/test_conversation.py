"""From traces to conversations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.records import Reason, turn_text


def step(kind: str | None, observation: Any = None, tool: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"type": kind, "tool": tool, "arguments": arguments, "observation": observation}


def call(tool: Any, arguments: Any = None, observation: Any = None) -> dict[str, Any]:
    return step("tool_call", observation, tool, arguments)


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def called(number: int, name: str, arguments: str, content: str = "") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answered(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


@pytest.fixture
def messages(event, read):
    """Return a function that gives the conversation of one trace."""

    def build(steps=None, output=None, **changes):
        changes = {f"data__{name}": value for name, value in changes.items()}
        found = read(event(data__steps=steps, data__output=output, **changes))
        assert not found.rejects
        return found.messages[0]

    return build


ASK = said("user", "Find a train to Bern.")


def test_an_instruction_and_an_output_are_two_turns(messages):
    assert messages(None, "At 10:04.") == [ASK, said("assistant", "At 10:04.")]


def test_tool_calls_have_ids_and_their_observations(messages):
    found = messages(
        [call("find", {"to": "Bern", "n": 1}, "10:04"), call("find", {"to": "Thun"}, {"at": [11]})], "At 10:04."
    )
    assert found == [
        ASK, called(0, "find", '{"to":"Bern","n":1}'), answered(0, "10:04"),
        called(1, "find", '{"to":"Thun"}'), answered(1, '{"at":[11]}'), said("assistant", "At 10:04."),
    ]  # fmt: skip
    assert turn_text(found[1]) == 'find({"to":"Bern","n":1})'


@pytest.mark.parametrize(
    ("arguments", "text"),
    [("Bern", '{"input":"Bern"}'), ('{"to": "Bern"}', '{"to":"Bern"}'), ("{no json", '{"input":"{no json"}'),
     (None, "{}"), ("", "{}"), ([1, "a"], '{"input":[1,"a"]}'), ({"é": "ü"}, '{"é":"ü"}')],
)  # fmt: skip
def test_arguments_are_always_the_text_of_an_object(messages, arguments, text):
    assert messages([call("find", arguments)])[1] == called(0, "find", text)


def test_a_thought_is_the_beginning_of_the_turn_that_follows(messages):
    steps = [step("thought", "I must look."), call("find", {}, "x"), step("thought", "So."), step("thought", "Yes.")]
    assert messages(steps, "At 10:04.") == [
        ASK, called(0, "find", "{}", "I must look."), answered(0, "x"), said("assistant", "So.\nYes.\nAt 10:04."),
    ]  # fmt: skip
    assert messages([step("thought", "The train is at 10:04.")], "10:04") == [
        ASK, said("assistant", "The train is at 10:04."),
    ]  # fmt: skip


def test_what_the_user_says_in_the_steps_replaces_the_private_instruction(messages):
    steps = [step("user_message", "Hello"), step("assistant_message", "Where to?"), step("user_message", "Bern")]
    assert messages(steps, "At 10:04.") == [
        said("user", "Hello"), said("assistant", "Where to?"), said("user", "Bern"), said("assistant", "At 10:04."),
    ]  # fmt: skip


def test_what_comes_after_the_last_assistant_turn_is_dropped(messages):
    steps = [step("user_message", "Hello"), step("assistant_message", "Goodbye"), step("user_message", "###STOP###")]
    assert messages(steps, "Goodbye") == [said("user", "Hello"), said("assistant", "Goodbye")]
    steps = [step("user_message", "Hello"), step("assistant_message", "Wait"), call("transfer", {}, "Transferred")]
    assert messages(steps, "Wait") == [said("user", "Hello"), said("assistant", "Wait"), called(0, "transfer", "{}")]


@pytest.mark.parametrize("tool", ["finish", "Submit", "final_answer", "done"])
def test_a_tool_that_ends_the_episode_is_the_last_turn_and_its_reward_is_dropped(messages, tool):
    steps = [step("thought", "I know."), call(tool, "Bern", "Episode finished, reward = True")]
    assert messages(steps, "something else") == [ASK, called(0, tool, '{"input":"Bern"}', "I know.")]


def test_a_call_that_says_the_output_is_the_last_turn(messages):
    steps = [call("reply", {"text": "The 67,575!"}, "reward 1")]
    assert messages(steps, "67575") == [ASK, called(0, "reply", '{"text":"The 67,575!"}')]


def test_a_reward_in_the_middle_is_not_told_to_the_agent(messages):
    steps = [
        call("finish", "Bern", "reward = 0"),
        step("observation", "reward = 0"),
        call("finish", "Thun", "reward = 1"),
    ]
    assert messages(steps) == [
        ASK, called(0, "finish", '{"input":"Bern"}'), answered(0, ""), called(1, "finish", '{"input":"Thun"}'),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("last", "output", "turns"),
    [("The answer is 42.", "42", 1), ("The answer is 42.", "The answer is 42.", 1), ("The answer is 42.", "4", 2),
     ("I don't know", "no", 2), ("Let me see.", "42", 2), ("It is THE  Answer", "it is an answer.", 1)],
)  # fmt: skip
def test_an_output_is_added_only_if_it_says_something_new(messages, last, output, turns):
    found = messages([step("assistant_message", last)], output)
    assert len(found) == 1 + turns
    assert found[-1]["content"] == (output if turns == 2 else last)


def test_a_model_call_brings_its_system_text_once_and_first(messages):
    steps = [
        step("llm_call", "One", "m", {"system": "Be brief."}),
        step("llm_call", "Two", "m", {"system": "Be brief."}),
    ]
    assert messages(steps, "Two") == [
        said("system", "Be brief."),
        ASK,
        said("assistant", "One"),
        said("assistant", "Two"),
    ]


def test_an_observation_of_its_own_answers_the_open_call(messages):
    steps = [call("find", {}), step("observation", "10:04"), step("observation", "11:04")]
    assert messages(steps, "At ten.") == [
        ASK,
        called(0, "find", "{}"),
        answered(0, "10:04\n11:04"),
        said("assistant", "At ten."),
    ]


def test_steps_of_unknown_type_are_calls_if_they_name_a_tool_and_else_counted(event, read):
    steps = [step("retrieval", "docs", "search", {"q": "x"}), step("heartbeat", "tick"), step(None, "?")]
    found = read(event(data__steps=steps, data__output="Done."))
    assert found.messages[0][1:3] == [called(0, "search", '{"q":"x"}'), answered(0, "docs")]
    assert found.events.by_reason == {"unknown_step": 2}


@pytest.mark.parametrize("key", ["content", "text"])
def test_what_a_step_says_may_stand_under_another_known_key(event, read, key):
    kinds = ("system_message", "user_message", "thought", "tool_call", "tool_result", "llm_call", "assistant_message")
    steps = [{"type": kind, key: kind} for kind in kinds]
    steps[3] = call("find", {})
    found = read(event(data__steps=steps, data__output=None))
    assert found.messages[0] == [
        said("system", "system_message"), said("user", "user_message"), called(0, "find", "{}", "thought"),
        answered(0, "tool_result"), said("assistant", "llm_call"), said("assistant", "assistant_message"),
    ]  # fmt: skip
    assert found.events.by_reason == {}


def test_the_observation_comes_before_other_keys(messages):
    steps = [
        step("user_message", "One") | {"text": "Two"},
        step("assistant_message", " ") | {"text": "b", "content": "a"},
    ]
    assert messages(steps) == [said("user", "One"), said("assistant", "a")]


def test_steps_that_say_nothing_are_skipped_and_counted(event, read):
    kinds = ("user_message", "thought", "llm_call", "assistant_message")
    steps = [{"type": kind, "output": "lost", "message": "lost"} for kind in kinds] + [step("user_message", " ")]
    found = read(event(data__steps=steps, data__output="Done."))
    assert found.messages[0] == [ASK, said("assistant", "Done.")]
    assert found.events.by_reason == {"step_without_text": 5}


def test_a_call_without_a_tool_is_text(messages):
    assert messages([call(None, "search[Bern]", "nothing")], "Sorry.") == [
        ASK, said("assistant", "search[Bern]"), said("user", "nothing"), said("assistant", "Sorry."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "first"),
    [
        (None, "Find a train to Bern."),
        ("today", "Find a train to Bern.\n\ntoday"), ("to Bern", "Find a train to Bern."),
        ({"to": "Bern"}, "Find a train to Bern."), ({"to": "Bern", "n": 2}, "Find a train to Bern."),
        ({"to": "Thun"}, 'Find a train to Bern.\n\n{"to":"Thun"}'), ({"n": 2}, 'Find a train to Bern.\n\n{"n":2}'),
        ({"ground_truth": "10:04"}, "Find a train to Bern."), ([1, 2], "Find a train to Bern.\n\n[1,2]"),
    ],
)  # fmt: skip
def test_the_input_follows_the_instruction_where_it_says_more(messages, given, first):
    assert messages(None, "ok", task={"instruction": "Find a train to Bern.", "input": given})[0]["content"] == first


def test_an_input_alone_is_the_first_turn(messages):
    assert messages(None, "ok", task={"instruction": None, "input": "Hello"})[0] == said("user", "Hello")


def test_a_plan_is_the_assistants_turn(event, read):
    plan = [{"day": 1, "city": "Bern"}, {"day": 2, "city": "Thun"}]
    lines = [
        event(id="list", data__plan=plan), event(id="text", data__plan="Go to Bern."),
        event(id="other", data__plan=None, data__plan_text="Stay."), event(id="empty", data__plan=[]),
        event(id="none", data__plan=None), event(id="blank", data__plan={}, data__plan_text=" "),
    ]  # fmt: skip
    found = read(*(line | {"type": "planning.completed"} | {"data": line["data"] | {"steps": None}} for line in lines))
    assert [messages[-1]["content"] for messages in found.messages[:3]] == [
        json.dumps(plan, separators=(",", ":")), "Go to Bern.", "Stay.",
    ]  # fmt: skip
    assert found.messages[3:] == [[], [], []]
    assert found.resolution.flags.tolist() == [0, 0, 0] + [Reason.EMPTY_OUTPUT] * 3


@pytest.mark.parametrize("status", ["failure", "FAILED", "error", "timeout", " cancelled ", "aborted"])
def test_a_failed_trace_has_no_text(event, read, status):
    found = read(event(data__status=status))
    assert found.messages == [[]]
    assert found.examples["failed"].to_pylist() == [True]
    assert found.resolution.flags.tolist() == [Reason.FAILED_TRACE]


@pytest.mark.parametrize("status", ["success", "ok", None, "partial"])
def test_any_other_status_is_no_failure(event, read, status):
    assert read(event(data__status=status)).resolution.flags.tolist() == [0]


def test_a_trace_without_an_assistant_or_a_user_turn_teaches_nothing(event, read):
    found = read(
        event(id="a", data__steps=[], data__output=None),
        event(id="b", data__steps=[step("user_message", "Hello?")], data__output=" "),
        event(id="c", data__task=None),
    )
    assert found.messages == [[], [], []]
    assert found.resolution.flags.tolist() == [Reason.NO_ASSISTANT_TURN] * 2 + [Reason.NO_USER_TURN]


def test_nothing_of_the_scores_gets_into_the_text(event, read):
    secret = {"ground_truth": "SECRET", "reward": "SECRET", "verdict": "SECRET", "label": "SECRET"}
    line = event(data__feedback={"kind": "comment", "value": "SECRET"}, secret="SECRET")
    line["data"] |= secret
    line["data"]["task"] |= secret
    line["data"]["steps"] = [one | secret for one in line["data"]["steps"]]
    found = read(line)
    assert not found.rejects
    assert "SECRET" not in found.examples["messages"][0].as_py()


def test_no_reward_and_no_ground_truth_of_the_real_records_gets_into_the_text(paths, records):
    path = records / "events" / "fireact_hotpot.jsonl"
    found = paths(path)
    texts = dict(zip(found.examples["event_id"].to_pylist(), found.examples["messages"].to_pylist(), strict=True))
    for line in path.read_text().splitlines():
        event = json.loads(line)
        data, text = event["data"], texts[event["id"]]
        assert "reward =" not in text.lower()
        assert "episode finished" not in text.lower()
        assert (text == "[]") == (data["status"] == "failure")
        read = json.dumps([data["task"], data["steps"], data["output"]]).lower()
        truth = json.dumps(data["ground_truth"].lower())[1:-1]
        if truth not in read:
            assert truth not in text.lower()
        if text != "[]":
            last = json.loads(text)[-1]
            assert last["tool_calls"][0]["function"]["name"] == "finish"


def test_real_service_conversations_hide_the_task_and_end_with_the_agent(paths, records):
    path = records / "events" / "tau_airline.jsonl"
    found = paths(path)
    texts = dict(zip(found.examples["event_id"].to_pylist(), found.messages, strict=True))
    for line in path.read_text().splitlines():
        event = json.loads(line)
        messages = texts[event["id"]]
        if not messages:
            assert event["data"]["status"] == "failure"
            continue
        assert messages[-1]["role"] == "assistant"
        assert messages[0] == {"role": "user", "content": event["data"]["task"]["input"]}
        assert event["data"]["task"]["instruction"] not in {message["content"] for message in messages}
        spoken = [step["observation"] for step in event["data"]["steps"] if step["type"] == "assistant_message"]
        assert [m["content"] for m in messages if m["role"] == "assistant" and m["content"]] == spoken
