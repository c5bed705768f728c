"""The stages one by one, as docs/stages.md shows them."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.server


def test_the_flow_of_the_document_goes_from_a_file_to_a_verdict(repository, sample, prefect_api, tmp_path, learned):
    text = (repository / "docs" / "stages.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "by_hand.py"
    path.write_text(code, encoding="utf-8")
    names: dict = {"__name__": "by_hand", "__file__": str(path)}
    exec(compile(code, str(path), "exec"), names)
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api, PREFECT_LOGGING_TO_API_ENABLED: False}):
        verdict = names["by_hand"](str(sample), tmp_path)
    assert verdict in {"DEPLOY", "REVIEW"}
    assert verdict == learned.summary["validation"]["recommendation"]
