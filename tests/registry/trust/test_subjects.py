import hashlib
import stat

import pytest

from registry.errors import IntegrityError
from registry.trust.subjects import Subject, subjects_of, verify


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "artifacts" / "weights.bin").write_bytes(b"w" * 5_000_000)  # more than one block
    return folder


def test_every_file_is_a_subject_with_its_digest_and_size(model):
    found = subjects_of(model, "it")
    assert found["MLmodel"] == Subject(hashlib.sha256(b"flavors: {}").hexdigest(), 11)
    assert found["artifacts/weights.bin"] == Subject(hashlib.sha256(b"w" * 5_000_000).hexdigest(), 5_000_000)
    assert len(found) == 2


def test_the_copy_is_byte_for_byte_what_was_signed_and_nobody_else_s(model, tmp_path):
    (model / "registered_model_meta").write_text("left by MLflow")
    verify(model, subjects_of(model, "it"), "it", tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").rglob("*")} == {"MLmodel", "artifacts", "weights.bin"}
    assert (tmp_path / "copy" / "artifacts" / "weights.bin").read_bytes() == b"w" * 5_000_000
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_all_that_differs_is_told_at_once_and_bounded(model):
    subjects = subjects_of(model, "it")
    (model / "MLmodel").unlink()
    for number in range(9):
        (model / f"added-{number}").write_text("")
    with pytest.raises(IntegrityError) as refused:
        verify(model, subjects, "support version 3")
    assert str(refused.value).startswith("E7946: the files of support version 3 are not those that were signed: ")
    assert "MLmodel is missing; added-0 was not signed; " in str(refused.value)
    assert "and 5 more" in str(refused.value)


def test_a_changed_byte_of_the_same_length_is_found(model):
    subjects = subjects_of(model, "it")
    with (model / "artifacts" / "weights.bin").open("r+b") as file:
        file.seek(4_999_999)
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"E7946: .*: artifacts/weights.bin was changed"):
        verify(model, subjects, "it")


def test_a_folder_that_is_empty_or_gone_has_no_subjects(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, why in (("empty", "the folder is empty"), ("gone", "cannot be read")):
        with pytest.raises(IntegrityError, match=f"E7946: .*{why}"):
            subjects_of(tmp_path / name, "it")


def test_what_is_no_plain_file_is_never_signed(model):
    (model / "artifacts" / "link").symlink_to("weights.bin")
    with pytest.raises(IntegrityError, match=r"E7946: .*'artifacts/link' is a link"):
        subjects_of(model, "it")


def test_folders_that_are_deep_are_looked_at_to_the_end(model):
    deep = model
    for _ in range(100):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(IntegrityError, match=r"E7946: .*d/ is empty"):
        subjects_of(model, "it")
    (deep / "file").write_text("found")
    assert len(subjects_of(model, "it")) == 3
