import json

import pytest

from registry.errors import IntegrityError, PromotionError
from registry.models import Candidate, check_name


def test_a_candidate_carries_everything_that_it_came_from(bench):
    version = bench.candidate(params={"train": {"rank": 16}}, metrics={"score": 0.5}, tags={"note": "first"})
    assert (version.version, version.stage, version.aliases) == ("1", "development", [])
    assert (version.dataset, version.dataset_digest, version.strategy) == ("support/1.0.0", "d" * 64, "full_retrain")
    client = bench.registry.connection.client
    model = client.get_logged_model(version.model_id)
    assert model.status == "READY"
    assert model.params == {"train.rank": "16"}
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "support", "version": 1}]
    (metric,) = model.metrics
    assert (metric.key, metric.value, metric.dataset_name) == ("score", 0.5, "support/1.0.0")
    run = client.get_run(version.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [version.model_id]
    assert client.get_model_version("support", "1").tags["note"] == "first"


def test_no_path_of_this_machine_is_in_the_models_files(bench):
    folder = bench.registry.artifact(bench.candidate()).parents[1]
    text = (folder / "MLmodel").read_text()
    assert str(bench.home.root) not in text
    assert "toy_model.py" in text
    assert "/toy_model.py" not in text
    assert not list(folder.rglob("*.pkl"))


def test_registering_the_same_work_again_finds_the_version(bench):
    assert bench.candidate("same") == bench.candidate("same")
    assert bench.candidate("another").version == "2"
    assert [version.version for version in bench.registry.versions("support")] == ["1", "2"]


@pytest.mark.parametrize(
    "broken", ["log_model_artifacts", "finalize_logged_model", "log_outputs", "create_model_version"]
)
def test_a_registration_that_was_cut_off_is_finished_by_the_next(bench, monkeypatch, broken):
    client = bench.registry.connection.client
    with monkeypatch.context() as cut:
        cut.setattr(client, broken, _cut_off)
        with pytest.raises(KeyboardInterrupt):
            bench.candidate("work")
    version = bench.candidate("work")
    assert bench.candidate("work") == version
    assert version.version == "1"
    experiment = bench.registry.connection.experiment_id
    assert [model.model_id for model in client.search_logged_models([experiment])] == [version.model_id]
    assert len(client.get_run(version.run_id).outputs.model_outputs) == 1
    assert bench.registry.load("support", "1").is_dir()


def _cut_off(*arguments, **more):
    raise KeyboardInterrupt


def test_versions_are_found_by_number_and_by_alias(bench):
    first, second = bench.champion("one"), bench.champion("two")
    assert bench.registry.get("support", "2") == bench.registry.get("support", "@champion") == second
    assert bench.registry.champion("support") == second
    assert bench.registry.get("support", "1").stage == "archived"
    assert bench.registry.get("support", "1").created == first.created
    assert bench.registry.names() == ["support"]
    assert bench.registry.champion("unknown") is None


def test_what_is_not_there_is_answered_with_what_is(bench):
    with pytest.raises(PromotionError, match="E7522: there is no model support; run `ratchet learn` first"):
        bench.registry.get("support", "champion")
    bench.champion("one")
    with pytest.raises(PromotionError, match=r"E7522: support has no alias challenger; .* its aliases champion → 1"):
        bench.registry.load("support", "challenger")
    with pytest.raises(PromotionError, match="E7522: support has no version 9; its versions are 1"):
        bench.registry.get("support", "9")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "-a", "a b", "a'b", "a\nb", "x" * 101, "../up"])
def test_a_name_that_cannot_be_a_models_is_refused(bench, name):
    with pytest.raises(PromotionError, match="E7520"):
        check_name(name)
    with pytest.raises(PromotionError, match="E7520"):
        bench.registry.get(name, "1")


def test_the_loaded_artifact_is_what_was_trained(bench):
    bench.champion("one", answer="bonjour")
    assert json.loads((bench.registry.load("support", "champion") / "answer.json").read_text()) == {"answer": "bonjour"}


def test_a_version_in_quarantine_is_not_loaded(bench, toys):
    bench.champion("one")
    bench.transitions.quarantine("support", "1", "unsafe", toys.actor)
    for reference in ("1", "champion"):
        with pytest.raises(PromotionError, match="E7522" if reference == "champion" else "E7523: .* is in quarantine"):
            bench.registry.load("support", reference)
    bench.registry.connection.client.set_registered_model_alias("support", "champion", "1")  # by hand, in the UI
    with pytest.raises(PromotionError, match="E7523"):
        bench.registry.load("support", "champion")


def test_a_champion_made_by_hand_is_not_loaded(bench):
    bench.candidate("one")
    bench.registry.connection.client.set_registered_model_alias("support", "champion", "1")
    with pytest.raises(IntegrityError, match=r"E7923: support@champion is version 1, which is in development"):
        bench.registry.load("support", "champion")


def test_files_that_were_changed_are_not_loaded(bench):
    artifact = bench.registry.artifact(bench.champion("one"))
    before = (artifact / "answer.json").read_text()
    (artifact / "answer.json").write_text('{"answer": "changed"}')
    with pytest.raises(IntegrityError, match="E7925"):
        bench.registry.load("support", "champion")
    (artifact / "answer.json").write_text(before)
    (artifact / "added.json").write_text("{}")
    with pytest.raises(IntegrityError, match="E7925"):
        bench.registry.load("support", "champion")
    (artifact / "added.json").unlink()
    assert bench.registry.load("support", "champion") == artifact


def test_files_that_are_gone_are_missed(bench):
    artifact = bench.registry.artifact(bench.champion("one"))
    (artifact.parents[1] / "MLmodel").unlink()
    with pytest.raises(IntegrityError, match="E7924"):
        bench.registry.load("support", "champion")


def test_a_stage_that_is_none_is_noticed(bench):
    bench.candidate("one")
    bench.registry.connection.client.set_model_version_tag("support", "1", "stage", "live")
    with pytest.raises(IntegrityError, match="E7926: the tag `stage` of support version 1 is 'live'"):
        bench.registry.get("support", "1")


def test_a_name_is_checked_before_anything_is_written(bench, toys, tmp_path):
    with pytest.raises(PromotionError, match="E7520"):
        bench.registry.log_candidate(
            Candidate("a/b", "run", tmp_path, toys.code, [], "work", toys.manifest(), "full_retrain")
        )
