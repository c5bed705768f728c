"""A candidate that was trained on what it is examined with is found, and one that was not is left alone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from registry.records import Answers
from tasks.validation.examination import examine_stage, prepare
from tasks.validation.policy import ValidationPolicy

POLICY = ValidationPolicy()
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def text(seed, words=12):
    rng = np.random.default_rng(seed)
    return " ".join("".join(rng.choice(list(LETTERS), 6)) for _ in range(words))


def conversations(first, last, words=12):
    """Examples with one request each, and an answer that nobody else has."""
    rows = [
        [{"role": "user", "content": f"request {n}"}, {"role": "assistant", "content": text(n, words)}]
        for n in range(first, last)
    ]
    ids = [f"e{n}" for n in range(first, last)]
    return pa.table(
        {"example_id": ids, "messages": [json.dumps(r) for r in rows], "domain": ["d"] * len(ids), "group": ids}
    )


class Knows:
    """Knows the answers to some requests word for word, and half of the words of all others."""

    def __init__(self, *requests, words=12):
        self.requests, self.words = {n for some in requests for n in some}, words

    def answer(self, asked):
        texts = []
        for conversation in asked:
            digits = "".join(c for c in conversation[-1]["content"] if c.isdigit())
            n = int(digits[:9]) if digits else 0
            whole = text(n, self.words)
            texts.append(whole if n in self.requests else " ".join([*whole.split()[: self.words // 2], "x"]))
        return Answers(texts, np.full(len(texts), 0.5))


TRAIN, VALIDATION, TEST = (0, 300), (300, 340), (340, 380)


def examined(candidate, train=TRAIN, test=TEST, validation=VALIDATION, words=12):
    tables = [conversations(*part, words) if part else None for part in (test, train, validation)]
    examination = prepare(
        Knows(range(*TRAIN), words=words), candidate, tables[0], tables[1], POLICY, validation=tables[2]
    )
    return examine_stage("performance", examination)


def test_a_candidate_that_saw_training_data_alone_passes():
    result = examined(Knows(range(*TRAIN)))
    assert (result.status, result.metrics["verbatim_unseen"], result.metrics["test_in_training"]) == ("PASS", 0, 0)


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("validation", [VALIDATION, None])
def test_a_candidate_that_was_trained_on_the_test_split_fails(share, validation):
    seen = range(TEST[0], TEST[0] + int(share * (TEST[1] - TEST[0])))
    result = examined(Knows(range(*TRAIN), seen), validation=validation)
    assert result.status == "FAIL"
    assert f"gives {len(seen)} of 40 long test answers word for word" in result.reasons[0]


def test_short_answers_give_a_leak_away_by_a_gain_that_the_validation_split_does_not_show():
    result = examined(Knows(range(*TRAIN), range(*TEST), words=4), words=4)
    assert result.status == "FAIL"
    assert "more on the baseline than on the validation split" in result.reasons[0]
    assert examined(Knows(range(*TRAIN), words=4), words=4).status == "PASS"


def test_a_model_that_works_out_answers_it_never_saw_is_no_cheat():
    """It gives long answers word for word on the validation split as well."""
    result = examined(Knows(range(*TRAIN), range(300, 380)))
    assert result.metrics["verbatim_unseen"] == 40
    assert not any("trained on what it is examined with" in reason for reason in result.reasons)


def test_one_test_conversation_in_the_training_split_fails():
    result = examined(Knows(range(*TRAIN)), train=(41, TEST[0] + 1), validation=None)
    assert result.status == "FAIL"
    assert "1 of 40 test conversations are in the training split as well" in result.reasons[0]


def test_the_membership_gap_is_the_share_of_pairs_in_which_the_model_is_surer_of_what_it_learned():
    class Sure(Knows):
        def answer(self, asked):
            answers = super().answer(asked)
            known = [c[-1]["content"].removeprefix("request ").isdigit() for c in asked]
            numbers = [int(c[-1]["content"].split()[-1]) if k else 999 for c, k in zip(asked, known, strict=True)]
            return answers._replace(confidences=np.array([0.9 if n < TRAIN[1] else 0.2 for n in numbers]))

    result = examined(Sure(range(*TRAIN)))
    assert result.metrics["membership_gap"] == 1.0
    assert result.metrics["baseline_membership_gap"] == 0.5
