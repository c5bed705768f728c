"""The whole way through both user interfaces, as a person goes it: form, report, version, approval, champion.

Screenshots of each step are kept in tests/output/browser/.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.slow]
OUTPUT = Path(__file__).parents[1] / "output" / "browser"
RUN_MS, PAGE_MS = 90_000, 30_000


class Visitor:
    """Somebody with a browser, who keeps a picture of each step."""

    def __init__(self, page, services: dict) -> None:
        self.page = page
        self.prefect, self.mlflow = services["prefect"]["url"], services["mlflow"]["url"]
        self.steps = 0

    def picture(self, name: str) -> None:
        self.steps += 1
        self.page.screenshot(path=OUTPUT / f"{self.steps:02}-{name}.png", full_page=True)

    def open_form(self, deployment: str) -> None:
        self.page.goto(self.prefect)
        self.page.get_by_role("link", name="Deployments").click()
        self.page.get_by_role("link", name=deployment, exact=True).first.click()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom Run").click()
        self.page.get_by_role("heading", name="Parameters").wait_for()

    def submit_and_wait(self, name: str) -> None:
        """Submit the form, go to the run and stay there until it says that it is completed."""
        from playwright.sync_api import expect

        self.picture(f"{name}-form")
        self.page.get_by_role("button", name="Submit").click()
        self.page.get_by_role("link", name="View run").click()
        self.page.get_by_role("tab", name="Artifacts").wait_for()
        expect(self.page.get_by_role("main").get_by_text("Completed", exact=True).first).to_be_visible(timeout=RUN_MS)
        self.picture(f"{name}-completed")

    def open_artifact(self, key: str, shows: str) -> None:
        self.page.get_by_role("tab", name="Artifacts").click()
        self.page.get_by_role("link", name=key).click()
        self.page.get_by_text(shows).first.wait_for()
        self.page.get_by_role("main").get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
        self.page.get_by_role("link", name=re.compile("^Report")).wait_for()
        self.picture(key)

    def open_version(self, model: str, version: str, name: str) -> str:
        """Open a version in MLflow and return all that its page says."""
        self.page.goto("about:blank")  # the address differs behind the # alone, which loads nothing anew
        self.page.goto(f"{self.mlflow}/#/models/{model}/versions/{version}")
        self.page.get_by_text("recommendation", exact=True).wait_for()
        self.picture(name)
        return " ".join(self.page.get_by_role("main").inner_text().split())


@pytest.fixture
def visitor(browser, ratchet_up) -> Iterator[Visitor]:
    running = ratchet_up("--no-gateway")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PAGE_MS)
    yield Visitor(page, running.services)
    page.close()


def test_a_person_learns_reads_and_approves_in_the_user_interfaces_alone(visitor, make_sample, tmp_path):
    events = make_sample(tmp_path / "events.jsonl", "--events", 800)
    page = visitor.page
    visitor.open_form("learn")
    listed = page.get_by_role("group").filter(has=page.get_by_role("button", name="Drag to reorder"))
    listed.get_by_role("textbox").fill(str(events))
    page.get_by_label("model (Optional)").fill("support")
    visitor.submit_and_wait("learn")
    visitor.open_artifact("report-support", "support/1: pending approval")
    page.goto(page.get_by_role("link", name=re.compile("^Report")).get_attribute("href"))
    page.frame_locator("iframe").get_by_text("Waits for your approval").first.wait_for()
    visitor.picture("report")

    said = visitor.open_version("support", "1", "mlflow-waits")
    assert re.search(r"\bstage staging\b", said)
    assert re.search(r"@ ?staging", said)
    assert not re.search(r"@ ?champion", said)
    visitor.open_form("approve")
    for name, value in {"model": "support", "version": "1", "by": "dana"}.items():
        page.get_by_label(name, exact=True).fill(value)
    visitor.submit_and_wait("approve")

    said = visitor.open_version("support", "1", "mlflow-serves")
    assert re.search(r"\bstage production\b", said)
    assert re.search(r"@ ?champion", said)
