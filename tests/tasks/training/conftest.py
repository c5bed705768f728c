"""Toy conversations, and the real records where they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from registry.records import Conversation
from tasks.training.backend import TrainingData

REAL = Path(__file__).parents[4] / "shared" / "data" / "events"
REQUESTS = {
    "I want to cancel my booking {}": 'cancel_booking({{"id": "{}"}})',
    "please send the invoice for order {}": 'find_invoice({{"order": "{}"}})',
    "what is the weather in town {}": 'get_weather({{"town": "{}"}})',
    "my parcel {} has not arrived": "I am sorry to hear that. I will look for parcel {} at once.",
    "thanks, that was all about {}": "You are welcome! Have a good day, and remember {}.",
}


def make_table(conversations: list[Conversation]) -> pa.Table:
    return pa.table(
        {
            "example_id": [f"example {i}" for i in range(len(conversations))],
            "messages": pa.array([json.dumps(messages) for messages in conversations], pa.large_string()),
            "domain": ["support"] * len(conversations),
            "composite": [1.0] * len(conversations),
        }
    )


def toy(count: int, seed: int, *, random_answers: bool = False) -> list[Conversation]:
    """Conversations of one turn: five kinds of request, each with its own kind of answer, or with any."""
    rng = np.random.default_rng(seed)
    asked, answered = list(REQUESTS), list(REQUESTS.values())
    conversations = []
    for _ in range(count):
        kind, name = int(rng.integers(len(asked))), f"n{int(rng.integers(100))}"
        reply = int(rng.integers(len(asked))) if random_answers else kind
        conversations.append(
            [
                {"role": "user", "content": asked[kind].format(name)},
                {"role": "assistant", "content": answered[reply].format(name)},
            ]
        )
    return conversations


@pytest.fixture
def toys() -> Callable[..., list[Conversation]]:
    return toy


@pytest.fixture
def table() -> Callable[[list[Conversation]], pa.Table]:
    return make_table


@pytest.fixture(scope="session")
def toy_data() -> TrainingData:
    return TrainingData(make_table(toy(200, 1)), make_table(toy(40, 2)), "toy")


@pytest.fixture(scope="session")
def tau() -> list[tuple[str, Conversation]]:
    """The successful traces of tau_airline: (task, conversation)."""
    path = REAL / "tau_airline.jsonl"
    if not path.is_file():
        pytest.skip(f"the real records are not at {path}: nothing is shown about them")
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(e["subject"], _conversation(e["data"]["steps"])) for e in events if e["data"]["status"] == "success"]


def _conversation(steps: list[dict[str, object]]) -> Conversation:
    messages: Conversation = []
    for number, step in enumerate(steps):
        if step["type"] == "tool_call":
            function = {"name": step["tool"], "arguments": json.dumps(step["arguments"])}
            call = {"id": f"call_{number}", "type": "function", "function": function}
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": step["observation"] or ""},
            ]
        else:
            role = "user" if step["type"] == "user_message" else "assistant"
            messages.append({"role": role, "content": step["observation"] or ""})
    return messages
