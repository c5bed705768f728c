from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.records import GateResult
from tasks.reporting import task
from tasks.reporting.page import ReportData, render

Make = Callable[..., ReportData]


def test_the_report_is_written_whole_and_leaves_nothing_beside_it(make_report: Make, tmp_path: Path) -> None:
    path = tmp_path / "reports" / "support-2.html"
    assert task.save_report(make_report(), path) == path
    assert path.read_text(encoding="utf-8") == render(make_report())
    task.save_report(make_report(verdict="promoted"), path)
    assert "Promoted" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["support-2.html"]


def test_an_earlier_report_survives_a_failure(
    make_report: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    task.save_report(make_report(), path)
    before = path.read_bytes()

    def fails(data: ReportData) -> str:
        raise ValueError(data.model)

    monkeypatch.setattr(task, "render", fails)
    with pytest.raises(ValueError, match="support"):
        task.save_report(make_report(), path)
    assert path.read_bytes() == before


def test_artifacts_are_skipped_outside_a_flow_run(make_report: Make) -> None:
    data = make_report()
    task.show_funnel("support", data.events, data.examples, data.dataset)
    assert data.validation
    task.show_validation("support", data.validation, data.readiness)
    task.show_gates("support", "2", "staged", [{"name": "a", "status": "PASS", "reason": ""}])
    task.show_gates("support", "2", "staged", [GateResult(name="a", status="PASS", reason="")])


@pytest.mark.parametrize(("name", "key"), [("funnel-My_Model.v2", "funnel-my-model-v2"), ("report-ä", "report")])
def test_artifact_keys_are_what_prefect_allows(name: str, key: str) -> None:
    assert task.artifact_key(name) == key
