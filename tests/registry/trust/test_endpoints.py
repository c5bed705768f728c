import pytest

from registry.errors import IntegrityError
from registry.serving import Servable


def test_a_version_is_served_where_its_attestation_says_and_nowhere_else(bench):
    version = bench.champion("one")
    client = bench.registry.connection.client
    assert bench.serving.servable(version) == Servable(version, None, "support")
    client.set_model_version_tag("support", "1", "endpoint", "http://evil.example/v1")
    for alias in (None, "champion"):
        with pytest.raises(IntegrityError, match="E7953: MLflow says that support version 1 is served by http://evil"):
            bench.serving.check(bench.serving.servable(version), alias)
    signed = bench.bundles.sign(bench.registry.get("support", "1"), "it is ours", "ann")
    assert signed.predicate["endpoint"] == {"url": "http://evil.example/v1", "model": "support"}
    bench.serving.check(bench.serving.servable(version), "champion")
    client.set_model_version_tag("support", "1", "endpoint_model", "another")
    with pytest.raises(IntegrityError, match=r"as another, and what was signed is http://evil\.example/v1 as support"):
        bench.serving.check(bench.serving.servable(version))


def test_a_version_that_has_no_files_here_is_served_elsewhere_once_it_is_signed(bench, toys):
    run = bench.registry.tracking.start_run("support", "run", "work")
    bare = bench.bare("support", run)
    bench.registry.connection.client.set_model_version_tag("support", "1", "endpoint", "https://api.example.com/v1")
    with pytest.raises(IntegrityError, match="E7945"):
        bench.serving.check(bench.serving.servable(bare))
    bench.bundles.sign(bare, "a server of ours", "ann")
    bench.serving.check(bench.serving.servable(bare))


def test_an_endpoint_that_is_no_address_is_not_signed(bench):
    version = bench.candidate("one")
    bench.registry.connection.client.set_model_version_tag("support", "1", "endpoint", "file:///etc/passwd")
    with pytest.raises(IntegrityError, match="E7927"):
        bench.bundles.sign(version, "looked at", "ann")
