"""Where a version is served elsewhere: two tags in MLflow, which count once somebody signed them with the version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from registry.errors import IntegrityError
from registry.records import ModelVersion
from registry.trust.statements import Bundle, named

ENDPOINT, ENDPOINT_MODEL = "endpoint", "endpoint_model"
"""Tags of a version that is served elsewhere: the OpenAI-compatible base URL, and the model's name there."""


class Endpoint(NamedTuple):
    """A server that answers for a version."""

    url: str
    """Its base URL."""
    model: str
    """The model's name there."""


def endpoint_of(version: ModelVersion, tags: Mapping[str, str]) -> Endpoint | None:
    """Return what the tags of a version say; None where it answers in process.

    Raises:
        IntegrityError: E7927 it is no address.
    """
    url = tags.get(ENDPOINT, "").strip().rstrip("/")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise IntegrityError(
            "E7927",
            f"the tag `{ENDPOINT}` of {named(version)} is {url[:80]!r}, which is no address",
            "set it in MLflow to the base URL of an OpenAI-compatible server, such as http://HOST:8000/v1",
        )
    return Endpoint(url, tags.get(ENDPOINT_MODEL, "").strip() or version.name)


def check_endpoint(version: ModelVersion, endpoint: Endpoint | None, attested: Bundle) -> None:
    """Check that a version is served where its attestation says.

    Raises:
        IntegrityError: E7953 its tags say otherwise.
    """
    signed = attested.predicate.get("endpoint")
    if signed == (None if endpoint is None else endpoint._asdict()):
        return
    told = f"is served by {endpoint.url} as {endpoint.model}" if endpoint else "answers from its own files"
    was = f"{signed['url']} as {signed['model']}" if signed else "its own files"
    raise IntegrityError(
        "E7953",
        f"MLflow says that {named(version)} {told}, and what was signed is {was}",
        f"put its tag `{ENDPOINT}` right, or look at it and `ratchet sign {version.name}/{version.version}`",
    )
