"""The page is one file with the picture in it; the answers of a shadow are compared with the served ones."""

import re
from xml.etree import ElementTree

from tasks.experiments.agreement import agreement
from tasks.experiments.decide import judge
from tasks.experiments.page import picture, render_html, ticks


def test_the_page_has_the_verdict_the_picture_and_nothing_from_elsewhere(toys):
    found = judge(toys.evidence(toys.units(0, 1500, 0.70), toys.units(1, 1500, 0.80)), toys.quick)
    page = render_html(found, "Experiment <support>-2", [("model", "support & more")], 0.05)
    assert "won: quality is better" in page
    assert "&lt;support&gt;" in page
    assert "support &amp; more" in page
    assert not re.search(r"(src|href)=|<script|https?://", page)
    picture_ = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert picture_ is not None
    assert ElementTree.fromstring(picture_.group()).get("aria-label")
    assert "nan" not in picture_.group()


def test_a_picture_of_nothing_says_so(toys):
    found = judge(toys.evidence(toys.units(0, 0), toys.units(1, 0)), toys.quick)
    assert "No unit has closed yet" in picture(found.comparisons[0], 0.05)


def test_the_axis_is_marked_at_powers_of_ten_and_at_its_end():
    assert ticks(957.0) == [1, 10, 100, 957]
    assert ticks(1.0) == [1]


def test_shadow_answers_are_compared_with_those_that_were_served_in_their_place():
    shadows = [
        {"shadow_of": "t1", "output": "yes of course"},
        {"shadow_of": "t2", "output": "no"},
        {"shadow_of": "t3", "output": "lost"},
        {"output": "of nothing"},
    ]
    served = [{"trace_id": "t1", "output": "of course yes"}, {"trace_id": "t2", "output": "yes"}]
    assert agreement(shadows, served) == [1.0, 0.0]
    assert agreement([], []) == []
