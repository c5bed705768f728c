from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from registry.records import EpochMetrics, Readiness, Stratum
from tasks.reporting.charts import bar_pairs, histogram, loss_chart, strata_chart
from tasks.reporting.data import BeforeAfter
from tasks.reporting.exam_charts import Measured, forest_plot, interval_plot, latency_plot, readiness_chart
from tasks.reporting.funnel import funnel_picture
from tasks.reporting.svg import Scale, num, ticks
from tasks.reporting.tables import Lost, Step
from tasks.reporting.words import percent, signed_percent


def numbers(picture: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf'\b{name}="(-?[\d.]+)"', picture)]


def test_a_scale_maps_linearly_and_holds_at_its_ends() -> None:
    scale = Scale(10, 20, 100, 300)
    assert scale.at(15) == 200  # 100 + (15 - 10) / (20 - 10) * (300 - 100)
    assert scale.at(0) == 100
    assert scale.at(99) == 300


def test_a_scale_of_one_value_does_not_divide_by_zero() -> None:
    assert Scale(5, 5, 0, 100).at(5) == 0


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 4_000, 4, [0, 1000, 2000, 3000, 4000]),
        (-0.3, 0.3, 3, [-0.2, 0, 0.2]),
        (7, 7, 5, [7]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, about: int, expected: list[float]) -> None:
    assert ticks(low, high, about) == pytest.approx(expected)


def test_coordinates_have_no_superfluous_digits() -> None:
    assert [num(value) for value in (1.0, 2.5, 0.004, -0.001, 3.14159)] == ["1", "2.5", "0", "0", "3.14"]


def test_bars_are_as_long_as_their_counts() -> None:
    picture = bar_pairs(BeforeAfter(labels=["a", "b"], before=[100, 50], after=[50, 0]), "domain")
    # the track is 460 - 120 - 96 = 244 wide for 100: 244, half of it, half of it, nothing
    assert numbers(picture, "width") == [244, 122, 122, 0]
    assert "50 %" in picture.replace("\u00a0", " ")


def test_the_interval_is_drawn_around_its_estimate_and_the_good_side_is_shaded() -> None:
    picture = interval_plot(Measured("x", 0.98, 0.96, 0.99, 0.95, "above", percent))
    # low 0.95, high 0.99, padded by 14 % of 0.04: the axis is 0.9444 to 0.9956, 440 wide from 10
    at = [10 + (value - 0.9444) / 0.0512 * 440 for value in (0.95, 0.96, 0.99, 0.98)]
    edge = float(re.findall(r'class="good-side"', picture) and numbers(picture.split('class="good-side"')[0], "x")[-1])
    assert edge == pytest.approx(at[0], abs=0.02)
    assert numbers(picture, "x1")[1:2] == pytest.approx([at[1]], abs=0.02)
    assert numbers(picture, "x2")[1:2] == pytest.approx([at[2]], abs=0.02)
    assert numbers(picture, "cx") == pytest.approx([at[3]], abs=0.02)


def test_the_readiness_bar_is_the_weighted_sum() -> None:
    ready = Readiness(score=0.86, accuracy=1.0, confidence=0.8, consistency=0.8, robustness=0.6)
    picture = readiness_chart(ready, 0.8)
    # 0.4 * 1 + 0.3 * 0.8 + 0.2 * 0.8 + 0.1 * 0.6 = 0.86 of 284 pixels, one pixel of gap after each of the four parts
    parts = [float(w) for w in re.findall(r'width="([\d.]+)" height="24" class="part', picture)]
    assert sum(parts) + 4 == pytest.approx(0.86 * 284, abs=0.05)


def test_the_latency_curve_ends_at_all_requests() -> None:
    picture = latency_plot([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0], 6.0)
    curves = re.findall(r'd="([^"]+)" class="curve', picture)
    assert len(curves) == 2
    assert all(curve.split()[-1] == "12" for curve in curves)  # the top of the plot is 100 %


def test_the_funnel_draws_heights_in_proportion() -> None:
    steps = [Step("read", 1000, [Lost("rejected", 250)]), Step("kept", 750, [])]
    picture = funnel_picture(steps, {"train": 600, "validation": 75, "test": 75})
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="node"', picture)]
    assert heights == [168, 126]  # 168 pixels for 1000, so 750 are 126
    assert "250 rejected" in re.sub(r"<[^>]+>", "", picture)


def test_pictures_are_well_formed_even_with_nothing_to_show() -> None:
    empty = BeforeAfter(labels=[], before=[], after=[])
    one = [EpochMetrics(1, 0.5, 0.5, 0.0, 0.0)]
    drawn = [
        bar_pairs(empty, "a"),
        histogram(empty, "b"),
        strata_chart([]),
        loss_chart(one, 1),
        latency_plot([1.0], [1.0], None),
        strata_chart([Stratum(domain="<&>", difficulty="easy", train=0, validation=0, test=0, groups=0)]),
        forest_plot([Measured("a", 0.0, 0.0, 0.0, 0.0, "above", signed_percent)]),
        funnel_picture([Step("read", 0, [])], {}),
    ]
    for picture in drawn:
        ElementTree.fromstring(picture)
