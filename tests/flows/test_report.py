"""The report of a real run, opened in a browser as a person would."""

from __future__ import annotations

import json
import urllib.request

import pytest

pytestmark = pytest.mark.server


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_the_report_is_whole_asks_nobody_and_fits_the_window(browser, learned, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto("file://" + learned.summary["report"])
    text = page.inner_text("body").lower()
    assert said == []
    assert len(asked) == 1, asked
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert learned.summary["dataset"]["version"] in text
    for stage in ("regression", "performance", "safety", "diversity", "latency"):
        assert stage in text
    assert page.locator("svg").count() >= 5
    page.close()


def test_what_prefect_is_shown_of_a_run_is_its_tables_its_link_and_its_progress(learned, prefect_api):
    def ask(path: str, body: dict) -> list[dict]:
        request = urllib.request.Request(
            f"{prefect_api}/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    flow_run = learned.summary["flow_run_id"]
    artifacts = ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}})
    shown = {artifact["key"]: artifact for artifact in artifacts}
    assert {"funnel-agent", "validation-agent", "gates-agent", "report-agent", "progress-agent"} <= shown.keys()
    assert shown["progress-agent"]["data"] == 100.0
    runs = ask("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [flow_run]}}, "limit": 200})
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    names = {run["name"] for run in runs}
    assert {f"validate: {stage}" for stage in ("regression", "performance", "safety", "diversity", "latency")} <= names
    assert {"read events 1 of 1", "register agent", "measure readiness", "write report", "publish model 1"} <= names
    assert any(name.startswith("train adapter ") for name in names)
