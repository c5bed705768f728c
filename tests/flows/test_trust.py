import json
import shutil

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.settings import load_settings
from flows.stores import open_stores
from registry.transitions import Actor
from registry.trust.signing import Keyring
from tests.flows.toy_home import MODEL, registered


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with one version that was quarantined and released, so that its run has its bundles."""
    stores = open_stores(load_settings(home=tmp_path_factory.mktemp("trust") / "home"))
    version = registered(stores, "one")
    stores.transitions.quarantine(MODEL, version.version, "to be sure", Actor("ann"))
    stores.transitions.release(MODEL, version.version, "it is good", Actor("ann"))
    return stores.home.root


@pytest.fixture
def home(made, tmp_path):
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ask(home):
    def run(*arguments, code=0):
        done = CliRunner().invoke(app, [*arguments, "--home", str(home)], env={"COLUMNS": "160"})
        assert done.exit_code == code, done.output
        return json.loads(done.stdout.splitlines()[-1]) if "--json" in arguments and code == 0 else done.output

    return run


def test_a_good_version_is_shown_with_who_signed_it_and_a_bad_one_ends_with_1(ask, home):
    found = ask("verify-model", f"{MODEL}/1", "--json")
    assert (found["model"], found["version"], found["signed_by"], found["trained_by"]) == (
        MODEL,
        "1",
        "ratchet",
        "zeno",
    )
    assert found["files"] == 6
    shown = ask("verify-model", f"{MODEL}/1")
    assert "good  support/1" in shown
    assert "6 files" in shown
    stores = open_stores(load_settings(home=home))
    (stores.bundles.folder(stores.models.get(MODEL, "1")) / "more.py").write_text("")
    refused = ask("verify-model", f"{MODEL}/1", code=1)
    assert refused.startswith("E7946: the files of support version 1 are not those that were signed: more.py was not")


def test_a_model_that_was_fetched_by_hand_is_verified_with_its_bundles_alone(ask, home, tmp_path):
    stores = open_stores(load_settings(home=home))
    version = stores.models.get(MODEL, "1")
    files, bundle = tmp_path / "files", tmp_path / "bundle.json"
    shutil.copytree(stores.bundles.folder(version), files)
    shutil.copy(stores.models.tracking.artifact(version.run_id, "bundle.json"), bundle)
    shutil.rmtree(home / "mlflow")
    asked = ("verify-model", f"{MODEL}/1", "--folder", str(files), "--bundle", str(bundle))
    assert ask(*asked, "--json")["files"] == 6
    assert "cannot be seen from a file" in ask(*asked)
    (files / "MLmodel").write_text("flavors: {}")
    assert "E7946" in ask(*asked, code=1)
    assert "E7951" in ask("verify-model", f"{MODEL}/2", *asked[2:], code=1)
    bundle.write_text("{")
    assert "E7951" in ask(*asked, code=1)
    assert "go together" in ask("verify-model", f"{MODEL}/1", "--folder", str(files), code=2)


def test_after_a_key_is_revoked_a_version_is_signed_with_a_new_one(ask):
    (old,) = ask("keys", "list", "--json")["keys"]
    assert (old["identity"], old["roles"], old["state"]) == ("ratchet", ["sign"], "counts")
    ask("keys", "revoke", old["key_id"][:8], "--by", "ann", "--reason", "the disk was sold")
    assert "E7943" in ask("verify-model", f"{MODEL}/1", code=1)
    assert "E7895" in ask("sign", f"{MODEL}/1", "--by", "ann", "--reason", "looked at", code=1)
    fresh = ask("keys", "rotate", "--by", "ann", "--json")
    assert fresh["key_id"] != old["key_id"]
    signed = ask("sign", f"{MODEL}/1", "--by", "ann", "--reason", "looked at", "--json")
    assert (signed["key_id"], signed["trained_by"], signed["reason"]) == (fresh["key_id"], "zeno", "looked at")
    assert ask("verify-model", f"{MODEL}/1", "--json")["key_id"] == fresh["key_id"]
    shown = ask("verify-model", f"{MODEL}/1")
    assert "by zeno" in shown
    assert "looked at by ann: looked at" in shown
    shown = ask("keys", "list")
    assert "revoked" in shown
    assert "the disk was sold" in shown


def test_a_person_s_public_key_is_trusted_once_somebody_says_so_and_it_is_recorded(ask, home, tmp_path):
    dana = Keyring(tmp_path / "dana").person("dana").crypto.public_key.keyval["public"]
    done = ask("keys", "trust", dana, "--as", "dana", "--by", "ann", "--json")
    assert (done["identity"], done["roles"], done["state"]) == ("dana", ["approve"], "counts")
    assert "E7890" in ask("keys", "trust", str(tmp_path / "nothing.pem"), "--as", "dana", "--by", "ann", code=1)
    assert "E7895" in ask("keys", "trust", dana, "--as", "bob", "--by", "ann", code=1)
    (note,) = open_stores(load_settings(home=home)).history.notes("key")
    assert (note.by, note.body["what"], note.body["identity"]) == ("ann", "trusted", "dana")


def test_a_key_that_the_settings_give_is_used_and_not_shown(home, tmp_path):
    signer = Keyring(tmp_path / "other").own()
    pem = (tmp_path / "other" / "ratchet.pem").read_text()
    settings = load_settings(home=home, signing_key=pem, trusted_keys=tmp_path / "other" / "trusted.json")
    assert open_stores(settings).keyring.own().key_id == signer.key_id
    assert "PRIVATE" not in repr(settings)
    assert "PRIVATE" not in settings.model_dump_json()
