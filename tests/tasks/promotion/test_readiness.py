"""Readiness by hand, and measured on toys."""

import numpy as np
import pytest

from registry.records import Answers, StageResult, ValidationReport
from tasks.promotion.forms import reform, with_typos
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.readiness import accuracy_of, combine, measure

POLICY = PromotionPolicy()
ASKED = [[{"role": "user", "content": f"Where is order {n} of today?"}] for n in range(40)]
EXPECTED = [f"order {n} left" for n in range(40)]


class Deaf:
    """Answers by the digits of the message only."""

    def answer(self, conversations):
        numbers = ["".join(filter(str.isdigit, c[-1]["content"])) for c in conversations]
        return Answers([f"order {n} left" for n in numbers], np.full(len(conversations), 0.9))


class Literal:
    """Answers right only if the message has exactly the known form."""

    def answer(self, conversations):
        known = {c[-1]["content"]: e for c, e in zip(ASKED, EXPECTED, strict=True)}
        said = [known.get(c[-1]["content"], "what?") for c in conversations]
        return Answers(said, np.full(len(conversations), 0.9))


def report(cases=100, pass_rate=0.97, kept_rate=0.9, calibration=0.08):
    regression = StageResult(
        name="regression", status="PASS", critical=True, counts={"cases": cases},
        metrics={"pass_rate": pass_rate, "kept_rate": kept_rate},
    )  # fmt: skip
    performance = StageResult(
        name="performance", status="PASS", critical=True, metrics={"calibration_error": calibration}
    )
    return ValidationReport(recommendation="DEPLOY", baseline="frozen base", stages=[regression, performance])


def test_readiness_by_hand():
    # 0.40 · 0.97 + 0.30 · 0.92 + 0.20 · 0.85 + 0.10 · 0.75 = 0.388 + 0.276 + 0.170 + 0.075 = 0.909
    assert combine(0.97, 0.92, 0.85, 0.75).score == pytest.approx(0.909)
    assert combine(1, 1, 1, 1).score == 1.0
    assert combine(0, 0, 0, 0).score == 0.0
    # the 0.80 that must be exceeded, exactly: 0.32 + 0.24 + 0.16 + 0.08
    assert combine(0.8, 0.8, 0.8, 0.8).score == 0.8


def test_each_part_is_measured():
    readiness = measure(report(), Deaf(), ASKED, EXPECTED, POLICY)
    # accuracy 0.97, confidence 1 − 0.08, the same answer whatever the form, digits are never mistyped
    assert readiness == combine(0.97, 0.92, 1.0, 1.0)


def test_a_model_that_knows_only_exact_words_is_neither_consistent_nor_robust():
    readiness = measure(report(), Literal(), ASKED, EXPECTED, POLICY)
    assert readiness.consistency < 0.3
    assert readiness.robustness < 0.2


def test_with_too_few_regression_cases_accuracy_is_the_share_of_all_cases_kept():
    assert accuracy_of(report(cases=100), POLICY) == 0.97
    assert accuracy_of(report(cases=19), POLICY) == 0.9
    assert accuracy_of(report(cases=0, pass_rate=None), POLICY) == 0.9


def test_readiness_is_missing_where_nothing_was_examined():
    assert measure(report(), Deaf(), [], [], POLICY) is None
    empty = ValidationReport(recommendation="REVIEW", baseline="frozen base", stages=[])
    assert measure(empty, Deaf(), ASKED, EXPECTED, POLICY) is None


def test_a_model_without_any_score_keeps_nothing():
    assert measure(report(), Deaf(), ASKED, ["zebra"] * 40, POLICY).robustness == 0.0


def test_the_same_seed_gives_the_same_readiness():
    assert measure(report(), Literal(), ASKED, EXPECTED, POLICY, 3) == measure(
        report(), Literal(), ASKED, EXPECTED, POLICY, 3
    )


def test_another_form_keeps_every_letter_and_typing_errors_change_a_few():
    rng = np.random.default_rng(0)
    text = "Please look at order 17, it is late."
    for _ in range(50):
        changed = reform([{"role": "user", "content": text}], rng)[0]["content"]
        bare = " ".join(changed.lower().split()).rstrip(".")
        assert text.lower().rstrip(".") in bare
        noisy = with_typos([{"role": "user", "content": text}], 0.05, rng)[0]["content"]
        assert abs(len(noisy) - len(text)) <= 1
    assert with_typos([{"role": "user", "content": "17 + 4"}], 0.05, rng)[0]["content"] == "17 + 4"
    assert reform([{"role": "system", "content": "x"}], rng) == [{"role": "system", "content": "x"}]
