"""Cases and answers."""

import json

import numpy as np
import pyarrow as pa
import pytest

from registry.errors import ValidationError
from registry.records import Answers
from tasks.validation.cases import answer_all, groups_of, make_cases, short_context
from tasks.validation.regression import read_golden


class Fixed:
    """Answers the same, with anything for a confidence."""

    def __init__(self, responses, confidences):
        self.responses, self.confidences = responses, confidences

    def answer(self, conversations):
        return Answers(self.responses[: len(conversations)], np.array(self.confidences[: len(conversations)]))


def split(turns):
    rows = [
        json.dumps(
            [
                m
                for t in range(n)
                for m in ({"role": "user", "content": f"q{t}"}, {"role": "assistant", "content": f"a{t}"})
            ]
        )
        for n in turns
    ]
    return pa.table(
        {"example_id": [f"e{i}" for i in range(len(turns))], "messages": rows, "domain": ["d"] * len(turns)}
    )


def test_every_assistant_turn_is_a_case_that_knows_what_stood_before_it():
    cases = make_cases(split([2, 1]))
    assert [(c.case_id, c.expected, len(c.context)) for c in cases] == [
        ("e0:0", "a0", 1),
        ("e0:1", "a1", 3),
        ("e1:0", "a0", 1),
    ]
    assert groups_of(cases).tolist() == [0, 0, 1]


def test_a_sample_takes_one_turn_of_each_example_before_a_second():
    table = split([9] * 10)
    assert len({case.group for case in make_cases(table, limit=10)}) == 10
    fifteen = groups_of(make_cases(table, limit=15))
    assert sorted(np.bincount(fifteen).tolist()) == [1] * 5 + [2] * 5
    assert make_cases(table, 15, seed=1) == make_cases(table, 15, seed=1)
    assert make_cases(table, 15, seed=1) != make_cases(table, 15, seed=2)
    assert len(make_cases(table, limit=5)) == 5


def test_answers_come_in_batches_with_scores():
    cases = make_cases(split([1, 1, 1]))
    answered = answer_all(Fixed(["a0", "no"], [0.5, 0.1]), cases, batch_size=1)
    assert answered.scores.tolist() == [1.0, 1.0, 1.0]
    assert answered.take([2]).cases[0].case_id == "e2:0"


@pytest.mark.parametrize(
    "model",
    [
        Fixed(["a"], [0.5]),
        Fixed(["a", "b"], [0.5, float("nan")]),
        Fixed(["a", "b"], [0.5, 1.5]),
        Fixed(["a", None], [0.5, 0.5]),
        None,
    ],
)
def test_a_model_that_does_not_answer_as_it_must_is_an_error_and_no_traceback(model):
    with pytest.raises(ValidationError, match="E7402"):
        answer_all(model, make_cases(split([1, 1])))


def test_what_a_reader_sees_is_short_and_masked():
    text = short_context([{"role": "user", "content": "I am jo@example.com " + "x" * 1000}])
    assert text.startswith("user: I am [EMAIL] x")
    assert len(text) == 400


def test_golden_cases_are_read(tmp_path):
    path = tmp_path / "golden.jsonl"
    path.write_text(
        '{"prompt": "hi", "expected": "hello"}\n\n'
        '{"messages": [{"role": "user", "content": "bye"}], "expected": "bye", "id": "g2", "domain": "qa"}\n'
    )
    cases = read_golden(path)
    assert [(c.case_id, c.domain, c.context[0]["content"], c.expected) for c in cases] == [
        ("golden:1", "golden", "hi", "hello"),
        ("g2", "qa", "bye", "bye"),
    ]


def test_all_bad_golden_lines_are_told_at_once(tmp_path):
    path = tmp_path / "golden.jsonl"
    bad = [
        "not json", "[]", '{"prompt": "x"}', '{"expected": "x"}', '{"prompt": "", "expected": "x"}',
        '{"prompt": "x", "expected": "x", "extra": 1}', '{"messages": [], "expected": "x"}',
        '{"messages": [{"role": "king"}], "expected": "x"}',
        '{"messages": [{"role": "user", "content": 3}], "expected": "x"}',
        "[" * 10_000,
    ]  # fmt: skip
    path.write_text("\n".join(bad))
    with pytest.raises(ValidationError, match="E7411") as error:
        read_golden(path)
    assert [f"line {n}:" in str(error.value) for n in range(1, len(bad) + 1)] == [True] * len(bad)
    path.write_text("")
    with pytest.raises(ValidationError, match="E7410"):
        read_golden(path)
    with pytest.raises(ValidationError, match="E7410"):
        read_golden(tmp_path / "absent.jsonl")
