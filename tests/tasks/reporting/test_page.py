from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from registry.records import Case, EpochMetrics, EventCounts, GateResult
from tasks.reporting.page import BeforeAfter, Distributions, ReportData, render

HOSTILE = '</script></style></title></textarea>--><img src=x onerror="alert(1)"><script>alert(2)</script>'
TRICKS = "user\u202egnp.exe \u2066 \x00\x07\x1b[31m \ud800 \u2028"
VOID = {"meta", "link", "br", "img", "input"}
Make = Callable[..., ReportData]


class Outline(HTMLParser):
    """What a browser would find: the elements, their attributes, the text, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]


def test_the_same_data_gives_the_same_bytes(make_report: Make) -> None:
    copy = ReportData.model_validate_json(make_report().model_dump_json())
    assert render(copy) == render(make_report())


def test_every_element_is_closed_and_the_page_is_small(make_report: Make) -> None:
    page = render(make_report())
    assert Outline(page).open == []
    assert len(page.encode()) < 1_000_000


def test_nothing_is_loaded_from_elsewhere(make_report: Make) -> None:
    page = render(make_report())
    outline = Outline(page)
    assert not set(outline.tags) & {"img", "link", "iframe", "object", "embed", "base", "audio", "video", "form"}
    assert outline.values("src") == []
    assert all(link.startswith("#") for link in outline.values("href"))
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in outline.values("content")[3]


def test_every_link_of_the_navigation_has_its_place(make_report: Make) -> None:
    outline = Outline(render(make_report()))
    assert {link[1:] for link in outline.values("href")} <= set(outline.values("id"))


def test_every_picture_has_words_for_those_who_do_not_see_it(make_report: Make) -> None:
    page = render(make_report())
    for svg in re.findall(r"<svg[^>]*>", page):
        assert 'aria-hidden="true"' in svg or re.search(r'role="img" aria-label="[^"]{10,}"', svg)


def test_hostile_text_stays_text(make_report: Make) -> None:
    poison = HOSTILE + TRICKS
    data = make_report()
    stages = [
        stage.model_copy(
            update={
                "reasons": [poison],
                "metrics": stage.metrics | {poison: poison},
                "slices": [{"domain": poison, poison: poison}],
                "failing": [
                    Case(
                        case_id=poison,
                        domain=poison,
                        context=poison,
                        expected=poison,
                        baseline=poison,
                        candidate=poison + "x",
                        note=poison,
                    )
                ],
            }
        )
        for stage in (data.validation.stages if data.validation else [])
    ]
    assert data.dataset
    assert data.validation
    page = render(
        make_report(
            model=poison,
            reason=poison,
            run_id=poison,
            created=poison,
            home=poison,
            inputs=[poison],
            warnings=[poison],
            gates=[GateResult(name=poison, status="PASS", reason=poison)],
            events=EventCounts(read=9, rejected=1, by_reason={poison: 1}),
            validation=data.validation.model_copy(update={"stages": stages, "baseline": poison}),
            dataset=data.dataset.model_copy(
                update={
                    "name": poison,
                    "left_out": {poison: 3},
                    "redacted": {poison: 1},
                    "policy": {poison: poison},
                    "strata": [data.dataset.strata[0].model_copy(update={"domain": poison})],
                }
            ),
            seconds={poison: 1.0},
        )
    )
    page.encode()  # a lone surrogate would not encode
    outline = Outline(page)
    assert outline.open == []
    assert outline.tags["img"] == 0
    assert outline.tags["script"] == 1
    assert outline.tags["style"] == 1
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert not set("\x00\x07\x1b\u202e\u2066\u2028\ud800") & set(page)
    assert "⟨U+202E⟩" in page


def test_the_content_policy_names_the_only_script(make_report: Make) -> None:
    import base64
    import hashlib

    page = render(make_report())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("promoted", "Promoted"),
        ("pending_approval", "Waits for your approval"),
        ("staged", "Stays in staging"),
        ("rejected", "Rejected"),
        ("quarantined", "Quarantined"),
        ("unchanged", "Nothing new"),
    ],
)
def test_the_verdict_is_the_first_thing_to_read(make_report: Make, verdict: str, words: str) -> None:
    text = Outline(render(make_report(verdict=verdict))).text
    assert words in text
    assert text.index(words, text.index("Ratchet report")) < text.index("What speaks for it")


def test_what_stays_in_staging_says_what_to_do_next(make_report: Make) -> None:
    gates = [GateResult(name="readiness", status="FAIL", reason="0.71 does not exceed 0.80")]
    text = Outline(render(make_report(verdict="staged", gates=gates))).text
    assert "What to do next: fix what the gate readiness named, or learn from more or better events." in text


def test_examples_are_told_with_the_events_that_were_read(make_report: Make) -> None:
    assert "dataset 1.1.0; 4,000 events read" in Outline(render(make_report())).text


def test_where_the_baseline_gets_nothing_right_the_page_says_what_counts_instead(make_report: Make) -> None:
    usual = make_report()
    assert "Accuracy is the regression pass rate;" in Outline(render(few_right(usual, 0.984))).text
    text = Outline(render(few_right(usual, None))).text
    assert "not worse ✓ PASS 97.9 % of 812 cases; the baseline gets none steadily right" in text
    assert "Accuracy is the share of all cases that are not worse than the baseline's" in text


def few_right(usual: ReportData, rate: float | None) -> ReportData:
    """Return the report with this pass rate of regression, and the accuracy that follows from it."""
    assert usual.validation is not None
    assert usual.readiness is not None
    metrics = {"pass_rate": rate, "kept_rate": 0.979}
    regression = usual.validation.stages[0].model_copy(update={"metrics": metrics, "counts": {"all_cases": 812}})
    validation = usual.validation.model_copy(update={"stages": [regression, *usual.validation.stages[1:]]})
    readiness = usual.readiness.model_copy(update={"accuracy": 0.979 if rate is None else rate})
    return usual.model_copy(update={"validation": validation, "readiness": readiness})


def test_who_decides_is_told_the_exact_command(make_report: Make) -> None:
    text = Outline(render(make_report(home="/srv/my models"))).text
    assert "ratchet approve support 2 --by YOUR_NAME --home '/srv/my models'" in text
    assert "ratchet approve" not in Outline(render(make_report(verdict="rejected"))).text


def test_what_the_run_did_not_reach_is_said() -> None:
    data = ReportData(run_id="r", created="2026-11-20T19:04:12Z", model="support", verdict="rejected")
    text = Outline(render(data)).text
    assert text.count("Not reached:") == 6
    for what in ("gates", "examined", "trained", "events were read", "dataset", "origin"):
        assert what in text


def test_a_first_version_says_that_there_is_no_champion(make_report: Make) -> None:
    text = Outline(render(make_report(champion=None, changes=None))).text
    assert "There is no champion yet" in text
    assert "nothing yet the first version of this model" in text


def test_a_loss_that_is_not_a_number_does_not_break_the_curve(make_report: Make) -> None:
    training = make_report().training
    assert training
    epochs = [EpochMetrics(1, float("nan"), float("inf"), 0.01, 1.0), EpochMetrics(2, 1.0, 2.0, 0.01, 1.0)]
    page = render(make_report(training=training.model_copy(update={"epochs": epochs, "best_epoch": 2})))
    assert "nan" not in re.findall(r'd="([^"]*)"', page)
    assert not re.search(r'(?:cx|cy|x|y|width|height)="-?(?:nan|inf)', page)


def test_a_difference_between_answers_is_marked(make_report: Make) -> None:
    page = render(make_report())
    assert '<mark class="missing-words">' in page
    assert '<mark class="extra-words">' in page


def test_rendering_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, json, tasks.reporting.page as page\n"
        "data = page.ReportData(run_id='r', created='2026-01-01T00:00:00Z', model='m', verdict='rejected')\n"
        "page.render(data)\n"
        "heavy = ('prefect', 'mlflow', 'pandas', 'pyarrow', 'sklearn', 'scipy', 'matplotlib', 'numba')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_ranges_and_difficulties_are_in_their_natural_order(make_report: Make) -> None:
    shuffled = BeforeAfter(labels=["0.9–1", "none", "0–0.1", "0.1–0.2"], before=[1, 2, 3, 4], after=[1, 0, 0, 0])
    levels = BeforeAfter(labels=["easy", "hard", "medium"], before=[1, 2, 3], after=[1, 2, 3])
    page = render(make_report(distributions=Distributions(score=shuffled, difficulty=levels)))
    assert "0–0.1: 3, 0; 0.1–0.2: 4, 0; 0.9–1: 1, 1; none: 2, 0" in page
    assert "easy: 1 before, 1 after; medium: 3 before, 3 after; hard: 2 before, 2 after" in page


def test_codes_are_shown_with_their_meaning(make_report: Make) -> None:
    counts = EventCounts(read=9, rejected=3, by_reason={"E7021": 2, "com.example.unknown": 1})
    text = Outline(render(make_report(events=counts, meanings={"E7021": "not JSON"}))).text
    assert "E7021 not JSON" in text
    assert "com.example.unknown" in text
