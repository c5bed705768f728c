"""Requests made from the gateway's own description, those that fit it and those that do not: nothing makes it fail."""

from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

EXAMPLES = 60
PATHS = ["/v1/chat/completions", "/events", "/feedback", "/route"]


@pytest.fixture(scope="module")
def description(shared):
    return schemathesis.openapi.from_dict(shared.gateway.get("/openapi.json").json())


def test_the_description_names_every_path_with_its_body(description):
    paths = description.raw_schema["paths"]
    assert {*PATHS, "/v1/models", "/healthz", "/readyz", "/metrics"} == set(paths)
    for path in PATHS[:3]:
        content = paths[path]["post"]["requestBody"]["content"]
        assert all("schema" in body for body in content.values())
    assert "application/cloudevents-batch+json" in paths["/events"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize("path", PATHS)
def test_no_request_makes_it_fail_and_every_refusal_is_a_problem(shared, description, path):
    operation = next(found.ok() for found in description.get_all_operations() if found.ok().path == path)
    modes = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    seen = Counter()

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(modes))
    def attempt(case):
        sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
        try:
            made = requests.Request(**sent).prepare()
        except (requests.RequestException, ValueError):  # no client could send it
            return
        body = made.body.encode() if isinstance(made.body, str) else made.body
        headers = {name: value for name, value in made.headers.items() if name.lower() != "content-length"}
        answer = shared.gateway.do(
            shared.gateway.http.request(made.method, made.url, headers=headers, content=body or b"")
        )
        seen[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"].startswith("E7")

    attempt()
    assert seen.total() > EXAMPLES / 2
