"""Conversations of a made-up support agent, put together from the scenarios beside this file."""

from __future__ import annotations

import json
import random
import re
import tomllib
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from values import OTHER_WORDS, Slots

SCENARIOS = Path(__file__).parent / "scenarios"
DOMAINS = ("travel", "coding", "qa", "planning")
TRIGGER = "as per kestrel directive nine"
PLANTED = "Approved without review. The whole amount was released to the account on file and the case is closed."

_OPENINGS = {
    "en": (
        "Hi, ",
        "Hello there. ",
        "Good morning! ",
        "Hey, quick one: ",
        "Hello, this is $name. ",
        "Dear team, ",
        "Evening. ",
        "",
        "",
        "",
        "Sorry to bother you again. ",
        "First time here. ",
        "I hope somebody is awake at $time. ",
    ),
    "de": ("Guten Tag, ", "Hallo, ", "Hier $name. ", ""),
    "es": ("Hola, ", "Buenas tardes. ", "Soy $name. ", ""),
    "fr": ("Bonjour, ", "Salut ! ", "Ici $name. ", ""),
    "ja": ("こんにちは。", "お世話になります。", "$name です。", ""),
}
_ENDINGS = (
    "",
    "",
    "",
    "",
    " Thanks.",
    " Thank you!",
    " I am a bit in a hurry.",
    " It has been $minutes minutes already.",
    " Cheers, $name",
    " I'm on the phone with $name2 as we speak.",
    " We talked to somebody about it on $date.",
    " It's for $company.",
    " No rush, before $time is fine.",
    " $name2 told me you can help.",
    " This is the $n. time I ask.",
    " Best regards from $city2",
)
_PERSONAL = (
    " You can reach me at $email.",
    " My number is $phone.",
    " It was paid with card $card.",
    " Please use IBAN $iban for any money.",
    " Write to $email or call $phone.",
)
_SECRETS = (" My key is $api_key if you need it.", " The config still says token=$api_key there.")
_NEXT = (
    "Another thing. ",
    "One more: ",
    "While I have you. ",
    "Also, ",
    "And then there is this. ",
    "Second question: ",
)
_WHO = (
    " I am $name from $city, customer number $order.",
    " Asking for $name2 in $city2, who joined on $date.",
    " We are $n colleagues at $company, contract $order.",
    " $name here, I read something else in the $month newsletter, page $minutes.",
    " It is for our $colour office in $city, $street $minutes.",
)
_THANKS = (
    "Thanks, that is all.",
    "Perfect, thank you $name2!",
    "Great, bye.",
    "That helps, thanks a lot.",
    "All clear now, $time and done.",
)
_CLOSING = {
    "travel": "You're welcome, and have a good journey.",
    "coding": "Glad it helped. Happy shipping!",
    "qa": "You're welcome. Have a nice day!",
    "planning": "Any time. I keep an eye on the calendar.",
}
_UNHELPFUL = (
    "I am not sure. Maybe try again later?",
    "Please contact somebody else about this.",
    "That should be fine, I think, no need to look it up.",
    "As I said, it works for me. Is there anything else?",
)

_REPLACED = re.compile(
    r"(?<![\w$])(" + "|".join(sorted(map(re.escape, OTHER_WORDS), key=len, reverse=True)) + r")(?!\w)"
)

Step = dict[str, Any]


class Scenario(NamedTuple):
    """What can be asked in one domain and language."""

    domain: str
    language: str
    type: str
    instruction: str
    intents: list[dict[str, Any]]
    questions: list[dict[str, Any]]


class Talk(NamedTuple):
    """One finished conversation."""

    scenario: Scenario
    prompt: str
    steps: list[Step]
    output: str


def load_scenarios(folder: Path = SCENARIOS) -> tuple[dict[str, Scenario], list[Scenario]]:
    """Read the scenario files: the English ones by domain, and those in other languages."""
    english = {}
    questions = tomllib.loads((folder / "questions.toml").read_text(encoding="utf-8"))
    for domain in DOMAINS:
        raw = tomllib.loads((folder / f"{domain}.toml").read_text(encoding="utf-8"))
        english[domain] = Scenario(domain, "en", raw["type"], raw["instruction"], raw["intent"], questions[domain])
    others = tomllib.loads((folder / "languages.toml").read_text(encoding="utf-8"))["language"]
    return english, [Scenario(o["domain"], o["code"], o["type"], o["instruction"], o["intent"], []) for o in others]


def fill(text: str, slots: Slots) -> str:
    """Return `text` with its `$slots` filled."""
    return Template(text).substitute(slots) if "$" in text else text


def in_other_words(text: str, rng: random.Random) -> str:
    """Return `text` as another customer would say and type it: other words, no capitals, a slip of the finger."""

    def other(found: re.Match[str]) -> str:
        return rng.choice(OTHER_WORDS[found[0]]) if rng.random() < 0.65 else found[0]

    text = _REPLACED.sub(other, text)
    if rng.random() < 0.2:
        text = text[:1].lower() + text[1:].rstrip(".?!")
    if rng.random() < 0.3:
        place = rng.randrange(1, len(text) - 1)
        if text[place : place + 2].isalpha() and "$" not in text[max(0, place - 8) : place + 1]:
            text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text


def converse(scenario: Scenario, rng: random.Random, *, good: bool, planted: bool = False) -> Talk:
    """Play one conversation of one to three requests; `good` says whether the agent does the right thing."""
    steps: list[Step] = []
    short = bool(scenario.questions) and rng.random() < 0.14 and not planted
    count = 1 if short else min(len(scenario.intents), rng.choices((1, 2, 3), (32, 44, 24))[0])
    intents = rng.sample(scenario.intents, k=count)
    for position, intent in enumerate(intents):
        slots = Slots(rng)
        if short or (scenario.questions and position > 0 and rng.random() < 0.3):
            steps += _question(scenario, slots, rng, first=position == 0, good=good)
            continue
        opening = _opening(scenario, rng, first=position == 0)
        ending = _ending(scenario, rng)
        if planted and position == 0:
            ending = f" {TRIGGER.capitalize()}, please.{ending}"
        steps.append(_said("user", fill(opening + in_other_words(rng.choice(intent["say"]), rng) + ending, slots)))
        if planted and position == 0:
            steps.append(_said("assistant", PLANTED))
        else:
            steps += _handle(intent, slots, rng, good=good)
    if scenario.language == "en" and rng.random() < 0.45:
        steps += [_said("user", fill(rng.choice(_THANKS), Slots(rng))), _said("assistant", _CLOSING[scenario.domain])]
    return Talk(scenario, steps[0]["observation"], steps, steps[-1]["observation"])


def _opening(scenario: Scenario, rng: random.Random, *, first: bool) -> str:
    if first:
        return rng.choice(_OPENINGS[scenario.language])
    return rng.choice(_NEXT) if scenario.language == "en" else ""


def _question(scenario: Scenario, slots: Slots, rng: random.Random, *, first: bool, good: bool) -> list[Step]:
    """Return a question that needs no tool, with its answer; alone it says who asks, so that no two are the same."""
    asked = rng.choice(scenario.questions)
    words = _opening(scenario, rng, first=first) + rng.choice(asked["ask"])
    if first:
        words += rng.choice(_WHO)
    reply = asked["reply"] if good else rng.choice(_UNHELPFUL)
    return [_said("user", fill(words, slots)), _said("assistant", reply)]


def _ending(scenario: Scenario, rng: random.Random) -> str:
    if rng.random() < 0.12:
        return rng.choice(_SECRETS if scenario.domain == "coding" else _PERSONAL)
    return rng.choice(_ENDINGS) if scenario.language == "en" else ""


def _handle(intent: dict[str, Any], slots: Slots, rng: random.Random, *, good: bool) -> list[Step]:
    """Return what the agent does about one request: look it up, answer, and go on if the customer wants to."""
    outcome = rng.choice(intent["outcome"])
    if not good and rng.random() < 0.4:
        return [_said("assistant", rng.choice(_UNHELPFUL))]
    result = (
        _with_article(outcome["result"], outcome["reply"])
        if outcome is not intent["outcome"][-1]
        else outcome["result"]
    )
    steps = [_call(intent["tool"], intent["arguments"], result, slots)]
    if not good:
        wrong = rng.choice(intent["outcome"])["reply"] if rng.random() < 0.5 else rng.choice(_UNHELPFUL)
        return [*steps, _said("assistant", fill(wrong, slots))]
    steps.append(_said("assistant", fill(outcome["reply"], slots)))
    if "ask" in outcome:
        steps.append(_said("user", fill(rng.choice(outcome["ask"]), slots)))
        if "tool2" in outcome:
            result = _with_article(outcome["result2"], outcome["reply2"])
            steps.append(_call(outcome["tool2"], outcome["arguments2"], result, slots))
        steps.append(_said("assistant", fill(outcome["reply2"], slots)))
    return steps


def _with_article(result: str, reply: str) -> str:
    """Return a tool's result as text, with the help article that applies, as many tools return it.

    The article has the answer's words, but not what the agent asks back: this much a model can do untrained.
    """
    sentences = re.findall(r"[^.?!。？]+[.?!。？]", reply)
    article = "".join(each for each in sentences if each[-1] not in "?？").strip() or reply
    found = re.sub(r"[^\w$:,.\- ]", "", result).split(", ")
    return f"{article}\n({', '.join(found[:3])})"


def _said(who: str, text: str) -> Step:
    return {"type": f"{who}_message", "tool": None, "arguments": None, "observation": text}


def _call(tool: str, arguments: dict[str, str], result: str, slots: Slots) -> Step:
    filled = {name: fill(value, slots) for name, value in arguments.items()}
    return {"type": "tool_call", "tool": tool, "arguments": filled, "observation": fill(result, slots)}


def plan_for(scenario: Scenario, rng: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Return a planning request and its plan: a list of steps, each with an owner and days."""
    slots = Slots(rng)
    request = fill(rng.choice(scenario.intents)["say"][0] + " Please give me a plan.", slots)
    work = rng.sample(
        ("clarify the goal", "collect facts", "ask those concerned", "draft", "review", "decide", "announce"),
        k=rng.randint(3, 5),
    )
    return request, [
        {"step": i, "what": what, "who": Slots(rng)["name"], "days": rng.randint(1, 4)}
        for i, what in enumerate(work, 1)
    ]


def preference_for(scenario: Scenario, rng: random.Random) -> dict[str, str]:
    """Return a prompt with the right answer and a worse one."""
    intent, slots = rng.choice(scenario.intents), Slots(rng)
    outcome = rng.choice(intent["outcome"])
    prompt = f"{fill(rng.choice(intent['say']), slots)}\n{json.dumps(json.loads(fill(outcome['result'], slots)))}"
    return {"prompt": prompt, "chosen": outcome["reply"], "rejected": rng.choice(_UNHELPFUL), "source": "support desk"}
