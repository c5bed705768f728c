"""Whatever is changed by hand, in files, bundles, keys or MLflow: nothing answers but what was signed to answer now.

Each tampering is tried at four doors: `ratchet predict`, `ratchet verify-model`, the gateway's loading, and its route.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.queries import predict_lines
from flows.settings import load_settings
from flows.stores import Stores, open_stores
from flows.trust import verify_model
from gateway.metrics import Metrics
from gateway.models import Models
from registry.errors import IntegrityError, PromotionError, RatchetError
from registry.models import Candidate
from registry.records import DatasetManifest, Decision, Evidence, GateResult, canonical_json
from registry.transitions import Actor
from registry.trust.signing import Keyring
from registry.trust.statements import PAYLOAD_TYPE, digest_of, payload_of
from registry.trust.subjects import subjects_of

MODEL = "support"
ANN = Actor("ann")
CODE = Path(__file__).with_name("toy_sealed.py")
REFUSALS = {"E7522", "E7523", "E7923", "E7924", "E7925", *(f"E79{number}" for number in range(40, 51))}


class Place(NamedTuple):
    """A home that is tampered with, and the version that is asked for."""

    stores: Stores
    version: str = "2"
    alias: str = "champion"

    @property
    def files(self) -> Path:
        """The MLflow model of the version, where it is kept."""
        return self.stores.bundles.folder(self.stores.models.get(MODEL, self.version))

    @property
    def artifact(self) -> Path:
        return self.files / "artifacts" / "adapter"

    @property
    def client(self) -> Any:
        return self.stores.models.connection.client

    def sql(self, statement: str, *values: object) -> None:
        """Do what somebody with a SQL prompt does, who takes the triggers away first."""
        with sqlite3.connect(self.stores.home.database) as database:
            triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                database.execute(f'DROP TRIGGER "{name}"')
            database.execute(statement, values)
            for _, sql in triggers:
                database.execute(sql)

    def envelope(self, action: str) -> str:
        return next(b for b in reversed(self.stores.bundles.of(MODEL, self.version, action))).envelope

    def exchange(self, action: str, envelope: str) -> None:
        """Put another envelope in the place of the newest bundle of an action, with its digest put right."""
        self.sql(
            "UPDATE bundles SET envelope = ?, digest = ? WHERE sequence = (SELECT max(sequence) FROM bundles "
            "WHERE version = ? AND action = ?)",
            envelope, digest_of(envelope), self.version, action,
        )  # fmt: skip


def registered(stores: Stores, number: int) -> None:
    tracking, work = stores.models.tracking, f"work-{number}"
    data = DatasetManifest(
        name=MODEL, version="1.0.0", digest="d" * 64, splits={"train": 8, "validation": 1, "test": 1},
        source_digest="e" * 64, code_version="0.1.0",
    )  # fmt: skip
    run = tracking.start_run(MODEL, f"run-{number}", work)
    folder = stores.home.scratch / work / "adapter"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"backend": "tests.flows.toy_sealed:Backend"}))
    (folder / "answer.json").write_text(json.dumps({"answer": f"signed {number}"}))
    version = stores.models.log_candidate(Candidate(MODEL, run, folder, CODE, [], work, data, "full_retrain"))
    stores.bundles.attest(version, {"seed": number}, by="ann")
    stores.transitions.registered(version, ANN)


def decided(stores: Stores, number: str, verdict: Any, target: Any, replaced: str | None = None) -> None:
    decision = Decision(
        model=MODEL, version=number, verdict=verdict, target=target, replaced=replaced, reason="toy",
        gates=[GateResult(name="approval", status="PASS", reason="toy")], evidence_digest=f"on {number}: {verdict}",
    )  # fmt: skip
    evidence = Evidence(
        model=MODEL, version=number, stage="development", training_state="COMPLETED", artifact_present=True,
        artifact_loadable=True, artifact_digest="", signed=True, metrics_recorded=True, strategy="full_retrain",
        report_digest="ab" * 32, report=None, readiness=None,
    )  # fmt: skip
    stores.transitions.carry_out(decision, evidence, ANN)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A home with an earlier champion (1), the champion (2), one in staging (3) and one in quarantine (4)."""
    stores = open_stores(load_settings(home=tmp_path_factory.mktemp("whole") / "home"))
    for number in range(1, 5):
        registered(stores, number)
    decided(stores, "1", "promoted", "production")
    decided(stores, "2", "promoted", "production", "1")
    decided(stores, "3", "staged", "staging")
    stores.transitions.challenge(MODEL, "3", "tried", ANN)
    stores.transitions.quarantine(MODEL, "4", "unsafe", ANN)
    return stores.home.root


@pytest.fixture
def place(whole, tmp_path) -> Place:
    shutil.copytree(whole, tmp_path / "home")
    return Place(open_stores(load_settings(home=tmp_path / "home")))


# --- the doors -------------------------------------------------------------------------------------------------------


def predicted(place: Place, reference: str) -> str:
    lines = predict_lines(place.stores.settings, f"{MODEL}{reference}", io.BytesIO(b'{"prompt":"hello"}'))
    return str(next(lines)["response"])


def served(place: Place, reference: str) -> str:
    version = place.stores.models.get(MODEL, reference[1:])
    return place.stores.serving.load(version).answer([[]]).responses[0]


def routed(place: Place, reference: str) -> str:
    models = Models(lambda: list, lambda: place.stores.serving, 1.0, Metrics())
    models.refresh()
    route = models.snapshot.routes.get(MODEL)
    if route is None or (number := route.aliases.get(reference[1:])) not in route.versions:
        raise IntegrityError("E7945", str(route and route.problem), "it is not routed")
    predictor = route.versions[number].predictor
    return "" if predictor is None else predictor.answer([[]]).responses[0]


def verified(place: Place, reference: str) -> str:
    return f"signed {verify_model(place.stores.settings, f'{MODEL}{reference}')['version']}"


def answers(place: Place) -> dict[str, str]:
    """Return what each door says under the alias and, where files alone are looked at, by the number."""
    alias, number = f"@{place.alias}", f"/{place.version}"
    tried: dict[str, Callable[[], str]] = {
        "predict by alias": lambda: predicted(place, alias),
        "verify-model by alias": lambda: verified(place, alias),
        "the gateway's route": lambda: routed(place, alias),
        "predict by number": lambda: predicted(place, number),
        "verify-model by number": lambda: verified(place, number),
        "the gateway's loading": lambda: served(place, number),
    }
    return dict(_told(tried))


def _told(tried: dict[str, Callable[[], str]]) -> Iterator[tuple[str, str]]:
    for door, ask in tried.items():
        try:
            yield door, ask()
        except RatchetError as error:
            yield door, error.code


def test_what_was_signed_answers_at_every_door(place):
    assert set(answers(place).values()) == {"signed 2"}
    assert set(answers(place._replace(version="3", alias="challenger")).values()) == {"signed 3"}
    assert not list(place.stores.home.scratch.glob("serve-*"))


def test_what_mlflow_and_python_leave_beside_a_model_is_neither_a_fault_nor_used(place):
    (place.files / "registered_model_meta").write_text("model_name: support")
    (place.files / "__pycache__").mkdir()
    (place.files / "__pycache__" / "toy_sealed.cpython-311.pyc").write_bytes(b"not code at all")
    assert set(answers(place).values()) == {"signed 2"}
    with place.stores.serving.taken(place.stores.models.get(MODEL, "2"), "champion") as copy:
        held = {path.name for path in copy.model.rglob("*")}
        assert not held & {"registered_model_meta", "__pycache__"}


# --- files -----------------------------------------------------------------------------------------------------------


def change_a_byte(place):
    answer = place.artifact / "answer.json"
    answer.write_text(answer.read_text().replace("signed", "forged"))


def cut_a_file_short(place):
    os.truncate(place.files / "requirements.txt", 1)


def make_a_file_longer(place):
    with (place.artifact / "answer.json").open("a") as file:
        file.write("\n")


def swap_two_files(place):
    one, other = place.artifact / "answer.json", place.artifact / "config.json"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def rename_a_file(place):
    (place.artifact / "answer.json").rename(place.artifact / "answers.json")


def take_a_file_away(place):
    (place.files / "conda.yaml").unlink()


def add_a_file(place):
    (place.files / "numpy.py").write_text("raise SystemExit")


def add_a_hidden_folder(place):
    (place.files / ".git").mkdir()
    (place.files / ".git" / "config").write_text("[core]")


def add_git_attributes(place):
    (place.artifact / ".gitattributes").write_text("* -text")


def add_an_empty_folder(place):
    (place.artifact / "empty").mkdir()


def let_a_file_be_run(place):
    (place.files / "toy_sealed.py").chmod(0o755)


def let_others_run_a_file(place):
    (place.files / "MLmodel").chmod(0o645)


def link_a_file(place):
    answer = place.artifact / "answer.json"
    answer.rename(place.stores.home.root / "elsewhere.json")
    answer.symlink_to(place.stores.home.root / "elsewhere.json")


def link_a_folder(place):
    artifact, elsewhere = place.artifact, place.stores.home.root / "elsewhere"
    artifact.rename(elsewhere)
    artifact.symlink_to(elsewhere)


def link_a_file_hard(place):
    (place.stores.home.root / "elsewhere.json").hardlink_to(place.artifact / "answer.json")


def put_a_pipe(place):
    (place.artifact / "answer.json").unlink()
    os.mkfifo(place.artifact / "answer.json")


def put_a_folder_for_a_file(place):
    (place.artifact / "answer.json").unlink()
    (place.artifact / "answer.json").mkdir()
    (place.artifact / "answer.json" / "answer.json").write_text("{}")


def edit_the_code(place):
    code = place.files / "toy_sealed.py"
    code.write_text(code.read_text().replace('["answer"]', '["answer"] and "forged"'))


def run_another_file(place):
    description = place.files / "MLmodel"
    description.write_text(description.read_text().replace("toy_sealed.py", "requirements.txt"))


def garble_the_description(place):
    (place.files / "MLmodel").write_text("flavors: [")


def hide_a_file_among_compiled_code(place):
    (place.files / "__pycache__").mkdir()
    (place.files / "__pycache__" / "weights.json").write_text("{}")


def add_compiled_code_of_no_source(place):
    (place.files / "__pycache__").mkdir()
    (place.files / "__pycache__" / "numpy.cpython-311.pyc").write_bytes(b"")


def leave_compiled_code_beside_the_artifact(place):
    (place.artifact / "answer.pyc").write_bytes(b"")


def put_a_folder_where_mlflow_leaves_a_file(place):
    (place.files / "registered_model_meta").mkdir()
    (place.files / "registered_model_meta" / "more.py").write_text("")


def link_where_mlflow_leaves_a_file(place):
    (place.files / "registered_model_meta").symlink_to("/dev/zero")


def add_a_name_that_looks_the_same(place):
    name = unicodedata.normalize("NFD", "é.json")
    (place.artifact / name).write_text("{}")


def add_a_name_with_a_line_break(place):
    (place.artifact / "answer\n.json").write_text("{}")


def put_an_earlier_version_s_files(place):
    files, earlier = place.files, place._replace(version="1").files
    shutil.rmtree(files)
    shutil.copytree(earlier, files)


def change_files_and_the_digests_in_mlflow(place):
    from registry.artifacts import folder_digest

    change_a_byte(place)
    place.client.set_model_version_tag(MODEL, "2", "artifact_digest", folder_digest(place.artifact))


def take_all_files_away(place):
    shutil.rmtree(place.files)


FILES = (
    change_a_byte, cut_a_file_short, make_a_file_longer, swap_two_files, rename_a_file, take_a_file_away, add_a_file,
    add_a_hidden_folder, add_git_attributes, add_an_empty_folder, let_a_file_be_run, let_others_run_a_file, link_a_file,
    link_a_folder, link_a_file_hard, put_a_pipe, put_a_folder_for_a_file, edit_the_code, run_another_file,
    garble_the_description, hide_a_file_among_compiled_code, add_compiled_code_of_no_source,
    leave_compiled_code_beside_the_artifact, put_a_folder_where_mlflow_leaves_a_file, link_where_mlflow_leaves_a_file,
    add_a_name_that_looks_the_same, add_a_name_with_a_line_break, put_an_earlier_version_s_files,
    change_files_and_the_digests_in_mlflow, take_all_files_away,
)  # fmt: skip


# --- signatures and bundles ------------------------------------------------------------------------------------------


def resigned(place, change: Callable[[dict[str, Any]], None], keyring: Keyring) -> str:
    """Return the newest attestation with something else in it, signed by somebody."""
    statement = payload_of(place.envelope("attest"))
    change(statement)
    return keyring.own().sign(statement, PAYLOAD_TYPE)


def to_the_files_as_they_are(place) -> Callable[[dict[str, Any]], None]:
    def change(statement):
        statement["subject"] = [
            {"name": name, "digest": {"sha256": file.sha256}, "annotations": {"size": file.size}}
            for name, file in sorted(subjects_of(place.files, "it").items())
        ]

    return change


def flip_the_signature(place):
    envelope = json.loads(place.envelope("attest"))
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    place.exchange("attest", canonical_json(envelope))


def rewrite_the_payload(place):
    change_a_byte(place)
    envelope = json.loads(place.envelope("attest"))
    statement = payload_of(place.envelope("attest"))
    to_the_files_as_they_are(place)(statement)
    envelope["payload"] = base64.b64encode(canonical_json(statement).encode()).decode()
    place.exchange("attest", canonical_json(envelope))


def sign_with_a_key_of_ones_own(place):
    change_a_byte(place)
    stranger = Keyring(place.stores.home.root / "strange")
    place.exchange("attest", resigned(place, to_the_files_as_they_are(place), stranger))


def sign_under_the_name_of_a_trusted_key(place):
    sign_with_a_key_of_ones_own(place)
    envelope = json.loads(place.envelope("attest"))
    envelope["signatures"][0]["keyid"] = place.stores.keyring.own().key_id
    place.exchange("attest", canonical_json(envelope))


def sign_with_the_key_of_an_approver(place):
    change_a_byte(place)
    statement = payload_of(place.envelope("attest"))
    to_the_files_as_they_are(place)(statement)
    place.exchange("attest", place.stores.keyring.person("dana").sign(statement, PAYLOAD_TYPE))


def take_the_signature_away(place):
    envelope = json.loads(place.envelope("attest"))
    envelope["signatures"] = []
    place.exchange("attest", canonical_json(envelope))


def call_it_another_type(place):
    statement = payload_of(place.envelope("attest"))
    place.exchange("attest", place.stores.keyring.own().sign(statement, "application/json"))


def exchange_the_bundles_of_two_versions(place):
    place.exchange("attest", place._replace(version="1").envelope("attest"))


def change_the_envelope_alone(place):
    place.sql("UPDATE bundles SET envelope = replace(envelope, 'payload', 'Payload') WHERE version = '2'")


def take_the_attestation_away(place):
    place.sql("DELETE FROM bundles WHERE version = '2' AND action = 'attest'")


def call_the_attestation_an_approval(place):
    place.sql("UPDATE bundles SET action = 'approve' WHERE version = '2' AND action = 'attest'")


def take_a_bundle_out_of_the_middle(place):
    place.sql("DELETE FROM bundles WHERE version = '3' AND action = 'attest'")


def take_all_bundles_away(place):
    place.sql("DELETE FROM bundles")


def revoke_the_key(place):
    place.stores.keyring.revoke(place.stores.keyring.own().key_id, "stolen")


def forget_all_keys(place):
    place.stores.keyring.file.write_text('{"keys": []}')


def lose_the_list_of_keys(place):
    place.stores.keyring.file.unlink()


def garble_the_list_of_keys(place):
    place.stores.keyring.file.write_text("{")


SIGNATURES = (
    flip_the_signature, rewrite_the_payload, sign_with_a_key_of_ones_own, sign_under_the_name_of_a_trusted_key,
    sign_with_the_key_of_an_approver, take_the_signature_away, call_it_another_type,
    exchange_the_bundles_of_two_versions, change_the_envelope_alone, take_the_attestation_away,
    call_the_attestation_an_approval, take_a_bundle_out_of_the_middle, take_all_bundles_away, revoke_the_key,
    forget_all_keys, lose_the_list_of_keys, garble_the_list_of_keys,
)  # fmt: skip


@pytest.mark.parametrize("tamper", FILES + SIGNATURES)
def test_a_tampered_version_is_accepted_at_no_door(place, tamper):
    tamper(place)
    told = answers(place)
    assert set(told.values()) <= REFUSALS, told


# --- MLflow ----------------------------------------------------------------------------------------------------------


def serve_an_earlier_champion_again(place):
    place.client.set_registered_model_alias(MODEL, "champion", "1")
    place.client.set_model_version_tag(MODEL, "1", "stage", "production")
    return place._replace(version="1")


def serve_what_waits_in_staging(place):
    place.client.set_registered_model_alias(MODEL, "champion", "3")
    place.client.set_model_version_tag(MODEL, "3", "stage", "production")
    return place._replace(version="3")


def try_an_earlier_champion(place):
    place.client.set_registered_model_alias(MODEL, "challenger", "1")
    return place._replace(version="1", alias="challenger")


def stage_an_earlier_champion(place):
    place.client.set_registered_model_alias(MODEL, "staging", "1")
    return place._replace(version="1", alias="staging")


def try_the_champion_under_another_alias(place):
    place.client.set_registered_model_alias(MODEL, "newest", "2")
    return place._replace(alias="newest")


@pytest.mark.parametrize(
    "move",
    [
        serve_an_earlier_champion_again,
        serve_what_waits_in_staging,
        try_an_earlier_champion,
        stage_an_earlier_champion,
        try_the_champion_under_another_alias,
    ],
)
def test_a_signed_version_is_refused_under_an_alias_that_no_signed_decision_gave_it(place, move):
    told = answers(move(place))
    by_alias = {told[door] for door in ("predict by alias", "verify-model by alias")}
    assert by_alias == {"E7947"}
    assert told["the gateway's route"] in REFUSALS
    assert told["predict by number"].startswith("signed"), "by its number it may be asked"


def test_a_version_that_is_taken_out_of_quarantine_by_hand_stays_refused(place):
    place.client.set_model_version_tag(MODEL, "4", "stage", "staging")
    told = answers(place._replace(version="4"))
    assert {told[door] for door in told if door.endswith("number")} == {"E7949"}
    assert told["the gateway's loading"] == "E7949"


def test_another_model_under_a_version_s_number_is_refused(place):
    place.stores.models.connection.client  # noqa: B018  the database is there
    with sqlite3.connect(place.stores.home.mlflow_database) as database:
        source, storage = database.execute(
            "SELECT source, storage_location FROM model_versions WHERE version = 1"
        ).fetchone()
        database.execute(
            "UPDATE model_versions SET source = ?, storage_location = ? WHERE version = 2", (source, storage)
        )
    assert set(answers(place).values()) <= REFUSALS


def test_files_that_are_exchanged_after_they_were_verified_are_not_what_answers(place):
    with place.stores.serving.taken(place.stores.models.get(MODEL, "2"), "champion") as copy:
        assert copy.model.stat().st_mode & 0o077 == 0
        change_a_byte(place)
        assert "signed 2" in (copy.artifact / "answer.json").read_text()
    assert not copy.model.exists()


# --- what is not tampering -------------------------------------------------------------------------------------------


def test_after_a_key_was_revoked_a_version_is_used_again_once_somebody_signs_it(place):
    stores = place.stores
    revoke_the_key(place)
    stores.keyring.rotate()
    assert set(answers(place).values()) <= REFUSALS
    stores.bundles.sign(stores.models.get(MODEL, "2"), "looked at", "ann")
    assert set(answers(place).values()) == {"signed 2"}
    with pytest.raises(IntegrityError, match="E7943"):
        stores.bundles.standing(stores.models.get(MODEL, "1"))


def test_a_key_that_was_only_retired_goes_on_counting(place):
    place.stores.keyring.rotate()
    assert set(answers(place).values()) == {"signed 2"}


def test_signing_again_does_not_bless_what_was_tampered_with(place):
    serve_an_earlier_champion_again(place)
    with pytest.raises(IntegrityError, match="E7947"):
        place.stores.bundles.sign(place.stores.models.get(MODEL, "1"), "looked at", "mallory")
    place.client.set_model_version_tag(MODEL, "4", "stage", "staging")
    with pytest.raises(IntegrityError, match="E7949"):
        place.stores.bundles.sign(place.stores.models.get(MODEL, "4"), "looked at", "mallory")
    change_files_and_the_digests_in_mlflow(place)
    with pytest.raises(IntegrityError, match="E7946"):
        place.stores.bundles.sign(place.stores.models.get(MODEL, "2"), "looked at", "mallory")


def test_files_that_were_changed_on_purpose_are_signed_once_and_the_old_ones_are_refused(place):
    bundles, version = place.stores.bundles, place.stores.models.get(MODEL, "2")
    before = (place.artifact / "answer.json").read_text()
    (place.artifact / "answer.json").write_text(json.dumps({"answer": "erased"}))
    first = bundles.reattest(version, "a person asked for it", "ann")
    again = bundles.reattest(place.stores.models.get(MODEL, "2"), "a person asked for it", "ann")
    assert (first.sequence, first.predicate["reason"]) == (again.sequence, "a person asked for it")
    assert answers(place)["predict by alias"] == "erased"
    (place.artifact / "answer.json").write_text(before)
    assert set(answers(place).values()) <= REFUSALS


def test_a_rollback_may_serve_an_earlier_champion(place):
    place.stores.transitions.rollback(MODEL, "worse", ANN)
    assert set(answers(place._replace(version="1")).values()) == {"signed 1"}


def test_what_nobody_may_use_is_not_found_by_another_name(place):
    with pytest.raises(PromotionError, match="E7523"):
        verify_model(place.stores.settings, f"{MODEL}/4")
