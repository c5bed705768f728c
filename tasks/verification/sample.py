"""Events of a made-up support agent, for a home that has learned nothing yet. Seeded; written for this, from nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np

START = datetime(2026, 3, 2, tzinfo=UTC)
OPENERS = (
    "Hello,", "Hi there,", "Good morning,", "One question:", "Quick one:", "Excuse me,", "Me again.", "Dear team,",
)  # fmt: skip
DETAILS = (
    "I ordered it as a present for my sister", "I have been waiting since last {day}", "my account is the old one",
    "your app showed me something else", "I am travelling to {city} tomorrow", "my colleague in {city} has the same",
    "I paid by invoice in {month}", "the courier in {city} told me nothing", "I need it before {day}",
    "it worked fine until {month}",
)  # fmt: skip
GREETINGS = (
    "Thank you for writing.", "I am happy to look into it.", "Sorry for the trouble.", "That is easily done.",
    "I have opened your record.", "Good that you ask.",
)  # fmt: skip
EXTRAS = (
    "A message goes to your usual address once it is done.", "Our office in {city} was told as well.",
    "Should {day} pass without news, write to us again.", "The reference of this case is {number}.",
    "You will see it in the overview of {month}.", "Nothing has to be paid for that.",
)  # fmt: skip
SLOTS = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "city": ("Lyon", "Porto", "Graz", "Turku", "Ghent", "Brno", "Cork", "Malaga", "Bergen", "Trieste"),
    "month": ("January", "March", "April", "June", "July", "September", "October", "November"),
    "item": ("lamp", "kettle", "desk", "tent", "camera", "bicycle", "drill", "sofa", "printer", "jacket", "router"),
}
TOPICS: dict[str, tuple[tuple[str, str], ...]] = {
    "delivery": (
        (
            "where is the parcel with my {item}",
            "The parcel with the {item} left {city} on {day} and arrives two days later.",
        ),
        (
            "can the {item} be sent to {city} instead",
            "The {item} now goes to the new address in {city}; the label was changed on {day}.",
        ),
        (
            "the {item} came to the wrong house",
            "A driver fetches the {item} from the neighbour on {day} and brings it to your door.",
        ),
        (
            "how long does sending a {item} to {city} take",
            "Sending a {item} to {city} takes four working days, counted from {day}.",
        ),
    ),
    "returns": (
        (
            "I want to give the {item} back",
            "Put the {item} in its box, stick on return label {number}, and hand it in before {day}.",
        ),
        (
            "the {item} arrived broken",
            "A new {item} is on its way from {city}; keep the broken one until {day} for the courier.",
        ),
        (
            "when do I get the money for the {item}",
            "The price of the {item} was paid back on {day} to the card that you had used in {month}.",
        ),
        (
            "can I swap my {item} for a larger one",
            "The larger {item} is reserved in {city} under {number}; bring the old one along by {day}.",
        ),
    ),
    "account": (
        (
            "I cannot sign in since {month}",
            "The sign-in was locked in {month}; a new link, valid until {day}, is in your mailbox.",
        ),
        (
            "please change my address to {city}",
            "Your address is {city} from {day} on; the invoices of {month} keep the old one.",
        ),
        (
            "delete what you know about my {item}",
            "All entries about the {item} are deleted on {day}; the case number is {number}.",
        ),
        (
            "add my colleague from {city} to the account",
            "The colleague from {city} gets an invitation on {day} and can order from {month} on.",
        ),
    ),
    "repair": (
        (
            "my {item} makes a strange noise",
            "Switch the {item} off for an hour, tighten the left screw, and start it in step {number}.",
        ),
        (
            "how do I clean the {item}",
            "Clean the {item} with warm water on a soft cloth; the workshop in {city} does it every {day}.",
        ),
        (
            "is there a spare part for a {item} from {month}",
            "The spare part for a {item} of {month} has number {number} and lies in {city}.",
        ),
        (
            "who repairs a {item} in {city}",
            "In {city} the workshop at the station repairs a {item} from {day} on, without appointment.",
        ),
    ),
}


SYLLABLES = ("ta", "vo", "rin", "mel", "ka", "dru", "sol", "pe", "lun", "gor", "wi", "zan", "bre", "chi", "fo", "nax")
"""Names of things are made of these: what a customer has is called as hardly anybody else's is."""


def make_events(count: int, seed: int = 0) -> bytes:
    """Return `count` events as JSON Lines: executions of a support agent in four domains, with good quality scores."""
    rng = np.random.default_rng([seed, 17])
    return b"".join(json.dumps(_event(i, seed, rng)).encode() + b"\n" for i in range(count))


def _event(number: int, seed: int, rng: np.random.Generator) -> dict[str, object]:
    domains = sorted(TOPICS)
    domain = domains[int(rng.integers(len(domains)))]
    asked, answered = TOPICS[domain][int(rng.integers(len(TOPICS[domain])))]
    values, others = _values(rng), _values(rng)
    details = [_pick(DETAILS, rng).format(**values), _pick(DETAILS, rng).format(**others)]
    ask = f"{_pick(OPENERS, rng)} {asked.format(**values)}? It is the {values['name']}. {details[0]}, and {details[1]}."
    answer = f"{_pick(GREETINGS, rng)} {answered.format(**values)} {_pick(EXTRAS, rng).format(**values)}"
    answer += f" All of this is about the {values['name']} and {_pick(EXTRAS, rng).format(**others).lower()}"
    moment = (START + timedelta(minutes=11 * number)).isoformat().replace("+00:00", "Z")
    return {
        "specversion": "1.0",
        "id": f"sample-{seed}-{number}",
        "source": "https://sample.example/support",
        "type": "execution.completed",
        "time": moment,
        "subject": f"customer-{seed}-{number}",
        "data": {
            "trace_id": f"{seed}-{number}", "agent": "sample", "model_version": "1",
            "task": {"type": "support", "domain": domain, "instruction": "Answer the customer.", "input": ask},
            "steps": [], "output": answer, "status": "success", "quality_score": int(rng.integers(80, 100)),
            "confidence": None, "feedback": None, "latency_ms": 400, "tokens_in": 40, "tokens_out": 40,
        },
    }  # fmt: skip


def _values(rng: np.random.Generator) -> dict[str, str]:
    name = "".join(SYLLABLES[i] for i in rng.integers(0, len(SYLLABLES), 3)).capitalize()
    values = {slot: _pick(options, rng) for slot, options in SLOTS.items()}
    return values | {"number": str(rng.integers(1000, 99_999)), "name": f"{name} {rng.integers(10, 99)}"}


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
