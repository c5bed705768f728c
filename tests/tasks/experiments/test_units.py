"""A unit counts once, by what it did in a fixed time after its first request."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tasks.experiments.units import by_unit

START = datetime(2026, 1, 1, tzinfo=UTC)
ARMS = ["control", "challenger"]


def traces(*rows):
    """Rows are (minutes, unit, arm, quality) and, by name, what else is known."""
    columns = {
        "failed": False,
        "negative": None,
        "latency_ms": None,
        "tokens_in": None,
        "tokens_out": None,
        "cost": None,
    }
    given = [{**columns, **(row[4] if len(row) > 4 else {})} for row in rows]
    types = {"failed": pa.bool_(), "negative": pa.bool_()}
    return pa.table(
        {
            "offset": pa.array(range(1, len(rows) + 1), pa.int64()),
            "time": pa.array([START + timedelta(minutes=row[0]) for row in rows], pa.timestamp("us", "UTC")),
            "unit": pa.array([row[1] for row in rows], pa.string()),
            "arm": pa.array([row[2] for row in rows], pa.string()),
            "quality": pa.array([row[3] for row in rows], pa.float64()),
            **{name: pa.array([row[name] for row in given], types.get(name, pa.float64())) for name in columns},
        }
    )


def closed(table, hours=1.0, now=timedelta(days=1), **more):
    return by_unit(table, ARMS, START + now, hours, **more)


def test_a_unit_is_the_mean_of_its_requests_within_its_window():
    units, _ = closed(traces((0, "a", "control", 100), (30, "a", "control", 50), (61, "a", "control", 0)))
    assert units.quality.tolist() == [0.75]


def test_with_no_window_the_first_request_alone_counts():
    units, _ = closed(traces((0, "a", "control", 100), (0, "a", "control", 0)), hours=0.0)
    assert units.quality.tolist() == [1.0]


def test_a_unit_whose_window_is_not_over_is_open():
    table = traces((0, "a", "control", 100), (30, "b", "control", 100))
    units, exposure = closed(table, now=timedelta(minutes=70))
    assert len(units.arm) == 1
    assert (exposure.arms.tolist(), exposure.open) == ([2, 0], 1)


def test_a_unit_that_was_in_both_arms_is_left_out_and_counted():
    table = traces((0, "a", "control", 100), (300, "a", "challenger", 100), (1, "b", "challenger", 20))
    units, exposure = closed(table)
    assert units.arm.tolist() == [1]
    assert (exposure.arms.tolist(), exposure.both) == ([0, 1], 1)


def test_a_request_without_a_score_is_no_outcome_yet():
    units, _ = closed(traces((0, "a", "control", None), (1, "a", "control", 40), (2, "b", "control", None)))
    assert units.quality[0] == pytest.approx(0.4)
    assert np.isnan(units.quality[1])


def test_units_stand_in_the_order_of_their_first_request_whatever_the_order_of_the_rows():
    rows = [(50, "c", "challenger", 30), (0, "a", "control", 10), (20, "b", "challenger", 20), (21, "a", "control", 10)]
    units, _ = closed(traces(*rows))
    assert units.quality.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert units.arm.tolist() == [0, 1, 1]
    assert (np.diff(units.opened) > 0).all()


def test_rows_of_nobody_and_of_other_arms_are_passed_over():
    units, exposure = closed(traces((0, None, "control", 1), (0, "a", "third", 1), (0, "b", None, 1)))
    assert len(units.arm) == 0
    assert exposure.arms.tolist() == [0, 0]
    assert len(closed(traces()[:0])[0].arm) == 0


def test_cost_is_what_is_said_or_else_the_tokens_times_their_price():
    said, counted = {"cost": 0.5, "tokens_in": 9.0}, {"tokens_in": 1_000_000.0, "tokens_out": 2_000_000.0}
    table = traces((0, "a", "control", 1, said), (1, "b", "control", 1, counted), (2, "c", "control", 1))
    units, _ = closed(table, prices=(0.1, 0.2))
    assert units.cost[:2].tolist() == pytest.approx([0.5, 0.5])  # 1 · 0.1 + 2 · 0.2
    assert np.isnan(units.cost[2])


def test_latency_is_that_of_the_first_request_that_says_it():
    slow, slower = {"latency_ms": 100.0}, {"latency_ms": 900.0}
    units, _ = closed(traces((0, "a", "control", 1), (1, "a", "control", 1, slow), (2, "a", "control", 1, slower)))
    assert units.latency.tolist() == [100.0]
