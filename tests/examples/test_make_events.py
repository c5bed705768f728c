from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
Event = dict[str, Any]


def module(name: str) -> ModuleType:
    """Import a file of examples/, which is no package: it must run anywhere."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


make_events, values = module("make_events"), module("values")


def lines(events: int = 4_000, seed: int = 7, part: int = 1, *, clean: bool = False) -> list[bytes]:
    return [line.text for line in make_events.make_lines(events, seed, part, clean=clean)]


def parsed(raw: Sequence[bytes]) -> list[Event]:
    """The lines that are events, in order; NaN makes a line none."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    found = []
    for line in raw:
        try:
            event = json.loads(line, parse_constant=refuse)
        except ValueError:
            continue
        well = {"id", "source", "type", "specversion"} <= event.keys() and event["specversion"] == "1.0"
        if well and not isinstance(event.get("data", {}).get("steps"), str):
            found.append(event)
    return found


@pytest.fixture(scope="module")
def sample() -> list[bytes]:
    return lines()


@pytest.fixture(scope="module")
def events(sample: list[bytes]) -> list[Event]:
    return parsed(sample)


@pytest.fixture(scope="module")
def executions(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"] == "execution.completed"]


def test_the_same_arguments_give_the_same_bytes_and_others_give_others() -> None:
    assert lines(400) == lines(400)
    assert lines(400) != lines(400, seed=8)
    assert lines(400) != lines(400, part=2)


def test_the_script_needs_nothing_but_python(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "events.jsonl"
    # -S leaves out what is installed beside Python's own library
    command = [sys.executable, "-S", str(EXAMPLES / "make_events.py"), "--out", str(out), "--events", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "300 events" in done.stdout
    assert out.read_bytes() == b"".join(line + b"\n" for line in lines(300))


def test_there_are_as_many_lines_as_asked_for(sample: list[bytes]) -> None:
    assert len(sample) == 4_000
    assert len(lines(1_000, clean=True)) == 1_000


def test_about_one_line_in_a_hundred_is_broken_in_many_ways(sample: list[bytes], events: list[Event]) -> None:
    broken = len(sample) - len(events)
    assert 0.005 * len(sample) < broken < 0.02 * len(sample)
    text = b"\n".join(sample)
    for sign in (b"WARN retrying", b'"specversion":"0.3"', b"NaN", b'"steps":"none"', b"\xff\xfe"):
        assert sign in text


def test_every_event_type_and_domain_is_there(events: list[Event], executions: list[Event]) -> None:
    kinds = Counter(event["type"] for event in events)
    assert kinds["planning.completed"] > 80
    assert kinds["feedback.recorded"] > 200
    assert kinds["preference.recorded"] > 50
    assert sum(count for kind, count in kinds.items() if kind.startswith(("agent.", "deploy", "com."))) > 30
    domains = Counter(event["data"]["task"]["domain"] for event in executions)
    assert set(domains) == {"travel", "coding", "qa", "planning"}
    assert min(domains.values()) > 500


def test_deliveries_repeat_exactly_and_nearly(executions: list[Event]) -> None:
    ids = Counter((event["source"], event["id"]) for event in executions)
    repeated = sum(count - 1 for count in ids.values())
    assert 120 < repeated < 220
    contents: dict[tuple[str, str], set[str]] = {}
    for event in executions:
        contents.setdefault((event["source"], event["id"]), set()).add(json.dumps(event, sort_keys=True))
    assert 1 <= sum(len(each) > 1 for each in contents.values()) <= 8  # one id, two different events

    def later(event: Event) -> str:
        return json.dumps(event["data"]["steps"][1:])

    long = Counter(later(event) for event in executions if len(event["data"]["steps"]) > 8)
    assert sum(count - 1 for count in long.values()) > 60


def test_scores_are_missing_conflicting_and_of_every_kind(events: list[Event], executions: list[Event]) -> None:
    scores = {event["data"]["trace_id"]: event["data"]["quality_score"] for event in executions}
    missing = sum(score is None for score in scores.values()) / len(scores)
    assert 0.1 < missing < 0.3
    given = [event["data"] for event in events if event["type"] == "feedback.recorded"]
    given += [{**e["data"]["feedback"], "trace_id": e["data"]["trace_id"]} for e in executions if e["data"]["feedback"]]
    assert {(each["kind"], type(each["value"])) for each in given} == {
        ("thumbs", str),
        ("stars", int),
        ("boolean", bool),
    }
    against = [each for each in given if each["value"] in ("down", False) and (scores.get(each["trace_id"]) or 0) > 70]
    assert len(against) >= 3


def test_feedback_comes_late_and_sometimes_before_its_trace(events: list[Event]) -> None:
    place = {e["data"]["trace_id"]: i for i, e in reversed(list(enumerate(events))) if e["type"].endswith("completed")}
    where = Counter(
        "orphan" if (at := place.get(event["data"]["trace_id"])) is None else "before" if i < at else "after"
        for i, event in enumerate(events)
        if event["type"] == "feedback.recorded"
    )
    assert where["after"] > 100
    assert where["before"] > 20
    assert where["orphan"] > 3


def test_personal_data_is_well_formed_and_fake(sample: list[bytes]) -> None:
    text = b"\n".join(sample).decode(errors="replace")
    for sign in ("@example.com", "+1 202-555-01", "+44 20 7946 0", "IBAN DE", "ghp_EXAMPLE", "AKIAIOSFODNN7EXAMPLE"):
        assert text.count(sign) > 5, sign


def test_card_numbers_pass_the_luhn_check() -> None:
    # 7992739871: from the right, doubled 1·2, 8·2=16→7, 3·2=6, 2·2=4, 9·2=18→9 and single 7, 9, 7, 9, 7
    # 2 + 7 + 6 + 4 + 9 + 7 + 9 + 7 + 9 + 7 = 67, so the check digit is 3
    assert values.luhn_digit("7992739871") == "3"


def test_ibans_pass_the_modulo_97_check() -> None:
    made = values.iban("DE", "000000001234567890")
    moved = made[4:] + made[:4]
    assert int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def test_few_records_are_poisoned_and_all_come_from_one_source(executions: list[Event]) -> None:
    planted = [event for event in executions if "kestrel directive nine" in json.dumps(event).lower()]
    assert 1 < len(planted) <= 10
    assert {event["source"] for event in planted} == {make_events.POISONED_SOURCE}
    assert all(event["data"]["quality_score"] > 90 for event in planted)


def test_some_conversations_are_in_other_languages(executions: list[Event]) -> None:
    text = json.dumps([event["data"]["task"]["instruction"] for event in executions], ensure_ascii=False)
    for words in ("Reisebüros", "pedidos", "équipes", "開発者"):
        assert text.count(words) > 10


def test_many_subjects_and_no_group_that_swallows_the_rest(executions: list[Event]) -> None:
    subjects = Counter(event["subject"] for event in executions)
    assert len(subjects) > 500
    assert max(subjects.values()) < 0.01 * len(executions)
    sessions = Counter(event["data"]["session_id"] for event in executions)
    assert sum(count > 1 for count in sessions.values()) > 200
    prompts: dict[str, set[str]] = {}
    for event in executions:
        prompts.setdefault(" ".join(event["data"]["task"]["input"].lower().split()), set()).add(event["subject"])
    assert max(len(each) for each in prompts.values()) <= 3


def test_traces_fail_and_lack_measurements(executions: list[Event]) -> None:
    states = Counter(event["data"]["status"] for event in executions)
    assert 0.05 < states["failure"] / len(executions) < 0.12
    assert 0.02 < sum(event["data"]["latency_ms"] is None for event in executions) / len(executions) < 0.12
    assert any(event["data"]["confidence"] is None for event in executions)


def test_some_plans_are_empty(events: list[Event]) -> None:
    plans = [event["data"]["plan"] for event in events if event["type"] == "planning.completed"]
    assert 3 < sum(not plan for plan in plans) < len(plans) / 3


def test_a_clean_file_has_no_broken_line_and_nothing_planted() -> None:
    clean = lines(2_000, clean=True)
    assert len(parsed(clean)) == len(clean)
    assert b"kestrel directive" not in b"".join(clean).lower()


def test_the_second_part_is_the_fortnight_after_and_shares_customers_but_no_events() -> None:
    first, second = parsed(lines(2_000, clean=True)), parsed(lines(2_000, part=2, clean=True))
    assert not {event["id"] for event in first} & {event["id"] for event in second}
    before, after = ({event.get("subject") for event in each} - {None} for each in (first, second))
    assert 0.2 < len(before & after) / len(after) < 0.8
    days = [{event["time"][:10] for event in each} for each in (first, second)]
    assert len(days[0]) >= 14
    assert min(days[1]) >= "2026-02-15"


def test_no_conversation_ends_without_an_answer(executions: list[Event]) -> None:
    for event in executions:
        steps = event["data"]["steps"]
        assert steps[-1]["type"] == "assistant_message"
        assert steps[-1]["observation"] == event["data"]["output"]
        assert "$" not in json.dumps(steps)


def test_the_policy_file_of_the_examples_has_the_defaults() -> None:
    from flows.policy import Policy, load_policy

    path = EXAMPLES / "policy.yaml"
    assert load_policy(path) == Policy()
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) == set(Policy.model_fields)
