"""From a trace to one conversation in chat form. Scores, ground truth and rewards are never looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tasks.extraction.event import Data, Step, Task
from tasks.extraction.messages import (
    Answered,
    Call,
    Called,
    Function,
    Said,
    answer_form,
    argument_values,
    arguments_text,
    as_text,
    may_hold,
)

TERMINAL = frozenset(
    {"finish", "finished", "submit", "answer", "final_answer", "final", "done", "terminate", "complete", "end", "exit"}
)
"""Tools by which an agent ends: their argument is the answer, and what they return (a reward) is not for training."""

PRIVATE = frozenset(
    {"ground_truth", "gold", "expected_output", "expected_answer", "reward", "rewards", "quality_score"}
)
"""Keys of a task's input that no agent was shown: they are left out of the first user turn."""

CALL_IDS = tuple(f"call_{number}" for number in range(256))


class Built(NamedTuple):
    """A conversation, and what was counted on the way."""

    messages: list[Said | Called | Answered]
    """Ends with the last assistant turn; empty if there is none."""
    prompt: str
    """What the user wants: the text of the first user turn, or an empty text."""
    said: str
    """What the assistant says and calls, with blanks between."""
    answers: int
    """Assistant messages."""
    turns: int
    """User and assistant messages."""
    calls: int
    """Tool calls."""
    tools: int
    """Distinct tools."""
    unknown: int
    """Steps of unknown type that were skipped."""
    silent: int
    """Steps of a user, an assistant, a thought or a model that say nothing."""


class Builder:
    """Turns the steps of one trace into messages, one step at a time."""

    __slots__ = (
        "answers",
        "calls",
        "ended",
        "last",
        "messages",
        "said",
        "silent",
        "spoken",
        "thought",
        "tools",
        "unknown",
        "users",
    )

    def __init__(self) -> None:
        self.messages: list[Said | Called | Answered] = []
        self.thought = ""
        self.last = -1
        """Position of the last assistant message."""
        self.spoken = ""
        """What the last assistant message says, or the arguments of the tool that it calls."""
        self.ended = False
        """The last assistant message calls a tool that ends the episode."""
        self.said: list[str] = []
        """All that the assistant says and calls."""
        self.tools: set[str] = set()
        self.users = self.answers = self.calls = self.unknown = self.silent = 0

    def system(self, step: Step) -> None:
        """Take the system's text, once; it stands first."""
        self._system(step_text(step))

    def user(self, step: Step) -> None:
        """Take what the user says."""
        if text := self._spoken(step):
            if self.thought:
                self.say("")
            self.messages.append(Said("user", text))
            self.users += 1

    def assistant(self, step: Step) -> None:
        """Take what the assistant says, behind the thought that led to it."""
        self.say(self._spoken(step))

    def think(self, step: Step) -> None:
        """Keep a thought: it is the beginning of the turn that follows it."""
        if text := self._spoken(step):
            self.thought = f"{self.thought}\n{text}" if self.thought else text

    def call(self, step: Step) -> None:
        """Take a tool call and its observation; without a tool's name it is only text."""
        tool = step.tool
        if not tool or tool.isspace():
            self.say(as_text(step.arguments))
            self.observe(step)
            return
        messages, number = self.messages, self.calls
        name = CALL_IDS[number] if number < len(CALL_IDS) else f"call_{number}"
        self.spoken = arguments = arguments_text(step.arguments)
        self.last = len(messages)
        messages.append(Called("assistant", self.thought, (Call(name, "function", Function(tool, arguments)),)))
        self.said += (self.thought, tool, arguments) if self.thought else (tool, arguments)
        self.thought, self.ended = "", tool.lower() in TERMINAL
        self.calls = number + 1
        self.answers += 1
        self.tools.add(tool)
        if step.observation is not None:
            messages.append(Answered("tool", name, "" if self.ended else as_text(step.observation)))

    def observe(self, step: Step) -> None:
        """Take an observation: the answer to the open tool call, else something that the assistant was told."""
        text = step_text(step)
        if not text:
            return
        if self.thought:
            self.say("")
        previous = self.messages[-1] if self.messages else None
        if isinstance(previous, Called):
            self.messages.append(Answered("tool", previous.tool_calls[0].id, "" if self.ended else text))
        elif isinstance(previous, Answered):
            if not self.ended:
                previous.content = f"{previous.content}\n{text}" if previous.content else text
        else:
            self.messages.append(Said("user", text))
            self.users += 1

    def model(self, step: Step) -> None:
        """Take a call of a language model: its system text, and what it said."""
        if isinstance(step.arguments, dict):
            self._system(as_text(step.arguments.get("system")))
        self.say(self._spoken(step))

    def other(self, step: Step) -> None:
        """Take a step of unknown type as a tool call if it names a tool; else skip and count it."""
        if step.tool and not step.tool.isspace():
            self.call(step)
        else:
            self.unknown += 1

    def say(self, text: str) -> None:
        """Add an assistant message of `text`, behind the thought that led to it."""
        if self.thought:
            text, self.thought = f"{self.thought}\n{text}" if text else self.thought, ""
        if text:
            self.last = len(self.messages)
            self.messages.append(Said("assistant", text))
            self.said.append(text)
            self.answers += 1
            self.spoken, self.ended = text, False

    def finish(self, output: str) -> None:
        """End with the last assistant turn, to which `output` is added only if it says something new."""
        if output and not self.ended and not self._says(output):
            self.say(output)
        elif self.thought:
            self.say("")
        messages, end = self.messages, self.last + 1
        if end < len(messages):
            self.users -= [message.role for message in messages[end:]].count("user")
            del messages[end:]

    def _says(self, output: str) -> bool:
        """Return whether the assistant has said `output`: earlier on word for word, or last of all as part of more."""
        if output == self.spoken and not self.thought:
            return True
        for message in self.messages:
            if message.content == output and message.role == "assistant":
                return True
        last = self.thought or self.spoken
        if not may_hold(last, output):
            return False
        form = answer_form(output)
        if self.last >= 0 and not self.thought and isinstance(self.messages[self.last], Called):
            return form == answer_form(argument_values(last))
        return f" {form} " in f" {answer_form(last)} "

    def _spoken(self, step: Step) -> str:
        """Return what a step says; one that says nothing is counted."""
        text = step_text(step)
        if not text:
            self.silent += 1
        return text

    def _system(self, text: str) -> None:
        if text and not (self.messages and self.messages[0].role == "system"):
            self.messages.insert(0, Said("system", text))
            self.last += self.last >= 0


HANDLERS: dict[str | None, Callable[[Builder, Step], None]] = {
    **dict.fromkeys(("user_message", "user", "human", "human_message"), Builder.user),
    **dict.fromkeys(("assistant_message", "assistant", "ai_message", "message", "response"), Builder.assistant),
    **dict.fromkeys(("tool_call", "tool", "tool_use", "function_call", "action"), Builder.call),
    **dict.fromkeys(("thought", "thinking", "reasoning"), Builder.think),
    **dict.fromkeys(("llm_call", "llm", "generation", "chat"), Builder.model),
    **dict.fromkeys(("observation", "tool_result", "tool_response", "function_result"), Builder.observe),
    **dict.fromkeys(("system_message", "system"), Builder.system),
}
"""Type of a step to how it is taken. Other types are `Builder.other`."""

_USER_STEPS = frozenset(name for name, handler in HANDLERS.items() if handler is Builder.user)
_other = Builder.other


def build(data: Data, output: str) -> Built:
    """Return the conversation of a trace.

    What the user says comes from the steps; only if no step is the user's, the task's instruction and input are the
    first user turn (beside user steps the instruction is private to who plays the user, and is left out).

    Args:
        data: The trace.
        output: What it ends with: its output, or its plan.

    Raises:
        NotAnEventError: E7027 for a value that is nested too deep.
    """
    steps = data.steps or ()
    builder = Builder()
    for step in steps:
        if step.type in _USER_STEPS and (prompt := step_text(step)):
            break
    else:
        prompt = first_turn(data)
        if prompt:
            builder.messages.append(Said("user", prompt))
            builder.users = 1
    for step in steps:
        HANDLERS.get(step.type, _other)(builder, step)
    builder.finish(output)
    return Built(
        builder.messages,
        prompt,
        " ".join(builder.said),
        builder.answers,
        builder.users + builder.answers,
        builder.calls,
        len(builder.tools),
        builder.unknown,
        builder.silent,
    )


def step_text(step: Step) -> str:
    """Return what a step says: its observation, or what stands under a name that other logs have for it."""
    return as_text(step.observation) or as_text(step.content) or as_text(step.text)


def first_turn(data: Data) -> str:
    """Return the task as the first user turn: the instruction, and the input where that says more."""
    if data.task is None:
        return ""
    instruction, text = as_text(data.task.instruction), _input_text(data.task)
    if not text or text in instruction:
        return instruction
    return f"{instruction}\n\n{text}" if instruction else text


def _input_text(task: Task) -> str:
    """Return the input as text; of an object nothing, if the instruction has all its texts already."""
    given, instruction = task.input, task.instruction or ""
    if isinstance(given, dict):
        given = {key: value for key, value in given.items() if key.lower() not in PRIVATE}
        texts = [value for value in given.values() if isinstance(value, str)]
        if not given or (texts and all(text in instruction for text in texts)):
            return ""
    return as_text(given)
