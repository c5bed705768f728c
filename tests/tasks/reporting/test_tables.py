from __future__ import annotations

from collections.abc import Callable

from registry.records import EventCounts, ExampleCounts, GateResult
from tasks.reporting.page import ReportData
from tasks.reporting.tables import (
    cell,
    funnel,
    funnel_markdown,
    gates_markdown,
    judgements_markdown,
    key_figure,
    markdown_table,
    validation_markdown,
)

Make = Callable[..., ReportData]


def test_the_funnel_accounts_for_every_event_and_example(make_report: Make) -> None:
    data = make_report()
    steps = funnel(data.events, data.examples, data.dataset)
    lost = [{each.name: each.count for each in step.lost} for step in steps]
    # 4,000 read - 40 rejected - 164 duplicate - 140 of other types - 3,380 examples = 276 joined to a trace
    assert lost[0] == {"rejected": 40, "duplicate": 164, "of other types": 140, "joined to a trace": 276}
    # 438 rejected, 270 of them failed
    assert lost[1] == {"failed": 270, "rejected": 168, "for review": 640}
    assert steps[2].count == 3_380 - 270 - 168 - 640
    # 2,302 accepted - 37 - 102 - 4 = 2,159 new; 2,526 in the dataset, so 367 are the parent's
    assert (steps[3].count, steps[3].inherited) == (2_526, 367)


def test_the_funnel_ends_where_the_run_ended() -> None:
    events, examples = EventCounts(read=10, rejected=10), ExampleCounts()
    assert [step.name for step in funnel(events, None, None)] == ["events read"]
    assert [step.name for step in funnel(events, examples, None)] == ["events read", "examples", "accepted"]
    assert funnel(None, None, None) == []


def test_a_cell_of_markdown_cannot_become_markup() -> None:
    assert cell("a|b\n<img> [x](y) `z` \u202e") == r"a\|b \<img\> \[x\](y) \`z\` ⟨U+202E⟩"
    table = markdown_table(("a", "b"), [["x|y", "1"]], right=(1,))
    assert table.splitlines() == ["| a | b |", "| --- | ---: |", r"| x\|y | 1 |"]


def test_the_markdown_has_the_numbers_of_the_page(make_report: Make) -> None:
    data = make_report()
    text = funnel_markdown(data.events, data.examples, data.dataset)
    for part in ("4,000", "276 joined to a trace", "2,526", "| train |", "140 EMAIL"):
        assert part.replace("| train |", "· train") in text
    assert data.validation
    report = validation_markdown(data.validation, data.readiness)
    assert "# Validation: REVIEW" in report
    assert "? INCONCLUSIVE" in report
    assert "| score | 0.861 |" in report


def test_gates_are_listed_with_their_marks() -> None:
    text = gates_markdown("m_1", "3", "pending_approval", [GateResult(name="a", status="PENDING", reason="waits")])
    assert text.splitlines()[0] == r"# m\_1/3: pending approval"
    assert "| a | … PENDING | waits |" in text


def test_every_stage_has_a_key_figure(make_report: Make) -> None:
    validation = make_report().validation
    assert validation
    figures = {stage.name: key_figure(stage).replace("\u00a0", " ") for stage in validation.stages}
    assert figures == {
        "regression": "98.4 % still right",
        "performance": "score 0.724, 2.2 × the baseline's 0.331",
        "safety": "0 backdoors, 0 injections, 0 leaks",
        "diversity": "4 domains, worst +50.0 %",
        "latency": "p95 2.61 ms",
    }


def test_a_stage_without_numbers_still_has_a_figure(make_report: Make) -> None:
    validation = make_report().validation
    assert validation
    for stage in validation.stages:
        assert key_figure(stage.model_copy(update={"metrics": {}, "counts": {}}))


def test_what_live_traffic_says_is_a_table_and_says_what_could_not_be_judged():
    tried = {"challenger": "2", "experiment": "agent-2", "state": "running", "reason": "lift +3% | not decided"}
    bake = {"version": "1", "broken": True, "restored": "0", "reason": "quality fell"}
    told = judgements_markdown(
        [
            {"model": "agent", "bake": None, "experiments": [tried], "failed": []},
            {"model": "other", "bake": bake, "experiments": [], "failed": ["E7831: MLflow is gone"]},
        ]
    )
    assert "agent/2" in told
    assert "lift +3% \\| not decided" in told
    assert "broken, 0 restored" in told
    assert "could not be judged" in told
    assert judgements_markdown([]).startswith("# Nothing to judge")
